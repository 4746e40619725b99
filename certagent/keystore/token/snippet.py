"""The snippet: a piece of a consumer's configuration, made from the operator's template at each swap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template

from certagent.believed import file_fault
from certagent.errors import ConfigError
from certagent.keystore.files import read_file


def fill_in(template: Path, values: Mapping[str, str]) -> bytes:
    """The template with each $word replaced by its value. Raises ConfigError, also for a word without a value."""
    if fault := file_fault(template):
        raise ConfigError(f"the template {template} {fault[0]}", fault[1])
    content = read_file(template)
    if content is None:
        raise ConfigError(f"{template} does not exist", "it is the template of the snippet")
    try:
        return Template(content.decode()).substitute(values).encode()
    except (KeyError, ValueError) as error:
        words = ", ".join(f"${word}" for word in values)
        raise ConfigError(
            f"{template} cannot be filled in: {error}", f"{words} are the known ones; write $$ for a $"
        ) from None
