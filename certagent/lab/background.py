"""The lab without a terminal: `--background` starts it, `stop` ends it. Its lock says whether it runs, and its PID."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from certagent import durable
from certagent.errors import BusyError, ConfigError

Ready = Callable[[str], None]
"""Called once the lab listens, with what the user wants to know about it."""


def lock_of(directory: Path) -> Path:
    return directory / "lock"


def log_of(directory: Path) -> Path:
    return directory / "log"


def start(directory: Path, serve: Callable[[Ready], int]) -> int:
    """Run `serve` in its own process, which this one leaves behind once it listens; returns the exit code if it fails.

    Until it listens, it uses our streams, so the user sees what goes wrong.
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
    """End the lab that runs in this directory, in the background or not, and wait for its end. Raises ConfigError."""
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
    """Wait for SIGINT or SIGTERM. Call `hold_signals` first, before any thread starts."""
    signal.sigwait(_ENDS)


def hold_signals() -> None:
    """Block SIGINT and SIGTERM until `wait_for_the_end`, in this thread and those it will start."""
    for number in _ENDS:
        signal.signal(number, lambda *_: None)  # a shell's background job ignores them, and loses them
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)


_ENDS = (signal.SIGINT, signal.SIGTERM)
