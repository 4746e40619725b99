"""When to look at each keystore next, and at all of them: two APScheduler jobs, however many keystores there are."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler


class Appointments:
    """At most one appointment per keystore. Calls `due` with the keystore's name, and `sweep` without arguments."""

    def __init__(self, due: Callable[[str], None], sweep: Callable[[], None]) -> None:
        self._due = due
        self._sweep = sweep
        self._next: dict[str, datetime] = {}
        self._order: list[tuple[datetime, str]] = []  # a heap; replaced and cancelled ones stay for a while
        self._planned: datetime | None = None
        # A job always runs, however late; a sweep missed while the device slept runs once. The job that keeps the
        # appointments plans its next run before it ends.
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
        # APScheduler uses the system's clock, whatever our clock is.
        late = datetime.now(UTC) - timedelta(seconds=30)
        return self._scheduler.running and not any(job.next_run_time < late for job in self._scheduler.get_jobs())

    def start(self) -> None:
        """Begin to keep appointments, in the running event loop."""
        self._scheduler.start()

    def stop(self) -> None:
        self._scheduler.shutdown(wait=False)

    def of(self, name: str) -> datetime | None:
        """When this keystore's appointment is."""
        return self._next.get(name)

    def make(self, name: str, when: datetime) -> None:
        """Make an appointment; it replaces the one the keystore had."""
        self._next[name] = when
        heapq.heappush(self._order, (when, name))
        if len(self._order) > 2 * len(self._next) + 100:
            self._order = [(moment, each) for each, moment in self._next.items()]
            heapq.heapify(self._order)
        self._plan()

    def cancel(self, name: str) -> None:
        self._next.pop(name, None)

    def sweep_every(self, length: timedelta, first: timedelta) -> None:
        """`first`: from now to the first one."""
        self._scheduler.add_job(
            self._look_at_all,
            "interval",
            seconds=length.total_seconds(),
            next_run_time=datetime.now(UTC) + first,
            id="sweep",
            replace_existing=True,
        )

    def cancel_all(self) -> None:
        """Cancel all appointments, and the sweep."""
        self._scheduler.remove_all_jobs()
        self._next.clear()
        self._order.clear()
        self._planned = None

    def _plan(self) -> None:
        """Plan the job for the first appointment."""
        first = self.first
        if first is None or (self._planned is not None and self._planned <= first[1]):
            return  # a job that runs too early does no harm
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
