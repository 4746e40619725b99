"""The authorities' CRLs: which are due the agent sees from memory and files; a process of its own fetches them."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from certagent import state
from certagent.agent import schedule
from certagent.agent.clock import Clocks
from certagent.agent.schedule import Pace
from certagent.agent.worker_process import Worker
from certagent.config.served import ServedCrls
from certagent.errors import CertagentError
from certagent.revocation import memory
from certagent.revocation.memory import Memory
from certagent.state_directory import StateDirectory

log = logging.getLogger(__name__)


class Crls:
    """`look` costs a few files for each authority that has CRLs, however many keystores it has. `found_revoked` is told
    of keystores whose certificate is on a list, once each time that it comes on one.
    """

    def __init__(self, config_path: Path, state_dir: Path, pace: Pace, clocks: Clocks) -> None:
        self._command = (sys.executable, "-m", "certagent", "-c", str(config_path), "crl", "--due")
        self._authorities = StateDirectory(state_dir).authorities
        self._pace = pace
        self._clocks = clocks
        self._served: Sequence[ServedCrls] = ()
        self._due: dict[str, None] = {}
        self._strikes: dict[str, int] = {}
        self._not_before: dict[str, datetime] = {}
        self._revoked: dict[str, frozenset[tuple[str, str]]] = {}
        self._wanted = asyncio.Event()
        self._worker: Worker | None = None
        self._stopped = False

    def adopt(self, served: Sequence[ServedCrls]) -> None:
        """Those of this configuration from now on; what was fruitless before is forgotten."""
        self._served = served
        self._due.clear()
        self._strikes.clear()
        self._not_before.clear()

    def look(self) -> None:
        """Have those fetched that are due, whose files somebody changed, or whose definition is another."""
        now = self._clocks.now()
        for each in self._served:
            if self._not_before.get(each.name, now) <= now and self._is_due(each, now):
                self._due[each.name] = None
        if self._due:
            self._wanted.set()

    def _is_due(self, served: ServedCrls, now: datetime) -> bool:
        known = self._memory(served.name)
        if known is None or known.definition != served.digest:
            return True
        return memory.next_look(known, now) <= now or memory.somebody_changed(known, state.watch(served.paths))

    def _memory(self, name: str) -> Memory | None:
        try:
            return memory.load(self._authorities / name)
        except CertagentError:
            return None  # the worker says so

    async def serve(
        self, time_limit: timedelta, found_revoked: Callable[[str], None], done: Callable[[], None]
    ) -> None:
        """Until `stop`. `time_limit`: of one worker. `done` is called after each."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._stopped:
                return
            names, self._due = tuple(self._due), {}
            if not names:
                continue
            self._worker = Worker(())
            await self._worker.run(
                (*self._command, *names), limit=time_limit, grace=self._pace.grace, on_report=lambda _: None
            )
            self._settle(names, found_revoked)
            done()

    def _settle(self, names: Sequence[str], found_revoked: Callable[[str], None]) -> None:
        """Those that are due still, whatever kept the worker from them, are left alone for a while."""
        now = self._clocks.now()
        for each in self._served:
            if each.name not in names:
                continue
            if self._is_due(each, now):
                strikes = self._strikes[each.name] = self._strikes.get(each.name, 0) + 1
                self._not_before[each.name] = now + schedule.backoff(strikes, self._pace.crash_again)
            else:
                self._strikes.pop(each.name, None)
                self._not_before.pop(each.name, None)
            known = self._memory(each.name)
            revoked = frozenset((one.keystore, one.serial) for one in known.revoked) if known else frozenset()
            for keystore, _ in sorted(revoked - self._revoked.get(each.name, frozenset())):
                found_revoked(keystore)
            self._revoked[each.name] = revoked

    def forget(self) -> None:
        """What was fruitless may not be any more: a keystore's first certificate says where its CRL lies."""
        self._strikes.clear()
        self._not_before.clear()

    def stop(self) -> None:
        """Whatever a worker is at, the next one does again."""
        self._stopped = True
        self._wanted.set()
        if self._worker is not None:
            self._worker.stop()
