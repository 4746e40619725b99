"""The two clocks of a machine, and whether the one that people set can be believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from certagent import policy

Clock = Callable[[], datetime]


class Clocks:
    """`now` is the wall clock's time. The monotonic clock tells when that was set, or the device slept."""

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
        """How far the two came apart since `settle`."""
        return self._apart() - self._settled

    def settle(self) -> None:
        """Take the wall clock as it is from now on."""
        self._settled = self._apart()

    def _apart(self) -> timedelta:
        return self.now() - datetime.fromtimestamp(self._monotonic(), UTC)
