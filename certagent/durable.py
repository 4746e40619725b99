"""Files that survive a power cut: write, fsync, rename, fsync the directory; and locks between processes.

Every file certagent writes goes through here. When a function returns, its effect is on the disk. certagent's own JSON
files, which hold a version, are also read here. No cryptography is loaded.

`dir_fd` is a directory held open; a relative path is relative to it (`directories.py`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from certagent.errors import BusyError, DamagedError, StateError

T = TypeVar("T")


ACCESS_LIST = "system.posix_acl_access"
Attributes = tuple[tuple[str, bytes], ...]
"""Extended attributes by name, the access list (POSIX ACL) among them."""


class Ownership(msgspec.Struct, frozen=True):
    """Who may do what with a file. If `uid` or `gid` is None, the process's own is used.

    If the file system or the user cannot set the attributes, they are left out; nobody ever gets more rights by that.
    """

    mode: int
    uid: int | None = None
    gid: int | None = None
    attributes: Attributes = ()


PRIVATE = Ownership(0o600)
LARGEST = 16 << 20  # bytes: no file of our own that is read whole is nearly as large


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Make `path` and its missing parents, each durable in its own parent. An existing one is left as it is."""
    if path.is_dir():
        return
    make_directory(path.parent, mode)
    try:
        path.mkdir(mode)
    except FileExistsError:
        return
    path.chmod(mode)  # the umask removes bits from mkdir's mode
    sync_directory(path.parent)


def sync_directory(path: Path, *, dir_fd: int | None = None) -> None:
    """Make the names in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(path: Path, content: bytes, ownership: Ownership = PRIVATE, *, dir_fd: int | None = None) -> None:
    """Write a file that nobody reads yet: owner and mode before content. Its content is durable, its name is not.

    Replaces a file that a killed run left at `path`. Raises OSError (and then leaves nothing behind).
    """
    _unlink(path, dir_fd)
    # O_EXCL | O_NOFOLLOW: next to a consumer's file, the directory may belong to another user.
    with _new(path, dir_fd) as descriptor:
        give(descriptor, ownership)
        write_at(descriptor, content)
        os.fsync(descriptor)


@contextmanager
def _new(path: Path, dir_fd: int | None = None) -> Iterator[int]:
    """A file that does not exist yet, for us alone, open for writing. Raises OSError; nothing is left if what follows
    fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, PRIVATE.mode, dir_fd=dir_fd)
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except BaseException as fault:
        _unlink(path, dir_fd)
        if isinstance(fault, OSError):
            fault.filename = fault.filename or str(path)  # the kernel does not say which file a failed write was for
        raise


def give(descriptor: int, ownership: Ownership) -> None:
    """Set owner, mode and attributes of an open file. Raises OSError."""
    if ownership.uid is not None or ownership.gid is not None:
        uid = -1 if ownership.uid is None else ownership.uid
        gid = -1 if ownership.gid is None else ownership.gid
        os.fchown(descriptor, uid, gid)
    mode = ownership.mode
    if not any(name == ACCESS_LIST for name, _ in ownership.attributes):
        # The directory may hand down an access list; then the mode's group bits would be its mask.
        with suppress(OSError):
            os.removexattr(descriptor, ACCESS_LIST)
    for name, value in ownership.attributes:
        try:
            os.setxattr(descriptor, name, value)
        except OSError:
            if name == ACCESS_LIST:
                mode &= ~0o070  # these bits are the mask, not the group's rights
    os.fchmod(descriptor, mode)


def _unlink(path: Path, dir_fd: int | None) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path, dir_fd=dir_fd)


