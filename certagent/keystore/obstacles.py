"""What would keep a file from being replaced, as far as that is known without trying. Used by `check`, and before
certagent asks a CA for a certificate that it could not put in place."""

from __future__ import annotations

import fcntl
import os
import resource
import stat
import struct
from collections.abc import Collection
from pathlib import Path

from certagent import owned
from certagent.directories import Look
from certagent.durable import Ownership
from certagent.errors import KeystoreError

# linux/fs.h: _IOR('f', 1, long)
_LONG = struct.Struct("l")
_GET_FLAGS = 0x80006601 | _LONG.size << 16
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20
# Measured on a file system of 4 KiB blocks that holds everything: the renewal of a 4096-bit key with chain and ca_file
# (journal, shadow, staged and kept files at once) succeeds with 64 KiB free, and fails with 48 KiB.
ROOM = 64 * 1024
INODES = 32  # likewise: a renewal and its contact with the CA succeed with 18 free inodes


def find(target: Path, *, over: bool, beside: str, mounts: Collection[str]) -> KeystoreError | None:
    """Why this file cannot be replaced; None if it can.

    `over`: new content is written into it; otherwise `beside` is the longest name of a temporary file beside it.
    `mounts` are the mount points that we see.
    """
    directory = target.parent
    for path in (target, *(() if over else (directory,))):
        if fault := flagged(path):
            fault.hint += ", or remove it from the configuration"
            return fault
    if not over and str(target) in mounts:
        hint = "mount its directory instead, or remove `swap` to have the file overwritten in place (docs/swap.md)"
        return KeystoreError(f"{target} is a mount point, so it cannot be replaced", hint)
    if not over and len(os.fsencode(beside)) > (limit := os.pathconf(directory, "PC_NAME_MAX")):
        hint = f"use a name of at most {limit - (len(os.fsencode(beside)) - len(os.fsencode(target.name)))} bytes"
        return KeystoreError(
            f"the name of {target} is too long: certagent makes temporary files with longer names beside it", hint
        )
    return lack_of_room(directory)


def cannot_be_given(target: Path, wanted: Ownership) -> KeystoreError | None:
    """Why a new file in this place cannot get its owner and group; None if it can."""
    ours = wanted.uid in (None, os.geteuid())
    if ours and wanted.gid in (None, *own_groups(target.parent)):  # nearly always
        return None
    if not owned.has_capability(owned.CAP_CHOWN):
        lacking = "CAP_CHOWN"
    elif not ours and not owned.has_capability(owned.CAP_FOWNER):
        lacking = "CAP_FOWNER"
    else:
        return None
    if os.geteuid():
        return KeystoreError(f"only root can give {target} its owner and group", "run certagent as root")
    hint = "give it back to the container or unit, or set `owner` and `group` to certagent's own"
    return KeystoreError(f"root without {lacking} cannot give {target} its owner and group", hint)


def shows_to_holder(found: Look, wanted: Ownership) -> KeystoreError | None:
    """Why a file must not be written into: its owner may hold it open but must not read the new content."""
    uid = found.status.st_uid
    if wanted.uid in (None, uid) or uid in owned.owners():
        return None
    return KeystoreError(
        f"{found.path} belongs to {owned.name_of(uid)}, who may have it open and could read what "
        "is written into it for another owner",
        "change its owner by hand (chown)",
    )


def own_groups(directory: Path) -> list[int]:
    """The groups that we may give a new file in this directory; a setgid directory sets its own."""
    status = directory.stat()
    return [os.getegid(), *os.getgroups(), *([status.st_gid] if status.st_mode & stat.S_ISGID else [])]


def lack_of_room(directory: Path, needed: int = ROOM) -> KeystoreError | None:
    """Why nothing more can be written there; None if there is room. Quotas are not seen."""
    try:
        status = os.statvfs(directory)
    except OSError:  # whoever writes there reports it
        return None
    blocks = status.f_bfree if os.geteuid() == 0 else status.f_bavail
    if status.f_flag & os.ST_RDONLY:
        hint = "remount it writable, or have `certagent units --install` give its directory to the service"
        return KeystoreError(f"{directory} is on a read-only file system", hint)
    largest, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if 0 <= largest < needed:  # without a limit: -1
        return KeystoreError(f"no file can become larger than {largest} bytes here", "raise `ulimit -f` (LimitFSIZE=)")
    if status.f_blocks and blocks * status.f_frsize < needed:
        left = blocks * status.f_frsize >> 10
        return KeystoreError(f"the file system of {directory} is full: only {left} KiB are free", "free some space")
    inodes = status.f_ffree if os.geteuid() == 0 else status.f_favail
    if status.f_files and inodes < INODES:
        few = f"only {inodes} are left" if inodes else "none is left"
        hint = "delete files that are not needed"
        return KeystoreError(f"the file system of {directory} has too few inodes: {few}", hint)
    return None


def flagged(path: Path) -> KeystoreError | None:
    """Whether a flag of the file system keeps a file, or what is in a directory, from being replaced."""
    flag = _flag(path)
    hint = f"`chattr -{'i' if flag == 'immutable' else 'a'} {path}`"
    return KeystoreError(f"{path} is {flag} (lsattr), so it cannot be replaced", hint) if flag else None


def _flag(path: Path) -> str:
    """`immutable` or `append-only` if a file or directory has such a flag; empty if not, or if that is unknown."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        (flags,) = _LONG.unpack(fcntl.ioctl(descriptor, _GET_FLAGS, _LONG.pack(0)))
    except OSError:  # a file system without flags
        return ""
    finally:
        os.close(descriptor)
    return "immutable" if flags & _IMMUTABLE else "append-only" if flags & _APPEND_ONLY else ""
