"""stdin, stdout and stderr as they are: closed, full, or with nobody at the other end; and what -v adds on stderr."""

from __future__ import annotations

import logging
import os
import sys
from contextvars import ContextVar
from typing import TextIO

from certagent.text import printable

about: ContextVar[str] = ContextVar("about", default="")
"""The keystore being worked on: lines of -v begin with its name."""

hushed: ContextVar[bool] = ContextVar("hushed", default=False)
"""-q: report only what is wrong."""


def complete() -> None:
    """Open /dev/null for each standard stream that our parent closed.

    Otherwise the next key file to be opened would get its number, and printed text would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def let_go(stream: TextIO | None) -> None:
    """Drop buffered output that nobody reads: otherwise the interpreter would try again, and exit with 120."""
    if stream is None or stream.closed:
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(line: str, stream: TextIO) -> None:
    """Print a line for whoever listens; if that fails, it is dropped, so that the work goes on."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        let_go(stream)


def tell_all() -> None:
    """-v: from now on, print everything that is exchanged and run to stderr, a line each."""
    handler = _Telling()
    logger = logging.getLogger("certagent")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


class _Telling(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        name = about.get()
        say(f"{name}: {printable(record.getMessage())}" if name else printable(record.getMessage()), sys.stderr)
