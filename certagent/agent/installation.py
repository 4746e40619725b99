"""The files that this agent was started from: an upgrade replaces them while it runs, and workers start from them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import certagent
from certagent import state

PARTS = (Path(sys.executable), Path(certagent.__file__))


class Installation:
    """The interpreter and the package, as they were when this was made."""

    def __init__(self, parts: Sequence[Path] = PARTS) -> None:
        self._parts = tuple(parts)
        self._before = state.watch(self._parts)

    @property
    def missing(self) -> Path | None:
        """What workers cannot start without and is not there now."""
        return next((each for each in self._parts if not each.exists()), None)

    @property
    def is_replaced(self) -> bool:
        """Whether something else is there now than what runs."""
        return state.watch(self._parts) != self._before
