"""Who can have put a file there: the one rule about owner and rights of what certagent reads, follows or trusts.

certagent trusts root and the user it runs as. It also trusts the owner of `/`, who could replace everything anyway: in
a container that may be a user that has no number inside.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Literal

CAP_CHOWN, CAP_FOWNER = 0, 3


def owners(root: os.stat_result | None = None) -> frozenset[int]:
    """The users that certagent trusts. `root`: the status of `/`, if the caller has it."""
    return frozenset({0, os.geteuid(), (root or os.stat("/")).st_uid})


def writable_by_others(status: os.stat_result) -> bool:
    """Whether the mode lets a file's group, or everybody, write to it."""
    return bool(status.st_mode & 0o022)


def fault(
    status: os.stat_result, path: object, descriptor: int | None = None, trusted: Collection[int] | None = None
) -> tuple[str, str] | None:
    """Why a file cannot be trusted, and what to do about it: it is not root's or ours, or others may write to it.

    With a `descriptor` of it, our own group may write to it, see `others_may_write`. `trusted`: the `owners`, if the
    caller has them.
    """
    if writable_by_others(status) and (descriptor is None or others_may_write(descriptor, status)):
        return "is writable by its group or by everybody", f"run chmod go-w {path}"
    if status.st_uid not in (trusted or owners()):
        return "belongs neither to root nor to the user certagent runs as", f"run chown root {path}"
    return None


def others_may_write(descriptor: int, status: os.stat_result) -> bool:
    """Whether anybody but the owner may write to an open file, or change the names in an open directory.

    Its group counts as its owner if it is our own first group: a user's private group (umask 002), or that of a
    container's user; but not if an access list may hide others behind the group's bits.
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
    """Whether only a file's owner may remove or rename it in this directory, however many may write there."""
    return bool(status.st_mode & stat.S_ISVTX)


def is_mapped(number: int, kind: Literal["user", "group"]) -> bool:
    """Whether our user namespace has such a user or group: a file cannot be given to any other."""
    try:
        return any(first <= number < first + length for first, _, length in _mapped(kind))
    except (OSError, ValueError):
        return True


@cache  # a namespace's numbers can be set only once
def _mapped(kind: Literal["user", "group"]) -> list[tuple[int, ...]]:
    with Path(f"/proc/self/{'uid' if kind == 'user' else 'gid'}_map").open() as file:
        return [tuple(map(int, line.split())) for line in file]


def has_capability(bit: int) -> bool:
    """Whether this process has a capability (capabilities(7), by its number), which root may lack in a container."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return bool(int(next(line.split()[1] for line in lines if line.startswith("CapEff:")), 16) >> bit & 1)
    except (OSError, StopIteration, ValueError):
        return os.geteuid() == 0


def name_of(uid: int) -> str:
    """The user's name, or the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
