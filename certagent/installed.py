"""What certagent can be installed without: libraries (requirements-slim.txt), with how to add one, and two commands."""

from __future__ import annotations

import sys
from pathlib import Path

OPTIONAL = {
    "pkcs11": ("python-pkcs11", "keystores in tokens need it"),
    "rich": ("rich", "`certagent demo` needs it"),
}
"""Module → its package, and what needs it."""

_COMMANDS = ("certagent.lab", "certagent.demo")
"""Packages of our own, for commands that a device does not need."""


def lacking(module: str) -> tuple[str, str] | None:
    """That the package of this module is missing, and what to do. None if certagent cannot do without it."""
    if module in _COMMANDS:
        word = module.replace(".", " ")
        return f"`{word}` was left out of this installation", "run it on another host, or install certagent again"
    found = OPTIONAL.get(module.partition(".")[0])
    if found is None:
        return None
    package, use = found
    return f"{package} is not installed, and {use}", f"add it: `{command_to_add(_declared(package))}`"


def command_to_add(
    requirement: str, prefix: Path | None = None, python: str = "", *, has_pip: bool | None = None
) -> str:
    """The command that installs `requirement` beside this certagent, whichever tool installed it."""
    prefix, python = prefix or Path(sys.prefix), python or sys.executable
    if (prefix / "pipx_metadata.json").exists():
        return f"pipx inject {prefix.name} '{requirement}'"
    if (prefix / "uv-receipt.toml").exists():
        return f"uv tool install --with '{requirement}' certagent"
    if _has_pip() if has_pip is None else has_pip:
        return f"{python} -m pip install --no-warn-conflicts '{requirement}'"
    return f"python3 -m pip --python {python} install --no-warn-conflicts '{requirement}'"


def _has_pip() -> bool:
    from importlib.util import find_spec  # noqa: PLC0415 -- only who lacks something pays for it

    return find_spec("pip") is not None


def _declared(package: str) -> str:
    """The package with the versions that certagent works with, as its metadata says."""
    from importlib import metadata  # noqa: PLC0415 -- as above

    try:
        wanted = metadata.requires("certagent") or []
    except metadata.PackageNotFoundError:  # a checkout that was never installed
        return package
    return next((each for each in wanted if each.partition(">")[0] == package and ";" not in each), package)
