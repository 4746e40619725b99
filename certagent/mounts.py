"""Single files that are mounted: whoever sees one there keeps seeing its inode, even if a rename replaces the file."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path

from msgspec import Struct


class Mount(Struct, frozen=True):
    """A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)): which part of which file system is mounted where."""

    device: str
    root: str
    point: str

    @classmethod
    def parse(cls, line: str) -> Mount | None:
        """None if the line cannot be parsed."""
        fields = line.split(" ")
        if len(fields) < 6:
            return None
        return cls(fields[2], _unescaped(fields[3]), _unescaped(fields[4]))


class Mounts(Struct, frozen=True):
    """What is mounted where: as we see it, and in each mount namespace that we may look into (as root, all)."""

    own: tuple[Mount, ...]
    every: tuple[Mount, ...]

    @classmethod
    def read(cls) -> Mounts:
        """As /proc lists it; empty without /proc."""
        return cls(_read("self"), tuple(_all_mounts()))

    def of(self, path: Path | str) -> list[str]:
        """Where the file `path`, which contains no links, is mounted as a single file, for example into a container."""
        itself = [mount.point for mount in self.own if mount.point == str(path)]
        return itself[:1] + mounted_at(str(path), self.own, self.every)


def mounted_at(path: str, own: Collection[Mount], every: Iterable[Mount]) -> list[str]:
    """Where the file `path`, as we see it through our `own` mounts, is mounted as a single file, among `every` mount.

    `path` contains no links.
    """
    under = [mount for mount in own if path == mount.point or path.startswith(f"{mount.point.rstrip('/')}/")]
    if not under:
        return []
    mount = max(reversed(under), key=lambda each: len(each.point))
    inside = os.path.normpath(f"{mount.root}/{path[len(mount.point) :]}").replace("//", "/")
    same = [each for each in every if (each.device, each.root) == (mount.device, inside)]
    # The same path may belong to another namespace: a container's, or a unit's with ReadOnlyPaths=.
    return sorted({each.point for each in same if each.point != path or each not in own})


def _all_mounts() -> list[Mount]:
    found: list[Mount] = []
    seen: set[str] = set()
    try:
        processes = ["self", *filter(str.isdecimal, os.listdir("/proc"))]  # noqa: PTH208  as below
    except OSError:
        return found
    for process in processes:
        try:
            namespace = os.readlink(f"/proc/{process}/ns/mnt")  # noqa: PTH115  of thousands of processes
        except OSError:  # it ended, or belongs to somebody else
            continue
        if namespace not in seen:
            seen.add(namespace)
            found += _read(process)
    return found


def _read(process: str) -> tuple[Mount, ...]:
    try:
        with open(f"/proc/{process}/mountinfo", "rb", buffering=0) as file:  # noqa: PTH123  likewise
            return _parsed(file.readall())
    except OSError:
        return ()


@lru_cache(maxsize=32)  # a worker asks for each of its keystores, and hardly anything is mounted meanwhile
def _parsed(text: bytes) -> tuple[Mount, ...]:
    return tuple(mount for line in os.fsdecode(text).splitlines() if (mount := Mount.parse(line)) is not None)


def _unescaped(text: str) -> str:
    """Blanks, tabs, line ends and backslashes are written as three octal digits."""
    if "\\" not in text:
        return text
    for escaped, real in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escaped, real)
    return text
