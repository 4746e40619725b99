"""What certagent believes for where it lies: its state, its own directories, programs, modules, trust anchors.

Whoever may write there could have his own words carried out with certagent's rights. So it belongs to root or to the
user certagent runs as, and nobody else may write to it or exchange it: as with agent.yaml itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from certagent import owned
from certagent.directories import reach
from certagent.errors import KeystoreError, StateError

Fault = tuple[str, str]
"""What is wrong, and what to do about it."""

_ANY = "*"  # some name: the directory itself is meant


def file_fault(path: Path) -> Fault | None:
    """Why what this file says or does is not believed; None for one that is, and for one that is not there."""
    try:
        with reach(path) as place:
            return place.fault()
    except KeystoreError as error:
        return f"is not trusted: {error}", error.hint
    except OSError:
        return None


def directory_fault(path: Path) -> Fault | None:
    """Why others may have put there what is in this directory, or could once it is made; None if they cannot."""
    for each in (path, *path.parents):
        try:
            with reach(each / _ANY, last="itself") as place:
                found = place.directory
        except KeystoreError as error:
            return str(error), error.hint
        except FileNotFoundError:
            continue
        except OSError:
            return None  # it cannot be used either, and says so itself
        # Below a sticky directory, such as /tmp, nobody can exchange what we make.
        doubt = found.doubt if each == path or not owned.is_sticky(found.status) else found.above
        return (doubt, f"check who put what there, then run chown root {each}, chmod go-w {each}") if doubt else None
    return None


def check_state(directory: Path, *, deep: bool = False) -> None:
    """Whether the state directory, or one in it, is believed, and each name in it, or if `deep` all that lies below.

    Nothing is opened, and what is missing is fine. Raises StateError.
    """
    owner = _owner(directory)
    if owner is not None and owner not in owned.owners():
        user = owned.name_of(owner)
        sudo = f"'#{user}'" if user.isdecimal() else user
        raise StateError(
            f"{directory} belongs to user {user}, and certagent runs as {owned.name_of(os.geteuid())}",
            f"run it as that user: sudo -u {sudo} certagent …",
        )
    # What root left open, as container platforms do, nobody else can mend: then it counts whose the names in it are.
    if owner in (None, os.geteuid()) and (fault := directory_fault(directory)):
        raise StateError(f"{directory} is not trusted: {fault[0]}", fault[1])
    for path, status in _names(directory, deep=deep):
        if not stat.S_ISLNK(status.st_mode) and (fault := owned.fault(status, path)):
            raise StateError(
                f"{path} {fault[0]}, so somebody else may have changed it", f"check its content, then {fault[1]}"
            )


def _owner(directory: Path) -> int | None:
    """None for one that is not there, or that a link of somebody's leads to."""
    try:
        with reach(directory / _ANY, last="itself") as place:
            return place.directory.status.st_uid
    except (OSError, KeystoreError):
        return None


def _names(directory: Path, *, deep: bool) -> Iterator[tuple[Path, os.stat_result]]:
    """What lies below, a directory before what is in it."""
    try:
        for entry in sorted(os.scandir(directory), key=lambda each: each.name):
            status = entry.stat(follow_symlinks=False)
            yield Path(entry.path), status
            if deep and stat.S_ISDIR(status.st_mode):
                yield from _names(Path(entry.path), deep=True)
    except OSError:
        return
