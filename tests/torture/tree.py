"""A directory and all below it as a value: read, written, compared."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# What the code under test names at random: transactions, generations, copies.
_RANDOM = re.compile(r"[0-9a-f]{32}(-base)?(-\d+)?")


@dataclass(frozen=True)
class Entry:
    """One name. `content`: a file's bytes, a link's text, nothing of a directory."""

    kind: Literal["file", "directory", "link"]
    mode: int
    uid: int
    gid: int
    content: bytes = b""


Tree = Mapping[str, Entry]  # by path relative to the root, which is "." itself; parents before children


def read(root: Path) -> dict[str, Entry]:
    """All that is in `root`, itself included."""
    found = {".": _entry(root)}
    for directory, directories, files in os.walk(root):
        directories.sort()
        for name in sorted([*directories, *files]):
            path = Path(directory, name)
            found[str(path.relative_to(root))] = _entry(path)
    return dict(sorted(found.items()))


def _entry(path: Path) -> Entry:
    status = path.lstat()
    mode, whose = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        return Entry("link", 0o777, *whose, os.fsencode(path.readlink()))
    if stat.S_ISDIR(status.st_mode):
        return Entry("directory", mode, *whose)
    return Entry("file", mode, *whose, path.read_bytes())


def write(root: Path, tree: Tree) -> None:
    """Let `root` hold `tree` and nothing else."""
    shutil.rmtree(root, ignore_errors=True)
    for name, entry in tree.items():
        path = root / name
        if entry.kind == "directory":
            path.mkdir(exist_ok=True)
        elif entry.kind == "link":
            path.symlink_to(os.fsdecode(entry.content))
        else:
            path.write_bytes(entry.content)
        if os.geteuid() == 0:
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        if entry.kind != "link":
            path.chmod(entry.mode)


def shape(tree: Tree, besides: Sequence[str]) -> list[str]:
    """Every name with its kind, mode and owner, whatever it was called at random, and whatever it holds.

    What lies below those `besides` does not count, nor do locks.
    """
    return sorted(
        f"{_called(name)} {entry.kind} {entry.mode:04o} {entry.uid}:{entry.gid}"
        for name, entry in tree.items()
        if name.split("/", 1)[0] not in besides and not name.endswith("lock")  # who comes first makes them
    )


def _called(name: str) -> str:
    return _RANDOM.sub(lambda found: f"ID{found[1] or ''}", name)
