"""A consumer's files as they are found: what a reader gets, where links lead, whose the files are.

No cryptography is loaded here: `certagent recover` and the agent come this way.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certagent.durable import Ownership
from certagent.errors import KeystoreError

# No key, certificate or chain comes near it.
LIMIT = 1 << 20

_HINTS = {
    errno.ENOSPC: "free some space and try again",
    errno.EDQUOT: "raise the quota or free some space, and try again",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) and try again",
    errno.EACCES: "run certagent as root, or give its user access to the file and its directory",
    errno.EPERM: "run certagent as root; if it does, look for an immutable file (lsattr)",
    errno.EROFS: "remount it writable, or add its directory to ReadWritePaths= of the systemd unit",
    errno.EBUSY: "a file that is itself a mount point cannot be replaced: mount its directory instead",
    errno.ELOOP: "the symbolic links lead in a circle: mend them",
    errno.ENAMETOOLONG: "use a shorter file name",
    errno.ENOENT: "create the directory, with the owner and mode the consumer needs",
    errno.ENOTDIR: "a part of the path is a file, not a directory: correct the path",
}


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an OSError into a KeystoreError: `cannot WHAT: No space left on device`, and what to do."""
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "look at the file system and the kernel's log")
        raise KeystoreError(f"cannot {what}: {error.strerror or error}", hint) from error


def read_file(path: Path) -> bytes | None:
    """What a reader of `path` gets; None if there is no such file.

    Raises KeystoreError for what cannot be read, is no regular file, or is larger than LIMIT bytes.
    """
    with explained(f"read {path}"):
        try:
            # O_NONBLOCK: a named pipe in the file's place must not make us wait for its writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            _check_regular(path, os.fstat(descriptor))
            content = b""
            while len(content) <= LIMIT and (part := os.read(descriptor, LIMIT)):
                content += part
        finally:
            os.close(descriptor)
    if len(content) > LIMIT:
        raise KeystoreError(f"{path} is larger than {LIMIT >> 20} MiB", "no key or certificate is: correct the path")
    return content


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise KeystoreError(f"{path} is {what}", "correct the path, or move away what lies there")


def resolve(path: Path, live: Path) -> Path:
    """The file that is replaced when `path` is written: itself, or what its links finally lead to.

    A link into `live`, the keystore's live directory, is our own and counts as the file. A link to a
    missing file in an existing directory leads to that file-to-be. Raises KeystoreError.
    """
    asked = path
    for _ in range(40):  # the kernel's own limit
        with explained(f"look at {asked}"):
            parent = Path(os.path.realpath(path.parent))
            if not parent.is_dir():
                hint = "create it, with the owner and mode the consumer needs"
                raise KeystoreError(f"{asked}: the directory {parent} does not exist", hint)
            if parent.is_relative_to(os.path.realpath(live)):
                hint = "configure the path the consumer reads; certagent links it to there itself"
                raise KeystoreError(f"{asked} lies in certagent's own {live}", hint)
            path = parent / path.name
            if not path.is_symlink():
                return path
            aim = parent / path.readlink()
        if aim.is_relative_to(live):
            return path
        path = aim
    raise KeystoreError(f"{asked} is a symbolic link that leads in a circle", _HINTS[errno.ELOOP])


def ownership(path: Path, *, owner: str | None, group: str | None, mode: int | None, default: int) -> Ownership:
    """Whose a new file at `path` is: as asked for, else as the file in place, else the process's with mode `default`.

    `owner` and `group` are names or decimal numbers. Raises KeystoreError for an unknown one.
    """
    with explained(f"look at {path}"):
        try:
            status = path.stat()
        except FileNotFoundError:
            found = Ownership(default)
        else:
            _check_regular(path, status)
            found = Ownership(stat.S_IMODE(status.st_mode) & 0o777, status.st_uid, status.st_gid)
    return Ownership(
        mode=found.mode if mode is None else mode,
        uid=found.uid if owner is None else _number(owner, "user"),
        gid=found.gid if group is None else _number(group, "group"),
    )


def _number(name: str, kind: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        key = "owner" if kind == "user" else "group"
        raise KeystoreError(f"there is no {kind} {name!r} on this host", f"create it, or correct `{key}`") from None
