"""Other people's directories: open and hold them without following a link that somebody else may have put there.

certagent often runs as root, and a consumer's files are in a directory where its own user can rename, remove and link
files at any moment. So certagent walks a path name by name and opens each name in the directory it already holds open.
It then works on a name in that directory, wherever the path may lead by then. It looks at a file once: content, owner
and mode all come from the one inode that it opened.

It follows a symbolic link on the way if root or we made the link, in a directory that nobody else can change: a user
who owns a directory can move root's own links about in it. (docs/decisions/0037)
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Literal

from msgspec import Struct

from certagent import owned
from certagent.errors import KeystoreError

Last = Literal["follow", "replace", "itself"]
"""What to do with a link at the end of a path. "follow": follow it. "replace": follow it, unless it leads into our own
directory; then the link itself is replaced. "itself": do not follow it, the name itself is meant."""

_NAMES = 100_000
_CHUNK = 1 << 16  # bytes: Python makes room for all that a read may return
_LINKS = 40  # the kernel's own limit
_WALK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not make us wait for its writer


class Look(Struct, frozen=True):
    """A regular file, opened at `place`. `closed`: only root or we can have put it there.

    `attributes`: its extended attributes by name, including the access list; those we may not read are empty.
    """

    place: str
    content: bytes
    status: os.stat_result
    closed: bool
    attributes: Mapping[str, bytes]

    @property
    def path(self) -> Path:
        return Path(self.place)


class Directory(Struct, frozen=True):
    """A directory held open by `descriptor`, usable as `dir_fd`; `place` is where it was found, with links resolved.

    `doubt` says how others than root and us may have put something in it, through it or a directory above it; empty if
    they cannot. `above` says the same about the directory itself.
    """

    place: str  # no Path: a renewal passes through hundreds of directories
    descriptor: int
    status: os.stat_result
    above: str
    doubt: str

    @property
    def path(self) -> Path:
        return Path(self.place)

    def place_of(self, name: str) -> str:
        """The path of a name in it."""
        return f"{self.place.rstrip('/')}/{name}"

    @property
    def closed(self) -> bool:
        """Whether only root and we can have put anything in it."""
        return not self.doubt

    def look(self, name: str, limit: int) -> Look | None:
        """The file of this name; None if it does not exist. Reads at most `limit` + 1 bytes.

        Raises OSError; KeystoreError if it is not a regular file, or may belong to somebody else.
        """
        try:
            descriptor = self._opened(name, _READ)
        except FileNotFoundError:
            return None
        try:
            return self._look(name, descriptor, limit)
        finally:
            os.close(descriptor)

    @contextmanager
    def open(self, name: str, limit: int) -> Iterator[tuple[int, Look]]:
        """Open the file of this name for reading and writing, and look at it. Raises as `look` does."""
        descriptor = self._opened(name, _READ | os.O_RDWR)
        try:
            yield descriptor, self._look(name, descriptor, limit)
        finally:
            os.close(descriptor)

    def _opened(self, name: str, flags: int) -> int:
        try:
            return os.open(name, flags, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise KeystoreError(
                    f"{self.place_of(name)} became a symbolic link while certagent was reading it",
                    "find out which program changes it",
                ) from None
            raise

    def _look(self, name: str, descriptor: int, limit: int) -> Look:
        status, content = os.fstat(descriptor), b""
        self._check(name, status)
        most = min(max(status.st_size, _CHUNK), limit) + 1
        while len(content) <= limit and (part := os.read(descriptor, most)):
            content += part
        return Look(self.place_of(name), content, status, self.closed, _attributes(descriptor))

    def _check(self, name: str, status: os.stat_result) -> None:
        if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
            return
        path = self.place_of(name)
        if not stat.S_ISREG(status.st_mode):
            what = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise KeystoreError(f"{path} is {what}", "correct the path, or move away what is there")
        own = status.st_uid == self.status.st_uid and status.st_uid not in owned.owners()
        if status.st_nlink > 1 and not self.closed and not own:
            raise KeystoreError(
                f"{path} is a hard link to a file of {owned.name_of(status.st_uid)}, and {self.doubt}: "
                "who knows who put it there",
                "replace it with a copy",
            )

    def names(self) -> list[str]:
        """All names in it. Raises OSError; KeystoreError if there are too many to look through."""
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            with os.scandir(descriptor) as entries:
                names = [entry.name for entry in islice(entries, _NAMES + 1)]
        finally:
            os.close(descriptor)
        if len(names) > _NAMES:
            raise KeystoreError(f"{self.path} holds more than {_NAMES} files", "use a directory of their own")
        return names

    def link(self, name: str) -> str:
        """The target of a symbolic link; empty if it is not a link, or does not exist."""
        try:
            return os.readlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return ""
        except OSError as error:
            if error.errno == errno.EINVAL:
                return ""
            raise

    def exists(self, name: str) -> bool:
        """Whether this name exists, even as a dangling link."""
        try:
            os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def unlink(self, name: str) -> None:
        """Remove it; missing is fine. Looks first: a read-only file system refuses to unlink even a missing file."""
        if self.exists(name):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.descriptor)


class Place(Struct, frozen=True):
    """A name in a directory that is held open."""

    directory: Directory
    name: str

    @property
    def path(self) -> Path:
        return Path(self.directory.place_of(self.name))

    def look(self, limit: int) -> Look | None:
        return self.directory.look(self.name, limit)

    def fault(self) -> tuple[str, str] | None:
        """Why the file cannot be trusted, and what to do about it; None if only root and we can change or replace it.

        Raises OSError.
        """
        if self.directory.doubt:
            return f"may have been put there by others: {self.directory.doubt}", "keep it where only root can write"
        descriptor = os.open(self.name, _WALK, dir_fd=self.directory.descriptor)
        try:
            return owned.fault(os.fstat(descriptor), self.path, descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def reach(path: Path, *, last: Last = "follow", own: Path | None = None) -> Iterator[Place]:
    """The place that the absolute `path` leads to; the file itself may be missing.

    `own` is a directory of certagent's. If the path ends in a link into it, the link may be anywhere and belong to
    anybody. Raises OSError; KeystoreError for a link that must not be followed.
    """
    held: list[int] = []
    try:
        walk = _Walk(held, own)
        name = walk.to(path, last)
        yield Place(walk.here, name)
    finally:
        for descriptor in held:
            os.close(descriptor)


class _Walk:
    """The directories from `/` to where the walk is, all held open: `..` leads back the way it came."""

    def __init__(self, held: list[int], own: Path | None) -> None:
        """`held`: the descriptors that are opened on the way; the caller closes them."""
        self._held, self._own = held, own
        self._links = 0
        self._steps: list[Directory] = []
        descriptor = os.open("/", _WALK)
        held.append(descriptor)
        status = os.fstat(descriptor)
        self._owners = owned.owners(status)
        self._enter("/", descriptor, status, above="")

    @property
    def here(self) -> Directory:
        return self._steps[-1]

    def to(self, path: Path, last: Last) -> str:
        """Walk to the directory that `path` ends in; returns the name in it."""
        names = _names(os.fspath(path))
        while names:
            name = names.pop()
            if name == "..":
                del self._steps[max(1, len(self._steps) - 1) :]
                continue
            if not names and last == "itself":
                return name
            text = self._step(name, is_last=not names)
            if not names and (not text or (last == "replace" and self._leads_into_own(text))):
                return name
            if text:
                self._follow(text, names)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))

    def _step(self, name: str, *, is_last: bool) -> str:
        """The target of a link that may be followed; empty for anything else, which is entered unless it comes last."""
        here = self._steps[-1]
        try:
            descriptor = os.open(name, _WALK, dir_fd=here.descriptor)
        except FileNotFoundError as error:
            if is_last:
                return ""
            raise FileNotFoundError(error.errno, error.strerror, here.place_of(name)) from None
        self._held.append(descriptor)
        status = os.fstat(descriptor)
        if stat.S_ISLNK(status.st_mode):
            text = os.readlink("", dir_fd=descriptor)  # of the link we hold open
            self._check_link(name, status, text, is_last=is_last)
            return text
        if not is_last:
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), here.place_of(name))
            above = here.doubt
            if above and owned.is_sticky(here.status) and {here.status.st_uid, status.st_uid} <= self._owners:
                above = here.above
            self._enter(here.place_of(name), descriptor, status, above)
        return ""

    def _enter(self, place: str, descriptor: int, status: os.stat_result, above: str) -> None:
        doubt = above
        if not doubt and status.st_uid not in self._owners:
            doubt = f"{place} belongs to user {owned.name_of(status.st_uid)}"
        if not doubt and owned.others_may_write(descriptor, status):
            doubt = f"{place} is writable by {'everybody' if status.st_mode & 0o002 else 'its group'}"
        self._steps.append(Directory(place, descriptor, status, above, doubt))

    def _check_link(self, name: str, status: os.stat_result, text: str, *, is_last: bool) -> None:
        path = self.here.place_of(name)
        self._links += 1
        if self._links > _LINKS:
            raise KeystoreError(f"{path} is a symbolic link that leads back to itself", "fix the links")
        if is_last and self._leads_into_own(text):
            return
        if status.st_uid not in self._owners:
            user = owned.name_of(status.st_uid)
            raise KeystoreError(
                f"{path} is a symbolic link owned by user {user}, which certagent does not follow",
                f"configure the path it points to, or run certagent as {user}",
            )
        if self.here.doubt:
            raise KeystoreError(
                f"{path} is a symbolic link, and {self.here.doubt}, so anybody may have put it there",
                "configure the path it points to, or run certagent as the directory's owner",
            )

    def _leads_into_own(self, text: str) -> bool:
        return self._own is not None and Path(text).is_relative_to(self._own) and ".." not in Path(text).parts

    def _follow(self, text: str, names: list[str]) -> None:
        if text.startswith("/"):
            del self._steps[1:]
        names += _names(text)


def _attributes(descriptor: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with suppress(OSError):  # a file system without extended attributes
        for name in os.listxattr(descriptor):
            found[name] = b""
            with suppress(OSError):
                found[name] = os.getxattr(descriptor, name)
    return found


def _names(path: str) -> list[str]:
    """The names in a path, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
