"""The agent's two clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from certagent.agent.clock import Clocks


class Machine:
    """One whose clocks a test moves."""

    def __init__(self, wall: datetime) -> None:
        self.wall, self.seconds = wall, 1000.0
        self.clocks = Clocks(lambda: self.wall, lambda: self.seconds)

    def live(self, length: timedelta) -> None:
        self.wall += length
        self.seconds += length.total_seconds()

    def sleep(self, length: timedelta) -> None:
        """The monotonic clock stands still."""
        self.wall += length


HOUR = timedelta(hours=1)
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def test_time_that_passes_is_no_drift() -> None:
    machine = Machine(NOW)
    machine.live(HOUR)
    assert machine.clocks.drift == timedelta(0)
    assert machine.clocks.now() == NOW + HOUR


def test_a_sleep_is_drift_until_it_is_taken_as_it_is() -> None:
    machine = Machine(NOW)
    machine.sleep(HOUR)
    assert machine.clocks.drift == HOUR
    machine.clocks.settle()
    assert machine.clocks.drift == timedelta(0)


def test_a_clock_of_1970_is_not_set() -> None:
    assert not Machine(datetime(1970, 1, 1, 1, tzinfo=UTC)).clocks.is_set
    assert Machine(NOW).clocks.is_set
