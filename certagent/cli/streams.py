"""stdin, stdout and stderr as they come: closed, full, or with nobody at the other end."""

from __future__ import annotations

import os
import sys
from typing import TextIO


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
