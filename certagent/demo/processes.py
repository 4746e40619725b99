"""The demo's processes: their output goes to files, and they end with the demo, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import certagent
from certagent.agent import systemd
from certagent.errors import CertagentError
from certagent.text import printable

_START = 20.0  # seconds a process may take to report that it runs
_STOP = 10.0  # seconds it may take to end


class DemoError(CertagentError):
    """Something that the demo waits for did not happen."""


class EndedError(Exception):
    """A signal asks the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Processes:
    """Processes by name, inside `with`; on exit, the newest ends first.

    Inside, SIGINT, SIGTERM and SIGHUP do nothing by themselves: `wait` raises EndedError after one. So no signal can
    come between the start of a process and the moment we record it.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._signal = 0

    def __enter__(self) -> Self:
        self._before = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in reversed(self._started.values()):
            _end(process)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signal = number  # takes no lock: the code that the signal interrupts may hold it

    def log_of(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def start(self, name: str, *arguments: str) -> None:
        """Start `python -m ARGUMENTS…` with its output in `logs/NAME.log`."""
        with self.log_of(name).open("wb") as log:
            self._started[name] = subprocess.Popen(
                (sys.executable, "-m", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                process_group=0,  # ^C in a terminal reaches only the demo, which ends them in good order
            )

    def wait(self, seconds: float) -> None:
        """Let time pass. Raises EndedError if a signal came, DemoError if a process has ended."""
        time.sleep(0 if self._signal else seconds)
        if self._signal:
            raise EndedError(self._signal)
        for name, process in self._started.items():
            code = process.poll()
            if code is not None:
                last = self.log_of(name).read_text("utf-8", "replace").rstrip().rpartition("\n")[2]
                raise DemoError(f"the {name} ended with {code}: {printable(last)}", f"see {self.log_of(name)}")

    def await_line(self, name: str, pattern: str) -> re.Match[str]:
        """Wait until the log of a process has text that matches. Raises DemoError, EndedError."""
        deadline = time.monotonic() + _START
        while not (found := re.search(pattern, self.log_of(name).read_text("utf-8", "replace"), re.DOTALL)):
            if time.monotonic() > deadline:
                raise DemoError(f"the {name} did not start within {_START:g} s", f"see {self.log_of(name)}")
            self.wait(0.05)
        return found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()  # the agent lets its workers reach their next durable point
    try:
        process.wait(_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """Our environment, so that the processes run the same code as we do, and nothing from the current directory."""
    environment = {name: value for name, value in os.environ.items() if name not in systemd.VARIABLES}
    environment.pop("JOURNAL_STREAM", None)  # they log to files, with times
    environment["PYTHONSAFEPATH"] = "1"
    environment["PYTHONPATH"] = str(Path(certagent.__file__).parents[1])
    return environment
