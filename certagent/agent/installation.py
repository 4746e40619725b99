"""The files that this agent was started from. An upgrade replaces them while the agent runs, and workers use them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import certagent
from certagent import state

PARTS = (Path(sys.executable), Path(certagent.__file__))


class Installation:
    """The interpreter and the package, as they were when this object was made."""

    def __init__(self, parts: Sequence[Path] = PARTS) -> None:
        self._parts = tuple(parts)
        self._before = state.watch(self._parts)

    @property
    def missing(self) -> Path | None:
        """A path that is missing now; without it, workers cannot start. None if there is none."""
        return next((each for each in self._parts if not each.exists()), None)

    @property
    def is_replaced(self) -> bool:
        """Whether the files are no longer the ones that this agent was started from."""
        return state.watch(self._parts) != self._before
