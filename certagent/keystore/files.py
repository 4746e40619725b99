"""A consumer's files as certagent finds them: what a reader gets, where links lead, who owns the files.

No cryptography is loaded here, because `certagent recover` and the agent use this module.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certagent import durable, owned
from certagent.directories import Look, reach
from certagent.durable import Ownership
from certagent.errors import KeystoreError
from certagent.keystore.attributes import with_attributes

# No key, certificate or chain is nearly as large.
LIMIT = 1 << 20

_HINTS = {
    errno.ENOSPC: "free some space and try again",
    errno.EDQUOT: "raise the quota or free some space, and try again",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) and try again",
    errno.EACCES: "run certagent as root, or give its user access to the file and its directory",
    errno.EPERM: "run certagent as root; if it already does, check for an immutable file (lsattr)",
    errno.EROFS: "remount it writable, or have `certagent units --install` give its directory to the service",
    errno.EBUSY: "a mounted file cannot be replaced: mount its directory instead",
    errno.ENAMETOOLONG: "use a shorter file name",
    errno.ENOENT: "create the directory, with the owner and mode the consumer needs",
    errno.ENOTDIR: "part of the path is a file, not a directory: correct the path",
}


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an OSError into a KeystoreError: `cannot WHAT: No space left on device`, and what to do."""
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "check the file system and the kernel log")
        raise KeystoreError(f"cannot {what}: {error.strerror or error}", hint) from error


def look_at(path: Path, own: Path | None = None) -> Look | None:
    """One look at the file that a reader of `path` gets, and who owns it; None if there is no such file.

    `own` is the keystore's live directory: links in the consumer's directories may lead there. Raises KeystoreError for
    what cannot be read, is not a regular file, is larger than LIMIT bytes, or may have been put there by somebody else.
    """
    with explained(f"read {path}"):
        try:
            with reach(path, own=own) as place:
                look = place.look(LIMIT)
        except FileNotFoundError:
            return None
    if look is not None and len(look.content) > LIMIT:
        raise KeystoreError(
            f"{path} is larger than {LIMIT >> 20} MiB", "keys and certificates are smaller: correct the path"
        )
    return look


def read_file(path: Path, own: Path | None = None) -> bytes | None:
    """The content of the file that `look_at` finds. Raises the same errors."""
    look = look_at(path, own)
    return None if look is None else look.content


def look_unless_same(path: Path, own: Path, reader: object) -> Look | None:
    """Like `look_at`, but a file that is still the one that this `reader` looked at is not walked to again.

    What the look says of the directory (`closed`) may have changed meanwhile.
    """
    known = _read.get((reader, path))
    if known is not None and known[0] == _mark_of(path):
        return known[1]
    began = time.time_ns()
    look = look_at(path, own)
    _read.pop((reader, path), None)
    if look is None:
        return None
    if would_show(look.status.st_ctime_ns, began):
        if len(_read) == _KEPT:
            del _read[next(iter(_read))]
        _read[reader, path] = _mark(look.status), look
    return look


_Mark = tuple[int, ...]
_read: dict[tuple[object, Path], tuple[_Mark, Look]] = {}
_KEPT = 8  # a process works on one keystore after the other


def would_show(changed: int, now: int) -> bool:
    """Whether a change made from `now` on gets another time than the one before it, `changed`. Both in ns.

    The kernel's clock for files ticks every few ms. Some file systems keep whole seconds (ext4 with inodes of 128
    bytes, JFFS2), FAT every other one.
    """
    return now - changed > (50_000_000 if changed % 1_000_000_000 else 2_050_000_000)


def _mark(status: os.stat_result) -> _Mark:
    """What cannot stay the same if the file is replaced or changed."""
    whose = status.st_mode, status.st_uid, status.st_gid, status.st_nlink
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, *whose


def _mark_of(path: Path) -> _Mark | None:
    try:
        return _mark(os.stat(path))
    except OSError:
        return None


def read_own(path: Path | str) -> bytes | None:
    """The content of a file of our own, in the state directory; None if there is none. Raises KeystoreError."""
    with explained(f"read {path}"):
        try:
            return durable.beginning_of(path, LIMIT)
        except FileNotFoundError:
            return None


