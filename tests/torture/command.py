"""certagent's command line, run in a fork of this process, which has loaded it already: most of its time is saved."""

from __future__ import annotations

import ctypes
import importlib
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import certagent
from certagent.cli import main
from tests.waiting import PATIENCE

for _module in pkgutil.walk_packages(certagent.__path__, "certagent."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)

_SET_PTRACER, _ANYBODY, _SET_CHILD_SUBREAPER = 0x59616D61, -1, 36
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Said:
    """How a command ended: its exit code (negative: the signal), and what it said on both streams."""

    code: int
    text: str


class Command:
    """A process that waits for `release` before it begins."""

    def __init__(self, argv: Sequence[str], output: Path) -> None:
        self._output = output
        self._others = children()
        _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # whoever it leaves behind is ours to find
        reading, self._gate = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            _run(argv, reading, output)
        os.close(reading)

    def release(self) -> None:
        os.write(self._gate, b"!")
        os.close(self._gate)

    def ended(self, enough: Callable[[], bool] | None = None, by: signal.Signals = signal.SIGTERM) -> Said:
        """Wait for its end; once there is `enough` of it, it is ended by that signal."""
        deadline = time.monotonic() + PATIENCE
        while enough is not None and not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            if enough() or time.monotonic() > deadline:
                os.kill(self.pid, by)
                break
            time.sleep(0.005)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return Said(code, self._output.read_text(errors="replace"))

    def sweep(self, spared: int) -> None:
        """Kill what it has started and left behind."""
        while left := children() - self._others - {spared}:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def children() -> set[int]:
    """Of this process, which has one thread."""
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def _run(argv: Sequence[str], gate: int, output: Path) -> None:
    """As if exec'd: with streams of its own. Never returns."""
    code = 99
    try:
        _libc.prctl(_SET_PTRACER, _ANYBODY, 0, 0, 0)  # strace is no ancestor of ours
        said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for descriptor, stream in ((os.open(os.devnull, os.O_RDONLY), 0), (said, 1), (said, 2)):
            os.dup2(descriptor, stream)
        with suppress(OSError):  # the call to fail may be this one
            os.read(gate, 1)
        code = main(argv)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # noqa: BLE001 -- it must not go on as a second torturer
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