def replace(staged: Path, target: Path, *, dir_fd: int | None = None) -> None:
    """Put `staged` in `target`'s place in one step, durably. Both are in the same directory."""
    os.replace(staged, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    sync_directory(target.parent, dir_fd=dir_fd)


def set_aside(path: Path) -> Path:
    """Rename a damaged file of our own, so that it can be made again and somebody can look at it; its new path."""
    kept = path.with_name(f"{path.name}.damaged")
    replace(path, kept)
    return kept


def write(path: Path, content: bytes, ownership: Ownership = PRIVATE, *, dir_fd: int | None = None) -> None:
    """Replace `path` with `content`: a reader, or a restart, sees the old or the new, never a part."""
    write_early(path, content, ownership, dir_fd=dir_fd)
    sync_directory(path.parent, dir_fd=dir_fd)


def write_early(path: Path, content: bytes, ownership: Ownership = PRIVATE, *, dir_fd: int | None = None) -> None:
    """Like `write`, but until the directory is next made durable, a power cut may bring the old content back.

    For what the next step makes durable anyway, and for what may as well be found as it was before.
    """
    staged = path.with_name(f".{path.name}.new")
    write_new(staged, content, ownership, dir_fd=dir_fd)
    try:
        os.replace(staged, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        _unlink(staged, dir_fd)
        raise


def write_unless_same(path: Path, content: bytes, ownership: Ownership = PRIVATE) -> None:
    """Like `write`, but a file that already has this content is left alone."""
    with suppress(OSError), open_own(path) as file:
        if file.read(len(content) + 1) == content:
            return
    write(path, content, ownership)


def append_line(path: Path, line: bytes, ownership: Ownership = PRIVATE) -> None:
    """Add one line. An older line that a power cut left incomplete stays a line of its own."""
    existed = path.exists()
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, ownership.mode)
    with os.fdopen(descriptor, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        cut_short = False
        if size:
            file.seek(size - 1)
            cut_short = file.read(1) != b"\n"
        file.write((b"\n" if cut_short else b"") + line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if not existed:
        sync_directory(path.parent)


def begin(path: Path, content: bytes) -> None:
    """Make a file of our own that does not exist yet. Until it is next made durable, a power cut may leave any part of
    it, or none. Raises OSError (and then leaves nothing behind).
    """
    with _new(path) as descriptor:
        write_at(descriptor, content)


def write_from(path: Path, place: int, content: bytes, *, durably: bool = True) -> None:
    """Write from this place on into a file of our own, over its old end and beyond.

    A power cut meanwhile may leave any part of it. If it fails, the old end is put back as far as possible.
    Raises OSError.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "rb+", buffering=0) as file:
        old = os.pread(file.fileno(), len(content), place)
        try:
            write_at(file.fileno(), content, place)
            if durably:
                os.fsync(file.fileno())
        except BaseException as fault:
            with suppress(OSError):
                os.ftruncate(file.fileno(), place + len(old))
                os.pwrite(file.fileno(), old, place)
            if isinstance(fault, OSError):
                fault.filename = fault.filename or str(path)
            raise


def write_at(descriptor: int, content: bytes, place: int = 0) -> None:
    """Write all of it into an open file, from this place on; not durable yet. Raises OSError."""
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], place + written)


def sync_file(path: Path) -> None:
    """Make what a file of our own holds durable."""
    with open_own(path) as file:
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Remove a file, a link or a whole directory, durably. Missing is fine."""
    if discard(path):
        sync_directory(path.parent)


def discard(path: Path) -> bool:
    """Like `remove`, but a power cut may bring it back, until its directory is next made durable.

    For what the next run removes if it finds it again. Returns whether there was anything.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return True
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


_OWN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 16  # bytes: Python makes room for all that a read may return


def open_own(path: Path | str) -> BinaryIO:
    """Open a file that we wrote ourselves for reading; refuses a link or pipe that somebody put in its place."""
    return os.fdopen(os.open(path, _OWN), "rb")


def beginning_of(path: Path | str, limit: int) -> bytes:
    """What `open_own` opens, at most so many bytes of it. Raises OSError."""
    descriptor = os.open(path, _OWN)
    try:
        found = bytearray()
        while len(found) < limit and (part := os.read(descriptor, min(_CHUNK, limit - len(found)))):
            found += part
        return bytes(found)
    finally:
        os.close(descriptor)


_LOOK = "look at the file, then move it away; certagent never does that by itself"


class Versioned(msgspec.Struct):
    """A file of which only the version is read."""

    version: int


def read_versioned(
    path: Path | str,
    kind: type[T],
    version: int,
    *,
    if_damaged: str = _LOOK,
) -> T | None:
    """Read a JSON file of our own, which contains its version; None if it does not exist.

    `if_damaged` is the hint for a damaged file. Raises StateError, also for a file of another version: certagent never
    starts again from nothing over a file it cannot read.
    """
    data = read_own(path)
    return None if data is None else decoded(path, data, kind, version, if_damaged=if_damaged)


def read_own(path: Path | str) -> bytes | None:
    """The content of a file of our own; None if it does not exist. Raises StateError.

    One that is larger than we write any is damaged: a broken file system may show a few bytes as many gigabytes.
    """
    try:
        content = beginning_of(path, LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}", remedy(error)) from None
    if len(content) > LARGEST:
        raise damaged(path, f"it is larger than {LARGEST >> 20} MiB", _LOOK)
    return content


def decoded(path: Path | str, data: bytes, kind: type[T], version: int | None, *, if_damaged: str = _LOOK) -> T:
    """What `read_versioned` does with the content of a file; any version will do if None."""
    try:
        if version is not None:  # first: a file of another version may contain anything
            check_version(path, msgspec.json.decode(data, type=Versioned).version, version)
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(path, error, if_damaged) from None


def damaged(path: Path | str, why: object, hint: str = _LOOK) -> DamagedError:
    """The error for a file of our own that does not add up."""
    return DamagedError(f"{path} is damaged: {why}", hint)


def remedy(error: OSError) -> str:
    """What to do when we cannot read a file of our own."""
    if isinstance(error, PermissionError):
        return "run certagent as the agent's user"
    if isinstance(error, NotADirectoryError):
        return "part of that path is a file: move it away, or correct state_dir"
    return "check the disk and the file system"


def check_version(path: Path | str, found: int, known: int) -> None:
    """Raises StateError unless the file has the version that this certagent reads and writes."""
    if found > known:
        raise StateError(
            f"{path} was written by a newer certagent (version {found}, this one reads {known})",
            "install that version again; nothing was changed",
        )
    if found < known:
        raise StateError(
            f"{path} was written by an older certagent (version {found}, this one reads only {known})",
            "install the version that wrote it, let it finish open transactions, then update; nothing was changed",
        )


@contextmanager
def lock(path: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on `path` between processes; the kernel drops it if we die.

    `what` names the thing in the error. Without `wait`, raises BusyError if another process holds it.
    """
    make_directory(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise BusyError(
                f"{what} is in use by process {holder or 'unknown'}", "wait for it to finish, then try again"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        with suppress(OSError):  # the file system has none: `holder` then sees nobody
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
        yield
    finally:
        os.close(descriptor)


# struct flock: F_WRLCK from the start to the end. Beside flock(2), which has no way to ask without locking.
_FLOCK = "hhqqixxxx"
_WHOLE_FILE = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def holder(path: Path) -> int | None:
    """The process that holds this lock, 0 if its number is not known here; None if nobody does.

    Asks without locking, so it is in nobody's way. Raises OSError if this user may not look.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WHOLE_FILE)
        if struct.unpack(_FLOCK, found)[0] == fcntl.F_UNLCK:
            return None
        text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    # Of another container's process, the number is of its own.
    return int(text) if text.isdecimal() and os.path.exists(f"/proc/{text}") else 0  # noqa: PTH110
