"""What something costs in work, whatever else the machine does: the CPU of this thread, in units of a fixed piece."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache


def cpu(action: Callable[..., object], *arguments: object) -> float:
    """Seconds of CPU of a call. Other threads, other processes and waiting do not count."""
    before = time.thread_time()
    action(*arguments)
    return time.thread_time() - before


@cache
def unit() -> float:
    """A million turns of an empty loop, about a fiftieth of a second: the least of three looks."""

    def turn() -> None:
        for _ in range(1_000_000):
            pass

    return min(cpu(turn) for _ in range(3))


def cost(action: Callable[..., object], *arguments: object) -> float:
    """Of a call, in units. What is bounded costs a few; where no bound holds, hundreds or millions."""
    return cpu(action, *arguments) / unit()
