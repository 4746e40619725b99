"""The workers: which keystores wait for one, and which are being worked on. Others decide what follows."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from certagent.agent import schedule
from certagent.agent.schedule import Pace
from certagent.agent.worker_process import Worker
from certagent.transaction.report import Outcome


class Owner(Protocol):
    """Decides what to do next."""

    def take(self, worker: Worker, outcome: Outcome) -> None:
        """A worker reported on a keystore."""

    def judge(self, worker: Worker, missing: list[str]) -> None:
        """A worker ended without a report on these."""

    def tell(self) -> None:
        """A worker started or ended."""

    def rest(self) -> None:
        """The last worker ended, and no keystore waits for one."""

    def definitions(self, names: Sequence[str]) -> bytes:
        """What a worker for these keystores gets on its standard input."""


class Pool:
    """A bounded number of workers at a time, each with an even share of the keystores that wait.

    The context ends when no worker is left. A bug of ours in there ends the agent, visibly, and systemd starts it
    again.
    """

    def __init__(self, command: Sequence[str], pace: Pace, owner: Owner) -> None:
        self._command = tuple(command)
        self._pace = pace
        self._owner = owner
        self._size, self._time_limit = 1, timedelta.max
        self._shared: Mapping[str, Collection[object]] = {}
        self._queue: dict[str, None] = {}  # in order of arrival
        self._workers: list[Worker] = []
        self._nudged = False
        self._tasks = asyncio.TaskGroup()
        self.closed = False

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)

    @property
    def workers(self) -> int:
        return len(self._workers)

    @property
    def due(self) -> int:
        """How many keystores wait for a worker, or are with one."""
        return len(self._queue) + len(self.at_work)

    @property
    def at_work(self) -> set[str]:
        """Keystores that are with a worker."""
        return {name for worker in self._workers for name in worker.names if name not in worker.reported}

    def has(self, name: str) -> bool:
        """Whether this one waits for a worker, or is with one."""
        return name in self._queue or name in self.at_work

    def resize(self, size: int, time_limit: timedelta, shared: Mapping[str, Collection[object]]) -> None:
        """Run at most `size` workers at a time; each may go `time_limit` without a report. `shared`: what keystores
        have in common, so that it is best to work on them together.
        """
        self._size, self._time_limit, self._shared = size, time_limit, shared

    def add(self, name: str) -> None:
        """Queue a keystore, together with others that come at the same time."""
        self._queue[name] = None
        if not self._nudged:
            self._nudged = True
            asyncio.get_running_loop().call_later(self._pace.coalesce.total_seconds(), self._dispatch)

    def drop(self, name: str) -> None:
        """Take a waiting keystore off the queue."""
        self._queue.pop(name, None)

    def drop_all(self) -> None:
        self._queue.clear()

    def close(self) -> None:
        """Start no more workers."""
        self.closed = True

    async def end(self) -> None:
        """Ask the workers to stop at their next durable point, and end those that do not get there."""
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            worker.stop()
        until = loop.time() + self._pace.grace.total_seconds()
        while self._workers and loop.time() < until:
            await asyncio.sleep(0.05)
        for worker in self._workers:
            worker.kill()

    def _dispatch(self) -> None:
        self._nudged = False
        while self._queue and len(self._workers) < self._size and not self.closed:
            names = schedule.batch(list(self._queue), self._size - len(self._workers), self._shared)
            worker = Worker(tuple(names))
            for name in names:
                del self._queue[name]
            self._workers.append(worker)
            self._tasks.create_task(self._work(worker))
        self._owner.tell()

    async def _work(self, worker: Worker) -> None:
        await worker.run(
            self._command,
            limit=self._time_limit,
            grace=self._pace.grace,
            on_report=lambda outcome: self._take(worker, outcome),
            definitions=self._owner.definitions(worker.names),
        )
        self._workers.remove(worker)
        if not self.closed:
            self._owner.judge(worker, [name for name in worker.names if name not in worker.reported])
            self._dispatch()
            if not self.due:
                self._owner.rest()

    def _take(self, worker: Worker, outcome: Outcome) -> None:
        if not self.closed:
            self._owner.take(worker, outcome)
