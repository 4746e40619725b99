"""The lowest versions that pyproject.toml declares, one pin a line: what `make test-lowest` tests with.

It runs before anything is installed, so the standard library has to do.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

_REQUIREMENT = re.compile(r"([\w-]+)>=([\w.]+)(,<[\w.]+)?")


def pins(pyproject: str) -> list[str]:
    """`name==version` for whatever building, running and testing need. Raises ValueError for one without a bound."""
    tables = tomllib.loads(pyproject)
    project = tables["project"]
    wanted = [
        *tables["build-system"]["requires"],
        *project["dependencies"],
        *project["optional-dependencies"]["dev"],
    ]
    return sorted({_pin(requirement) for requirement in wanted})


def _pin(requirement: str) -> str:
    found = _REQUIREMENT.fullmatch(requirement)
    if found is None:
        raise ValueError(f"{requirement!r} names no lowest version; write it as name>=version, in pyproject.toml")
    return f"{found[1]}=={found[2]}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(pins(Path("pyproject.toml").read_text())) + "\n")
