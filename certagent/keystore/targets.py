"""The directories of the files that a swap replaces, held open until it is over. No cryptography is loaded here."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from certagent import durable
from certagent.directories import Directory, Look, reach
from certagent.keystore.files import LIMIT, explained, look_at, read_own


class Targets:
    """Files in directories that are held open: an operation on a path works in the directory that was opened for it.

    `live` is where our own links lead. A directory that is gone counts as empty.
    """

    def __init__(self, directories: dict[str, Directory], live: Path) -> None:
        """`directories` by their paths, without the `/` at the end."""
        self._directories = directories
        self.live = live

    def directory_of(self, path: str) -> Directory:
        """The open directory of this path. Raises FileNotFoundError if it is gone."""
        directory, _ = self._place(path)
        if directory is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(Path(path).parent))
        return directory

    def _place(self, path: str) -> tuple[Directory | None, str]:
        """The open directory of this path, None if it is gone; and the name in it."""
        parent, _, name = path.rpartition("/")
        return self._directories.get(parent), name

    def link(self, path: str) -> str:
        """Where a symbolic link leads; empty for anything else."""
        directory, name = self._place(path)
        return "" if directory is None else directory.link(name)

    def look(self, path: str) -> Look | None:
        """What a reader gets; None if there is nothing, or a link that does not lead into `live`."""
        if text := self.link(path):
            return look_at(Path(text)) if text.startswith(f"{self.live}/") else None
        directory, name = self._place(path)
        with explained(f"read {path}"):
            return None if directory is None else directory.look(name, LIMIT)

    def digest(self, path: str) -> str | None:
        """SHA-256 of what a reader gets, in hex; None if there is nothing, or a link that does not lead into `live`."""
        look = self.look(path)
        return None if look is None else sha256(look.content)

    @contextmanager
    def open(self, path: str) -> Iterator[tuple[int, Look]]:
        """Open the file in place to write into it, and look at it. Raises OSError, KeystoreError."""
        with self.directory_of(path).open(Path(path).name, LIMIT) as opened:
            yield opened

    def replace(self, staged: str, target: str) -> None:
        """Rename, within one directory; not durable yet."""
        descriptor = self.directory_of(target).descriptor
        os.replace(Path(staged).name, Path(target).name, src_dir_fd=descriptor, dst_dir_fd=descriptor)

    def keep_beside(self, target: str, old: str) -> bool:
        """Give the file in place a second name, which costs nothing and keeps everything about it; whether that worked.

        Not where others could put such a name: there certagent trusts no file that has two (`Directory.look`). Nor for
        a link, nor where the file system or the kernel (protected_hardlinks) refuses.
        """
        directory = self.directory_of(target)
        name, second = Path(target).name, Path(old).name
        if not directory.closed or directory.link(name):
            return False
        place = directory.descriptor
        try:
            os.link(name, second, src_dir_fd=place, dst_dir_fd=place, follow_symlinks=False)
        except OSError:
            return False
        return True

    def unlink(self, *paths: str) -> None:
        """Missing files and empty paths are skipped."""
        for path in paths:
            directory, name = self._place(path)
            if name and directory is not None:
                directory.unlink(name)

    def sync(self, targets: Iterable[str]) -> None:
        """Make the names in the directories of these files durable."""
        for parent in dict.fromkeys(target.rpartition("/")[0] for target in targets):
            if directory := self._directories.get(parent):
                durable.sync_directory(Path(), dir_fd=directory.descriptor)


@contextmanager
def hold(targets: Iterable[str], live: Path) -> Iterator[Targets]:
    """Open the directories of these files. Raises KeystoreError."""
    with ExitStack() as stack:
        directories: dict[str, Directory] = {}
        for target in targets:
            parent, _, _ = target.rpartition("/")
            if parent not in directories:
                with explained(f"look at {parent or '/'}"), suppress(FileNotFoundError, NotADirectoryError):
                    directories[parent] = stack.enter_context(reach(Path(target), last="itself")).directory
        yield Targets(directories, live)


def digest(path: str) -> str | None:
    """SHA-256 of a file of our own, in hex; None if there is none. Raises KeystoreError."""
    content = read_own(path)
    return None if content is None else sha256(content)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
