"""From system calls to what they change on a disk. Every call that changes something is known here, or refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from tests.torture.calls import Call, unescaped
from tests.torture.disk import Attributes, Change, Data, Effect, Names, Number, Run, View
from tests.torture.tree import Entry, Tree

_OCTAL = re.compile(r"0[0-7]*$")


class Translator:
    """Follows a run call by call. Raises ValueError for a call that it does not know how to follow."""

    def __init__(self, root: str, before: Tree, outside: Sequence[str]) -> None:
        self.run = Run(View.of(before))
        self._root, self._outside = root, tuple(outside)
        self._view = self.run.first.copy()
        self._next = len(self._view.inodes)
        self._offsets: dict[tuple[int, str], int] = {}  # process, descriptor → where it writes; missing: at the end
        self._at = 0
        self._umask = os.umask(0o077)
        os.umask(self._umask)

    def take(self, at: int, call: Call) -> None:
        """Follow the call number `at`."""
        self._at = at
        if call.failed or not call.changes() or not call.paths:
            return
        inside = [path for path in call.paths if path == self._root or path.startswith(f"{self._root}/")]
        known = call.paths[-1].startswith(("/", "socket:", "pipe:"))
        if not inside and known:
            return
        handler: Callable[[Call, list[str]], None] | None = getattr(self, f"_{_SAME.get(call.name, call.name)}", None)
        if handler is None or not known:
            raise ValueError(f"{call.name} of {call.paths}: the model of the disk cannot follow it")
        handler(call, [os.path.relpath(path, self._root) for path in inside])

    def _change(self, change: Change, path: str) -> None:
        outside = path.split("/", maxsplit=1)[0] in self._outside
        self.run.effects.append(Effect(self._at, change, outside))
        self._view.apply(change)

    def _inode(self, path: str) -> Number | None:
        """Of a path as the kernel has it; None for one that has no name any more."""
        number = 0
        for name in () if path == "." else path.split("/"):
            found = self._view.names.get(number, {}).get(name)
            if found is None:
                return None
            number = found
        return number

    def _place(self, path: str) -> tuple[Number, str]:
        parent, _, name = path.rpartition("/")
        directory = self._inode(parent or ".")
        if directory is None:
            raise ValueError(f"{path}: the model of the disk has no such directory")
        return directory, name

    def _make(self, path: str, entry: Entry) -> Number:
        number, self._next = self._next, self._next + 1
        self.run.made[number] = entry
        self._view.add(number, entry)
        self._change(Names(((*self._place(path), number),)), path)
        return number

    # One method for each call, by its name.

    def _openat(self, call: Call, paths: list[str]) -> None:
        flags = " ".join(call.arguments)
        path, descriptor = paths[-1], call.result.partition("<")[0]
        inode = self._inode(path)
        if inode is None:
            mode = int(call.arguments[-1], 8) & ~self._umask
            inode = self._make(path, Entry("file", mode, os.geteuid(), os.getegid()))
        elif "O_TRUNC" in flags:
            self._change(Data(inode, 0, None), path)
        self._offsets.pop((call.pid, descriptor), None)
        if "O_APPEND" not in flags:
            self._offsets[call.pid, descriptor] = 0

    def _write(self, call: Call, paths: list[str]) -> None:
        inode, length = self._inode(paths[0]), int(call.result)
        if inode is None or not length:
            return
        key = call.pid, call.arguments[0].partition("<")[0]
        offset = self._offsets.get(key, len(self._view.inodes[inode].content))
        if key in self._offsets:
            self._offsets[key] = offset + length
        self._change(Data(inode, offset, unescaped(call.arguments[1])[:length]), paths[0])

    def _pwrite64(self, call: Call, paths: list[str]) -> None:
        if (inode := self._inode(paths[0])) is not None:
            content = unescaped(call.arguments[1])[: int(call.result)]
            self._change(Data(inode, int(call.arguments[3]), content), paths[0])

    def _ftruncate(self, call: Call, paths: list[str]) -> None:
        if (inode := self._inode(paths[0])) is not None:
            self._change(Data(inode, int(call.arguments[1]), None), paths[0])

    def _fsync(self, _call: Call, paths: list[str]) -> None:
        if (inode := self._inode(paths[0])) is not None:
            self.run.syncs.append((self._at, inode))

    def _rename(self, _call: Call, paths: list[str]) -> None:
        source, target = paths
        inode = self._inode(source)
        self._change(Names(((*self._place(source), None), (*self._place(target), inode))), target)

    def _unlink(self, _call: Call, paths: list[str]) -> None:
        self._change(Names(((*self._place(paths[-1]), None),)), paths[-1])

    def _mkdir(self, call: Call, paths: list[str]) -> None:
        mode = int(call.arguments[-1], 8) & ~self._umask
        self._make(paths[-1], Entry("directory", mode, os.geteuid(), os.getegid()))

    def _symlink(self, call: Call, paths: list[str]) -> None:
        text = unescaped(call.arguments[0])
        self._make(paths[-1], Entry("link", 0o777, os.geteuid(), os.getegid(), text))

    def _link(self, _call: Call, paths: list[str]) -> None:
        self._change(Names(((*self._place(paths[-1]), self._inode(paths[0])),)), paths[-1])

    def _chmod(self, call: Call, paths: list[str]) -> None:
        mode = next(int(part, 8) for part in call.arguments[1:] if _OCTAL.match(part))
        if (inode := self._inode(paths[-1])) is not None:
            self._change(Attributes(inode, mode=mode), paths[-1])

    def _chown(self, call: Call, paths: list[str]) -> None:
        uid, gid = (None if part == "-1" else int(part) for part in call.arguments[1:3])
        if (inode := self._inode(paths[-1])) is not None:
            self._change(Attributes(inode, uid=uid, gid=gid), paths[-1])

    def _utimensat(self, _call: Call, _paths: list[str]) -> None:
        """Times are no part of the model."""


# Calls that do what another does.
_SAME = {
    **dict.fromkeys(("open", "creat"), "openat"),
    **dict.fromkeys(("renameat", "renameat2"), "rename"),
    **dict.fromkeys(("unlinkat", "rmdir"), "unlink"),
    "mkdirat": "mkdir",
    "symlinkat": "symlink",
    "linkat": "link",
    **dict.fromkeys(("fchmod", "fchmodat", "fchmodat2"), "chmod"),
    "fchown": "chown",
    "fdatasync": "fsync",
}


def run_of(root: str, before: Tree, calls: Sequence[Call], outside: Sequence[str]) -> Run:
    """The recorded run of a device at `root`, which was `before`."""
    translator = Translator(root, before, outside)
    for at, call in enumerate(calls):
        translator.take(at, call)
    return translator.run
