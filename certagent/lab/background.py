"""The lab without a terminal: started by `--background`, ended by `stop`. Its lock says whether it runs, as whom."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from certagent import durable
from certagent.errors import BusyError, ConfigError

Ready = Callable[[str], None]
"""Told once it listens, with what a person wants to know of it."""


def lock_of(directory: Path) -> Path:
    return directory / "lock"


def log_of(directory: Path) -> Path:
    return directory / "log"


def start(directory: Path, serve: Callable[[Ready], int]) -> int:
    """`serve` in a process of its own, which this one leaves behind once it listens; the exit code if it does not.

    What keeps it from listening is told where we tell things: until then its streams are ours.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        with os.fdopen(reading, "r", encoding="utf-8") as pipe:
            told = pipe.read()
        if not told:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(told)
        print(f"It runs in the background: process {child}, log {log_of(directory)}.")
        print(f"To end it: certagent lab stop --dir {directory}")
        return 0
    os.close(reading)
    os.setsid()

    def ready(text: str) -> None:
        log = os.open(log_of(directory), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        sys.stdout.flush()
        for ours, theirs in ((null, 0), (log, 1), (log, 2)):
            os.dup2(ours, theirs)
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            pipe.write(text)

    return serve(ready)


def stop(directory: Path) -> int:
    """End the lab that runs there, in the background or not, and wait until it is gone. Raises ConfigError."""
    try:
        with durable.lock(lock_of(directory), ""):
            pass
    except BusyError:
        pid = int(lock_of(directory).read_text())
        os.kill(pid, signal.SIGTERM)
        with durable.lock(lock_of(directory), "", wait=True):
            print(f"stopped: process {pid}")
        return 0
    raise ConfigError(f"no lab runs in {directory}", "name its directory with --dir")


def wait_for_the_end() -> None:
    """Until SIGINT or SIGTERM. `hold_signals` came before, and before any thread."""
    signal.sigwait(_ENDS)


def hold_signals() -> None:
    """Have SIGINT and SIGTERM wait for `wait_for_the_end`, in this thread and those it will start."""
    for number in _ENDS:
        signal.signal(number, lambda *_: None)  # not ignored, as in a shell's background: those would be lost
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)


_ENDS = (signal.SIGINT, signal.SIGTERM)
