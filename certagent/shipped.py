"""Files that ship with the code: units, keystore definitions, the example. Where they are depends on how it was
installed."""

from __future__ import annotations

import sys
from pathlib import Path

from certagent.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
_SHARE = "share/certagent"


def directory(name: str) -> Path:
    """The directory `systemd` or `keystores` of this certagent. Raises ConfigError if it was not installed."""
    for place in _places():
        if (place / name).is_dir():
            return place / name
    raise ConfigError(f"this certagent was installed without its {name} files", "install the wheel, or the package")


def example() -> Path:
    """agent.yaml.example. Raises ConfigError if it was not installed."""
    return directory("systemd").parent / "agent.yaml.example"


def documents() -> Path:
    """The directory of running.md and the other pages. Raises ConfigError if they were not installed."""
    place = directory("systemd").parent
    for each in (place / "docs", place.parent / "doc/certagent"):
        if each.is_dir():
            return each
    raise ConfigError("this certagent was installed without its documentation", "install the wheel, or the package")


def _places() -> list[Path]:
    """A checkout; then share/certagent below the prefix the code is in: a venv, pipx's, ~/.local, /usr."""
    above = [parent / _SHARE for parent in _PACKAGE.parents]
    return [_PACKAGE.parent, *above, Path(sys.prefix) / _SHARE, Path("/usr") / _SHARE]
