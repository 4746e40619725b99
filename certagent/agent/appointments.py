"""When each keystore is looked at next, and when all of them are: two jobs of APScheduler, however many keystores."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler


class Appointments:
    """One for each keystore at most. `due` is called with its name, `sweep` with nothing."""

    def __init__(self, due: Callable[[str], None], sweep: Callable[[], None]) -> None:
        self._due = due
        self._sweep = sweep
        self._next: dict[str, datetime] = {}
        self._order: list[tuple[datetime, str]] = []  # a heap; what was made anew or cancelled stays for a while
        self._planned: datetime | None = None
        # No job is ever too late to be done, and a sweep missed while the device slept is done once. The job that keeps
        # appointments plans itself anew before it has ended.
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 10}
        )

    @property
    def first(self) -> tuple[str, datetime] | None:
        """The keystore whose appointment comes first, and when."""
        while self._order and self._next.get(self._order[0][1]) != self._order[0][0]:
            heapq.heappop(self._order)
        return (self._order[0][1], self._order[0][0]) if self._order else None

    @property
    def are_kept(self) -> bool:
        """Whether the scheduler works: none of its jobs is long overdue."""
        # It goes by the system's clock, whatever ours is.
        late = datetime.now(UTC) - timedelta(seconds=30)
        return self._scheduler.running and not any(job.next_run_time < late for job in self._scheduler.get_jobs())

    def start(self) -> None:
        """Begin to keep them; in the running event loop."""
        self._scheduler.start()

    def stop(self) -> None:
        self._scheduler.shutdown(wait=False)

    def of(self, name: str) -> datetime | None:
        """When this keystore's is."""
        return self._next.get(name)

    def make(self, name: str, when: datetime) -> None:
        """In place of the one the keystore had."""
        self._next[name] = when
        heapq.heappush(self._order, (when, name))
        if len(self._order) > 2 * len(self._next) + 100:
            self._order = [(moment, each) for each, moment in self._next.items()]
            heapq.heapify(self._order)
        self._plan()

    def cancel(self, name: str) -> None:
        self._next.pop(name, None)

    def sweep_every(self, length: timedelta) -> None:
        self._scheduler.add_job(
            self._look_at_all, "interval", seconds=length.total_seconds(), id="sweep", replace_existing=True
        )

    def cancel_all(self) -> None:
        """The sweep too."""
        self._scheduler.remove_all_jobs()
        self._next.clear()
        self._order.clear()
        self._planned = None

    def _plan(self) -> None:
        """Have the first one kept in time."""
        first = self.first
        if first is None or (self._planned is not None and self._planned <= first[1]):
            return  # a job that comes too early does no harm
        self._planned = first[1]
        self._scheduler.add_job(self._keep, "date", run_date=self._planned, id="next", replace_existing=True)

    # Coroutines, because APScheduler would call plain functions in threads.

    async def _keep(self) -> None:
        self._planned = None
        now, due = datetime.now(UTC), []
        while (first := self.first) is not None and first[1] <= now:
            due.append(first[0])
            self.cancel(first[0])
        for name in due:
            self._due(name)
        self._plan()

    async def _look_at_all(self) -> None:
        self._sweep()
