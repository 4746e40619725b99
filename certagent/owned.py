"""Who can have put it there: the one rule about owners and rights of what certagent reads, follows or believes.

Root and the user certagent runs as are believed. So is the owner of `/`, who could exchange all there is anyway: in a
container that may be a user that has no number inside.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import Literal


def owners() -> frozenset[int]:
    """The users that are believed."""
    return frozenset({0, os.geteuid(), os.stat("/").st_uid})


def writable_by_others(status: os.stat_result) -> bool:
    """Whether a file's bits let its group, or everybody, write to it."""
    return bool(status.st_mode & 0o022)


def fault(status: os.stat_result, path: object, descriptor: int | None = None) -> tuple[str, str] | None:
    """What keeps a file from being believed, and what to do about it: it is not root's or ours, or not alone.

    With a descriptor of it, its group may be our own, as `others_may_write` says.
    """
    if writable_by_others(status) and (descriptor is None or others_may_write(descriptor, status)):
        return "is writable by its group or by everybody", f"run chmod go-w {path}"
    if status.st_uid not in owners():
        return "belongs neither to root nor to the user certagent runs as", f"run chown root {path}"
    return None


def others_may_write(descriptor: int, status: os.stat_result) -> bool:
    """Whether anybody but its owner may write to a file, or change the names in a directory, that is held open.

    Its group counts as its owner where it is our own first group: a user's private one (umask 002), or that of a
    container's user; but not where an access list may hide others behind the group's bits.
    """
    if status.st_mode & 0o002:
        return True
    if not status.st_mode & 0o020:
        return False
    return status.st_gid != os.getegid() or _may_have_access_list(descriptor)


def _may_have_access_list(descriptor: int) -> bool:
    try:
        return "system.posix_acl_access" in os.listxattr(f"/proc/self/fd/{descriptor}")
    except OSError:
        return True


def is_sticky(status: os.stat_result) -> bool:
    """Whether in this directory only a file's owner may remove or rename it, however many may write there."""
    return bool(status.st_mode & stat.S_ISVTX)


def is_mapped(number: int, kind: Literal["user", "group"]) -> bool:
    """Whether there is such a user or group in our user namespace: to no other can a file be given."""
    try:
        with Path(f"/proc/self/{'uid' if kind == 'user' else 'gid'}_map").open() as file:
            spans = [tuple(map(int, line.split())) for line in file]
    except (OSError, ValueError):
        return True
    return any(first <= number < first + length for first, _, length in spans)


def name_of(uid: int) -> str:
    """The user's name, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
