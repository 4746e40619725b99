"""The authorities' CRLs: the agent sees from memory and files which are due; a separate process fetches them."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from certagent import policy, state
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
    """`look` reads a few files per authority with CRLs, however many keystores it has. `found_revoked` is called for
    keystores whose certificate is on a CRL, once each time it gets on one.
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
        self._turns: dict[str, datetime] | None = None  # when those are fetched that were due at the start
        self._revoked: dict[str, frozenset[tuple[str, str]]] = {}
        self._wanted = asyncio.Event()
        self._worker: Worker | None = None
        self._stopped = False

    def adopt(self, served: Sequence[ServedCrls]) -> None:
        """Use the CRLs of this configuration from now on, and forget earlier failures."""
        self._served = served
        self._due.clear()
        self._strikes.clear()
        self._not_before.clear()
        if self._turns is not None:
            self._turns.clear()

    def look(self) -> None:
        """Start fetching those that are due, whose files somebody changed, or whose definition changed."""
        now = self._clocks.now()
        if self._turns is None:
            self._turns = {each.name: now + self._start_pause(each, now) for each in self._served}
        for each in self._served:
            later = max(self._not_before.get(each.name, now), self._turns.get(each.name, now))
            if later <= now and self._is_due(each, now):
                self._due[each.name] = None
        if self._due:
            self._wanted.set()

    def _is_due(self, served: ServedCrls, now: datetime) -> bool:
        known = self._memory(served.name)
        return known is None or memory.next_look(known, now) <= now or self._is_changed(served, known)

    def _is_changed(self, served: ServedCrls, known: Memory) -> bool:
        """Whether somebody changed its definition or its files."""
        return known.definition != served.digest or memory.somebody_changed(known, state.watch(served.paths))

    def _start_pause(self, served: ServedCrls, now: datetime) -> timedelta:
        """All devices of a site start together after a power cut, and their CRLs were due while they were off."""
        known = self._memory(served.name)
        if known is None or memory.next_look(known, now) > now or self._is_changed(served, known):
            return timedelta(0)
        share = policy.another_share(known.share, "start")
        return schedule.crl_start_pause(known.ends, known.failures, share, now)

    def _memory(self, name: str) -> Memory | None:
        try:
            return memory.load(self._authorities / name)
        except CertagentError:
            return None  # the worker reports it

    async def serve(
        self, time_limit: timedelta, found_revoked: Callable[[str], None], done: Callable[[], None]
    ) -> None:
        """Run until `stop`. `time_limit`: of one worker. `done` is called after each."""
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
        """Leave authorities that are still due alone for a while, whatever stopped the worker."""
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
        """Forget failures, because the reason may be gone: a keystore's first certificate says where its CRL is."""
        self._strikes.clear()
        self._not_before.clear()

    def stop(self) -> None:
        """Stop; the next worker repeats whatever this one was doing."""
        self._stopped = True
        self._wanted.set()
        if self._worker is not None:
            self._worker.stop()
