"""When each keystore is looked at next, and when all of them are: jobs of APScheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler


class Appointments:
    """One for each keystore at most. `due` is called with its name, `sweep` with nothing."""

    def __init__(self, due: Callable[[str], None], sweep: Callable[[], None]) -> None:
        self._due = due
        self._sweep = sweep
        self._next: dict[str, datetime] = {}
        # No job is ever too late to be done, and a sweep missed while the device slept is done once.
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )

    @property
    def upcoming(self) -> Mapping[str, datetime]:
        """Each keystore's, by name."""
        return self._next

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

    def make(self, name: str, when: datetime) -> None:
        """In place of the one the keystore had."""
        self._next[name] = when
        self._scheduler.add_job(
            self._keep, "date", run_date=when, args=[name], id=f"keystore {name}", replace_existing=True
        )

    def cancel(self, name: str) -> None:
        if self._next.pop(name, None):
            self._scheduler.remove_job(f"keystore {name}")

    def sweep_every(self, length: timedelta) -> None:
        self._scheduler.add_job(
            self._look_at_all, "interval", seconds=length.total_seconds(), id="sweep", replace_existing=True
        )

    def cancel_all(self) -> None:
        """The sweep too."""
        self._scheduler.remove_all_jobs()
        self._next.clear()

    # Coroutines, because APScheduler would call plain functions in threads.

    async def _keep(self, name: str) -> None:
        self._next.pop(name, None)
        self._due(name)

    async def _look_at_all(self) -> None:
        self._sweep()