def resolve(path: Path, live: Path) -> Path:
    """The file that a write to `path` replaces: `path` itself, or the file that its links finally lead to.

    A link into `live`, the keystore's live directory, is certagent's own and counts as the file itself. A link to a
    missing file in an existing directory leads to the file that will be made there. Raises KeystoreError.
    """
    with explained(f"look at {path}"):
        try:
            with reach(path, last="replace", own=live) as place:
                found = place.path
        except FileNotFoundError as error:
            hint = "create it, with the owner and mode the consumer needs"
            what = f"{path} is a symbolic link, and" if path.is_symlink() else f"{path}:"
            raise KeystoreError(f"{what} the directory {error.filename} does not exist", hint) from None
        if f"{found}/".startswith(f"{os.path.realpath(live)}/"):
            hint = "configure the path that the consumer reads; certagent creates the link itself"
            raise KeystoreError(f"{path} is inside certagent's own {live}", hint)
    return found


def ownership(
    found: Look | None,
    *,
    owner: str | None,
    group: str | None,
    mode: int | None,
    default: int,
    inherited: int = 0o777,
) -> Ownership:
    """The ownership of a new file: as configured, else of the file it replaces, else the process's, mode `default`.

    Access list and attributes of the replaced file are carried over as far as allowed, and so are the bits of its mode
    that are in `inherited`.

    `owner` and `group` are names or decimal numbers. Raises KeystoreError for an unknown one, and if the file in place
    belongs to somebody to whom no file can be given.
    """
    there = Ownership(default) if found is None else _ownership_of(found)
    uid = there.uid if owner is None else _number(owner, "user")
    gid = there.gid if group is None else _number(group, "group")
    if found is not None and owner is None and not owned.is_mapped(found.status.st_uid, "user"):
        raise _unmapped(found.path, f"user {found.status.st_uid}", "owner")
    if found is not None and group is None and not owned.is_mapped(found.status.st_gid, "group"):
        raise _unmapped(found.path, f"group {found.status.st_gid}", "group")
    if found is None:
        return Ownership(default if mode is None else int(mode), uid, gid)  # a plain number, as in journals
    new = Ownership(there.mode & inherited if mode is None else int(mode), uid, gid)
    return with_attributes(found, new, configured=mode is not None)


def _unmapped(path: Path, whom: str, word: str) -> KeystoreError:
    return KeystoreError(
        f"{path} belongs to {whom}, who does not exist in this container or user namespace, so the new "
        "file cannot be given to them",
        f"set `{word}`, or change the file's {word} from outside",
    )


def _ownership_of(found: Look) -> Ownership:
    return Ownership(stat.S_IMODE(found.status.st_mode) & 0o777, found.status.st_uid, found.status.st_gid)


def ownership_of_copy(found: Look) -> Ownership:
    """The ownership of the file itself; only our own if no file can be given to its owner."""
    there = _ownership_of(found)
    if owned.is_mapped(found.status.st_uid, "user") and owned.is_mapped(found.status.st_gid, "group"):
        return with_attributes(found, there, configured=False)
    return Ownership(there.mode & 0o700)


def gives_away(found: Look, wanted: Ownership) -> bool:
    """Whether people who cannot read the file now could read its new version, though they may have put it there.

    Somebody who can change a directory can move one of root's files to another name in it.
    """
    there = _ownership_of(found)
    if found.closed or there.mode & 0o004:
        return False
    same_group = wanted.gid == there.gid and bool(there.mode & 0o040)
    to_group = bool(wanted.mode & 0o040) and not same_group
    return wanted.uid not in (there.uid, 0) or to_group or bool(wanted.mode & 0o004)


def kept_ownership(found: Look) -> Ownership:
    """The ownership of a copy in `previous`. A read-only copy marks a file that not everybody could read, in a
    directory whose owner could meanwhile replace it with a file of their own: see `goes_back`."""
    there = _ownership_of(found)
    withheld = not found.closed and there.uid in owned.owners() and not there.mode & 0o004
    return Ownership(0o400 if withheld else 0o600)


def goes_back(kept: Look, wanted: Ownership) -> bool:
    """Whether a copy in `previous` may be put back as a file with this ownership."""
    for_us = wanted.uid is None or wanted.uid in owned.owners()
    return bool(kept.status.st_mode & 0o200) or (for_us and not wanted.mode & 0o077)


def _number(name: str, kind: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        key = "owner" if kind == "user" else "group"
        raise KeystoreError(f"there is no {kind} {name!r} on this host", f"create it, or correct `{key}`") from None
