"""stdin, stdout and stderr as they are: closed, full, the journal, or with nobody at the other end; what -v adds."""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar
from typing import TextIO

from certagent import journald
from certagent.text import printable

_about: ContextVar[str] = ContextVar("about", default="")
_keystore: ContextVar[str] = ContextVar("keystore", default="")

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


def say(line: str, stream: TextIO, keystore: str = "", priority: int = journald.INFO) -> None:
    """Print a line for whoever listens; if that fails, it is dropped, so that the work goes on.

    If the stream goes to the journal, the line gets its priority there, and its keystore as a field.
    """
    if goes_to_journal(stream) and journald.send(line, priority, keystore):
        return
    try:
        print(line, file=stream, flush=True)
    except OSError:
        let_go(stream)


def goes_to_journal(stream: TextIO) -> bool:
    try:
        return journald.is_journal(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file
        return False


def work_on(*, keystore: str = "", authority: str = "") -> None:
    """From now on, lines of -v begin with this name; a keystore is their field in the journal, too."""
    _about.set(keystore or authority)
    _keystore.set(keystore)


def tell_all() -> None:
    """-v: from now on, print everything that is exchanged and run to stderr, a line each."""
    import logging  # noqa: PLC0415 -- only -v pays for it

    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            name, line = _about.get(), printable(record.getMessage())
            say(f"{name}: {line}" if name else line, sys.stderr, _keystore.get(), journald.DEBUG)

    logger = logging.getLogger("certagent")
    logger.addHandler(Telling())
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
