"""Ctrl-C ends a command at once, wherever it waits; but not between the first and the last file of a swap."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held() -> Iterator[None]:
    """Hold SIGINT back until the block ends; then it acts as it would have before.

    Nobody who presses Ctrl-C wants half a pair. Nothing is held in a thread other than the first, where no signal
    arrives, or when something outside Python handles SIGINT.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
