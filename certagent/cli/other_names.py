"""Readers who would keep the old file after a swap: those of its hard links, and of mounts of the file alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from certagent.cli.terminal import Finding, Mark


@dataclass(frozen=True)
class Mount:
    """A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)): what of which file system is seen where."""

    device: str
    root: str
    point: str

    @classmethod
    def parse(cls, line: str) -> Mount | None:
        """None for a line that is none."""
        fields = line.split(" ")
        if len(fields) < 6:
            return None
        return cls(fields[2], _unescaped(fields[3]), _unescaped(fields[4]))


def findings(target: Path, status: os.stat_result) -> Iterator[Finding]:
    """What `check` says of a file that is to be replaced; as root of the mounts of every process, else of our own."""
    if status.st_nlink > 1:
        yield Finding(
            Mark.WARNING,
            f"{target} has {status.st_nlink} names (hard links): after a swap the others go on holding the old file",
            "have their readers read this one, or a post hook link it anew",
        )
    for point in mounted_at(str(target), _own_mounts(), _all_mounts()):
        yield Finding(
            Mark.WARNING,
            f"{target} is mounted at {point} as a single file, as into a container: after a swap that goes on showing "
            "the old file",
            "mount its directory instead, or have a post hook start the container anew",
        )


def mounted_at(path: str, own: Iterable[Mount], every: Iterable[Mount]) -> list[str]:
    """Where the file `path`, as we see it by `own` mounts, is a mount by itself, among `every` mount.

    `path` has no links in it.
    """
    under = [mount for mount in own if path == mount.point or path.startswith(f"{mount.point.rstrip('/')}/")]
    if not under:
        return []
    mount = max(reversed(under), key=lambda each: len(each.point))
    inside = os.path.normpath(f"{mount.root}/{path[len(mount.point) :]}").replace("//", "/")
    found = {each.point for each in every if (each.device, each.root) == (mount.device, inside) and each.point != path}
    return sorted(found)


def _own_mounts() -> list[Mount]:
    return _read("self")


def _all_mounts() -> Iterator[Mount]:
    """Of every mount namespace that we may look into."""
    seen: set[str] = set()
    for process in ("self", *filter(str.isdecimal, os.listdir("/proc"))):  # noqa: PTH208  as below
        try:
            namespace = os.readlink(f"/proc/{process}/ns/mnt")  # noqa: PTH115  of thousands of processes
        except OSError:  # it ended, or is somebody else's
            continue
        if namespace not in seen:
            seen.add(namespace)
            yield from _read(process)


def _read(process: str) -> list[Mount]:
    try:
        text = Path(f"/proc/{process}/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return []
    return [mount for line in text.splitlines() if (mount := Mount.parse(line)) is not None]


def _unescaped(text: str) -> str:
    """Blanks, tabs, line ends and backslashes are written as three octal digits."""
    for escaped, real in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escaped, real)
    return text
