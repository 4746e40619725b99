"""Where systemd puts a unit's credentials (systemd.exec(5)): files that nobody else may read, gone with the unit."""

from __future__ import annotations

import os
from pathlib import Path

_UNITS = ("certagent.service", "certagent-renew.service")
VARIABLE = "CREDENTIALS_DIRECTORY"


def hint(name: str) -> str:
    """What to do if the credential is missing."""
    return (
        f"put LoadCredential={name}:/PATH/TO/IT below [Service] by `systemctl edit {_UNITS[0]}`, and restart it; "
        "a command typed by hand finds it while that unit runs"
    )


def path_of(name: str, runtime: Path = Path("/run/credentials")) -> Path | None:
    """The file with this credential, in our own unit or in another of certagent's running units; None if not found."""
    own = os.environ.get(VARIABLE, "")
    places = [*([Path(own)] if own.startswith("/") else []), *(runtime / unit for unit in _UNITS)]
    return next((place / name for place in places if _is_there(place / name)), None)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # somebody else's directory
        return False
