"""Checks who can write to the files certagent relies on: its state, its own directories, programs, modules, trust
anchors.

Whoever can write there could run commands with certagent's rights. So each of them must belong to root or to the user
certagent runs as, and nobody else may write to it or replace it. The same holds for agent.yaml itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from certagent import owned
from certagent.directories import Directory, reach
from certagent.errors import KeystoreError, StateError

Fault = tuple[str, str]
"""What is wrong, and what to do about it."""

_ANY = "*"  # any name: the check is about the directory itself


def file_fault(path: Path) -> Fault | None:
    """Why certagent does not trust this file; None if it trusts the file, or if the file does not exist."""
    try:
        with reach(path) as place:
            return place.fault()
    except KeystoreError as error:
        return f"is not trusted: {error}", error.hint
    except OSError:
        return None


def directory_fault(path: Path) -> Fault | None:
    """How others may have put the directory's content there, or could once it is made; None if they cannot."""
    for each in (path, *path.parents):
        try:
            with reach(each / _ANY, last="itself") as place:
                found = place.directory
        except KeystoreError as error:
            return str(error), error.hint
        except FileNotFoundError:
            continue
        except OSError:
            return None  # nobody can use it; the caller reports that itself
        # Below a sticky directory, such as /tmp, nobody can replace what we make.
        doubt = found.doubt if each == path or not owned.is_sticky(found.status) else found.above
        return _doubted(each, doubt)
    return None


def _doubted(directory: Path, doubt: str) -> Fault | None:
    return (
        (doubt, f"check who put what there, then run chown root {directory}, chmod go-w {directory}") if doubt else None
    )


def check_state(directory: Path, *, deep: bool = False) -> None:
    """Check that nobody else can write to the state directory, or one in it, or its names; if `deep`, to all below it.

    Opens nothing; missing files are fine. Raises StateError.
    """
    found, trusted = _found(directory), owned.owners()
    owner = None if found is None else found.status.st_uid
    if owner is not None and owner not in trusted:
        user = owned.name_of(owner)
        sudo = f"'#{user}'" if user.isdecimal() else user
        raise StateError(
            f"{directory} belongs to user {user}, and certagent runs as {owned.name_of(os.geteuid())}",
            f"run it as that user: sudo -u {sudo} certagent …",
        )
    # Container platforms leave root's directory open, and nobody else can fix that. Then the names' owners count.
    if owner in (None, os.geteuid()):
        fault = directory_fault(directory) if found is None else _doubted(directory, found.doubt)
        if fault:
            raise StateError(f"{directory} is not trusted: {fault[0]}", fault[1])
    for path, status in _names(directory, deep=deep):
        if not stat.S_ISLNK(status.st_mode) and (fault := owned.fault(status, path, trusted=trusted)):
            raise StateError(
                f"{path} {fault[0]}, so somebody else may have changed it", f"check its content, then {fault[1]}"
            )


def _found(directory: Path) -> Directory | None:
    """As it is, no longer open; None if it does not exist, or if somebody else's link leads to it."""
    try:
        with reach(directory / _ANY, last="itself") as place:
            return place.directory
    except (OSError, KeystoreError):
        return None


def _names(directory: Path | str, *, deep: bool) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below it; each directory comes before its content."""
    try:
        for entry in sorted(os.scandir(directory), key=lambda each: each.name):
            status = entry.stat(follow_symlinks=False)
            yield entry.path, status
            if deep and stat.S_ISDIR(status.st_mode):
                yield from _names(entry.path, deep=True)
    except OSError:
        return
