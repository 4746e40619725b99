"""Waiting for what must come. Only a failure takes as long as PATIENCE, so it is long enough for any busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0  # seconds


def until(condition: Callable[[], object], seconds: float = PATIENCE, *, told: Callable[[], str] = str) -> None:
    """Look again and again until `condition` holds; `told()` is what a failure says besides."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nothing of it within {seconds:g} s\n{told()}"
        time.sleep(0.02)
