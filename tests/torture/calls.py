"""System calls as strace tells them, and strace made to kill or to fail one of them."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.torture.command import Said
from tests.torture.device import Device

# Calls that change a file system, as Linux has them on any machine; those it does not have are passed over.
FILES = (
    *("open", "openat", "creat", "write", "pwrite64", "writev", "pwritev", "truncate", "ftruncate", "fallocate"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat"),
    *("fsync", "fdatasync", "sync", "syncfs", "copy_file_range", "sendfile", "utimensat", "mknod", "mknodat"),
)
NETWORK = ("connect", "sendto", "sendmsg")
# Besides, for faults: what reads, and what asks the kernel for something.
READING = ("read", "pread64", "recvfrom", "socket", "pipe2", "vfork", "clone", "clone3", "flock", "getdents64", "fstat")

_WITH_CONTENT = ("read", "write", "pread64", "pwrite64", "sendto", "recvfrom")
# Says that a command that does not end by itself has done enough; None for one that ends.
Enough = Callable[[], bool] | None

_LINE = re.compile(r"(?P<pid>\d+) (?P<call>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>.*)")
_PART = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|[^,]+')
_DESCRIPTOR = re.compile(r"<((?:\\x[0-9a-f]{2})+)>")  # 3<\x2f…>, of a file; a pipe's name stands as it is
_WRITING = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)")


@dataclass(frozen=True)
class Call:
    """One call. `nth`: which one of its name in its process, from 1. Texts are as strace prints them."""

    pid: int
    name: str
    nth: int
    arguments: tuple[str, ...]
    result: str

    @property
    def failed(self) -> bool:
        return self.result.startswith(("-", "?"))

    @property
    def paths(self) -> list[str]:
        """The paths it is about: of descriptors, and those given, a relative one below the directory given with it."""
        found: list[str] = []
        for part in (*self.arguments, self.result):
            if descriptors := _DESCRIPTOR.findall(part):
                found += [unescaped(each).decode(errors="replace") for each in descriptors]
            elif part.startswith('"') and self.name not in _WITH_CONTENT:
                text = unescaped(part).decode(errors="replace")
                base = found.pop() if found and not text.startswith("/") else ""
                found.append(f"{base}/{text}" if base else text)
        return found

    def changes(self) -> bool:
        """Whether it may change anything: a file that is only read is opened by many."""
        if self.name in READING:
            return False
        return not self.name.startswith("open") or any(_WRITING.search(part) for part in self.arguments)


@dataclass(frozen=True)
class Recorded:
    """What the processes of a command did, of which `pid` was the first, and what it said."""

    calls: tuple[Call, ...]
    pid: int
    said: Said


@dataclass(frozen=True)
class Point:
    """One call of a run, to be killed at or to fail."""

    name: str
    nth: int

    def __str__(self) -> str:
        return f"{self.name}:{self.nth}"


def record(device: Device, words: Sequence[str], names: Sequence[str], enough: Enough = None) -> Recorded:
    """Run a command and list its calls of these names, and those of its children and threads."""
    command = device.command(*words)
    with _Strace(device, command.pid, ["-f", "-y", "-xx", "-s", str(1 << 24), *_tracing(names)]):
        command.release()
        said = command.ended(enough)
    return Recorded(tuple(parsed(_trace(device).read_text())), command.pid, said)


def injected(device: Device, words: Sequence[str], point: Point, what: str, enough: Enough = None) -> tuple[Said, str]:
    """Run a command with one call tampered with, `signal=KILL` or `error=EIO`; and strace's line about that call,
    empty if the command did not come so far.

    A command that goes on until there is `enough` of it works through children, and any of them may be hit; whoever
    it is, nobody survives a kill.
    """
    command = device.command(*words)
    tampering = f"inject={point.name}:{what}:when={point.nth}"
    children = ["-f"] if enough is not None else []
    with _Strace(device, command.pid, [*children, "-y", *_tracing([point.name]), "-e", tampering]) as strace:
        command.release()
        end = signal.SIGKILL if "KILL" in what else signal.SIGTERM
        said = command.ended(enough and (lambda: enough() or bool(_hit(device))), by=end)
        command.sweep(strace)
    return said, _hit(device)


def _hit(device: Device) -> str:
    """The line about the call that failed, or that a kill kept from ending."""
    lines = _trace(device).read_text(errors="replace").splitlines()
    return next((line for line in lines if line.endswith(("(INJECTED)", "= ?"))), "")


def _tracing(names: Sequence[str]) -> list[str]:
    return ["-e", "trace=" + ",".join(f"?{name}" for name in names)]


def _trace(device: Device) -> Path:
    return device.beside / "trace"


class _Strace:
    """strace on a process, attached when the body begins and gone when it ends."""

    def __init__(self, device: Device, pid: int, options: Sequence[str]) -> None:
        self._argv = ["strace", "-o", str(_trace(device)), *options, "-p", str(pid)]

    def __enter__(self) -> int:
        self._process = subprocess.Popen(self._argv, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        if "attached" not in said:
            raise RuntimeError(f"strace cannot attach: {said}{self._process.communicate()[1]}")
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def parsed(text: str) -> Iterator[Call]:
    """The calls that came to an end, in that order."""
    begun: dict[str, str] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None or found["call"].startswith(("+++", "---")):
            continue
        pid, call = found["pid"], found["call"].strip()
        if call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>").rstrip()
            continue
        if call.startswith("<... "):
            call = begun.pop(pid) + call.partition(" resumed>")[2]
        if (parts := _CALL.fullmatch(call)) is not None:
            seen[pid, parts["name"]] += 1
            arguments = tuple(part.strip() for part in _PART.findall(parts["arguments"]))
            yield Call(int(pid), parts["name"], seen[pid, parts["name"]], arguments, parts["result"])


def unescaped(part: str) -> bytes:
    """What a quoted text in hexadecimal stands for."""
    return bytes.fromhex(part.strip('"').replace("\\x", ""))
