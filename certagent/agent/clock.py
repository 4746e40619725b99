"""The machine's two clocks, and whether the wall clock can be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from certagent import policy

Clock = Callable[[], datetime]


class Clocks:
    """`now` is the time of the wall clock. The monotonic clock shows when somebody set it, or the device slept."""

    def __init__(
        self, wall: Clock = lambda: datetime.now(UTC), monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.now = wall
        self._monotonic = monotonic
        self.settle()

    @property
    def is_set(self) -> bool:
        return policy.clock_is_sane(self.now())

    @property
    def drift(self) -> timedelta:
        """How far the two have drifted apart since `settle`."""
        return self._apart() - self._settled

    def settle(self) -> None:
        """From now on, take the wall clock as it is."""
        self._settled = self._apart()

    def _apart(self) -> timedelta:
        return self.now() - datetime.fromtimestamp(self._monotonic(), UTC)
