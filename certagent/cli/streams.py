"""stdin, stdout and stderr as they come: closed, full, or with nobody at the other end; and what -v adds on stderr."""

from __future__ import annotations

import logging
import os
import sys
from contextvars import ContextVar
from typing import TextIO

from certagent.text import printable

about: ContextVar[str] = ContextVar("about", default="")
"""The keystore that is at work: what -v tells begins with its name."""

hushed: ContextVar[bool] = ContextVar("hushed", default=False)
"""-q: only what is wrong is told."""


def complete() -> None:
    """Give a stream that our starter closed a place that takes everything.

    Else a key file opened next would get its number, and whatever is printed would be written into that.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def let_go(stream: TextIO | None) -> None:
    """Drop what a stream still holds and nobody takes: the interpreter would try again, and end with 120 for it."""
    if stream is None or stream.closed:
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(line: str, stream: TextIO) -> None:
    """A line for whoever listens: what cannot be told is dropped, and keeps nothing from being done."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        let_go(stream)


def tell_all() -> None:
    """-v: what is exchanged and run, a line each on stderr, from here on."""
    handler = _Telling()
    logger = logging.getLogger("certagent")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


class _Telling(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        name = about.get()
        say(f"{name}: {printable(record.getMessage())}" if name else printable(record.getMessage()), sys.stderr)
