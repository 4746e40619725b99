"""The keystores as the agent sees them: when to look at each, and what to do after its worker's report.

Only a worker finds out the true state of a keystore; this module makes appointments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from certagent import policy, state, wall_clock
from certagent.agent import schedule
from certagent.agent.appointments import Appointments
from certagent.agent.clock import Clocks
from certagent.agent.log import about, log_error
from certagent.agent.pool import Pool
from certagent.agent.schedule import Next, Pace
from certagent.agent.sights import Sights
from certagent.agent.systemd import Status
from certagent.agent.worker_process import BAD_CONFIGURATION, Worker
from certagent.config.served import Served, ServedKeystore
from certagent.errors import CertagentError, StateError
from certagent.host import identifier
from certagent.state_directory import StateDirectory
from certagent.text import span
from certagent.transaction.journal import open_transactions
from certagent.transaction.report import Outcome, Result

log = logging.getLogger(__name__)

# Results that get a line in the log, and its level. The worker already logged why an attempt failed.
TOLD = {
    **dict.fromkeys(
        (Result.ENROLLED, Result.RENEWED, Result.ROLLED_OVER, Result.TRUSTED, Result.ADJUSTED), logging.INFO
    ),
    **dict.fromkeys((Result.PENDING, Result.PUT_BACK), logging.WARNING),
    Result.FAILED: logging.ERROR,
}


class KeystoreMemory(msgspec.Struct, gc=False):
    """What the agent itself remembers of one keystore until the agent ends. Small: there may be ten thousand.

    `files` are watched: their paths, with NUL between, because a tuple of them takes a tenth more memory. `left` and
    `acted_on` are hashes of their signatures: as the last worker left them, and as they were when a worker was sent
    because of them.
    """

    served: ServedKeystore
    strikes: int = 0  # fruitless looks in a row
    not_before: datetime | None = None
    files: str = ""
    left: int = hash(())
    acted_on: int | None = None

    def watch(self, known: state.State) -> None:
        """From now on, compare the files with how this worker left them."""
        self.files, self.left = "\0".join(known.watched), _hash(known.watched)


def _hash(signatures: dict[str, str]) -> int:
    return hash(tuple(signatures.values()))


class Keystores:
    """The agent looks at a keystore when its next action is due, when somebody changed its files, and with all others
    in the sweep; but at none while `paused`.
    """

    def __init__(
        self,
        state_dir: Path,
        command: Sequence[str],
        pace: Pace,
        clocks: Clocks,
        status: Status,
        *,
        at_rest: Callable[[], None],
    ) -> None:
        self._state_dir = state_dir
        self._pace = pace
        self._clocks = clocks
        self._status = status
        self._at_rest = at_rest
        self._memories: dict[str, KeystoreMemory] = {}
        self.appointments = Appointments(self._due, self.look_at_all)
        self.pool = Pool(command, pace, self)
        self._sights = Sights(state_dir)
        self.paused = False
        self._strays = False
        self._begun = False

    def adopt(self, served: Served) -> None:
        """Use the keystores of this configuration from now on."""
        self._served = served
        self.pool.resize(served.max_workers, served.worker_timeout, served.shared)
        for name in self._memories.keys() - served.keystores.keys():
            log.info("%s: no longer configured", name, extra=about(name))
            del self._memories[name]
            self.pool.drop(name)
            self.appointments.cancel(name)
        for name, each in served.keystores.items():
            if name in self._memories:
                self._memories[name].served = each
            else:
                self._memories[name] = KeystoreMemory(each)

    def pause(self) -> None:
        """Drop all plans, and make none until `start_over`."""
        self.paused = True
        self.appointments.cancel_all()
        self.pool.drop_all()
        self.tell()

    def start_over(self, check_every: timedelta) -> None:
        """Look at all of them now, and then again at this interval; forget earlier failures."""
        self.paused = False
        for memory in self._memories.values():
            memory.strikes, memory.not_before = 0, None
        share = policy.jitter_share("sweep", identifier())
        self.appointments.sweep_every(check_every, schedule.first_sweep(check_every, share))
        self.look_at_all(spread=not self._begun)
        self._begun = True
        if not self.pool.due:
            self.rest()

    def look_at_all(self, *, spread: bool = False) -> None:
        """Start workers for all keystores, except those that clearly need none before their next action.

        `spread`: this is the agent's start, and what is not urgent waits for its turn.
        """
        with suppress(StateError):  # each keystore's worker will report it
            self._strays = bool(open_transactions(self._state_dir, apart_from=self._memories))
        now, host = self._clocks.now(), identifier()
        doubt = wall_clock.look(self._state_dir, now, believed=False)
        self._sights.begin(self._served.authorities)
        for number, (name, memory) in enumerate(self._memories.items()):
            busy = doubt or (self._strays and not number)  # any worker finishes the strays' transactions
            look = None if busy else self._sights.of(name, memory.served)
            if look is not None and schedule.is_quiet(look, now):
                self._leave_alone(name, memory, look.known)
                continue
            if spread and look is not None and not memory.served.punctual:
                share = policy.another_share(policy.jitter_share(name, host), "start")
                pause = schedule.start_pause(look, share, now)
                memory.not_before = now + pause if pause else None
            self._want(name)
        self.tell()

    def notice_changes(self) -> None:
        """Look at keystores whose files changed since the last worker."""
        at_work = self.pool.at_work
        for name, memory in self._memories.items():
            seen = _hash(state.watch(memory.files.split("\0") if memory.files else ()))
            if name not in at_work and schedule.files_changed(memory.left, seen, memory.acted_on):
                log.info("%s: its files were changed", name, extra=about(name))
                memory.acted_on = seen
                self._want(name)

    def look_at(self, name: str) -> None:
        """Send a worker to this keystore now."""
        if name in self._memories:
            self._want(name)
            self.tell()

    def take(self, worker: Worker, outcome: Outcome) -> None:
        """A worker reported on a keystore: make its next appointment."""
        name, now = outcome.keystore, self._clocks.now()
        memory = self._memories.get(name)
        if memory is None:
            return
        when = self._remember(name, memory) or outcome.next_action_at
        if outcome.result is Result.WAITING:
            when = outcome.next_action_at  # for a doubted clock: what is remembered does not take it into account
        if worker.timed_out and outcome.result is Result.STOPPED:
            return  # it hung; `judge` decides
        if outcome.result in TOLD:
            log.log(TOLD[outcome.result], "%s: %s", name, schedule.sentence(outcome, when, now), extra=about(name))
        match schedule.following(outcome, when, memory.strikes, now):
            case Next.AT_ONCE:
                memory.strikes = 1
                self._want(name)
            case Next.FRUITLESS:
                self._strike(name, self._pace.busy_again)
            case Next.SETTLED:
                memory.strikes, memory.not_before = 0, None
                if when:
                    self.appointments.make(name, when)
                else:
                    self.appointments.cancel(name)  # the sweep will look at it
                self.tell()

    def judge(self, worker: Worker, missing: list[str]) -> None:
        """What to do with the keystores that a worker ended without a report on."""
        missing = [name for name in missing if name in self._memories]
        if worker.orderly:
            self._status.over("workers")
            return
        if worker.exit_code in (None, BAD_CONFIGURATION):
            if "workers" not in self._status:
                remedy = "fix the configuration as described above, then reload"
                if worker.exit_code is None:
                    remedy = "certagent tries again with growing pauses, and at once after a reload"
                log.error("a worker %s: %s", worker.ending, remedy)
            self._status.trouble("workers", "workers cannot be started")
            for name in missing:
                self._strike(name, self._pace.crash_again)
            return
        if worker.guilty in self._memories:
            wait = self._strike(worker.guilty, self._pace.crash_again)
            told = worker.guilty, worker.ending, span(wait)
            log.error("%s: its worker %s; trying again in %s", *told, extra=about(worker.guilty))
        for name in missing:
            self._want(name)  # the one at fault has an appointment, and keeps it

    def definitions(self, names: Sequence[str]) -> bytes:
        """The part of the configuration that a worker for these keystores gets.

        Empty if a keystore left the configuration in the middle of a transaction: a worker that has read the whole
        configuration sees which keystore that is, and finishes the transaction.
        """
        if self._strays:
            self._strays = False
            return b""
        return self._served.excerpt(names)

    def rest(self) -> None:
        self._at_rest()

    def tell(self) -> None:
        """Send systemd the current status line."""
        self._status.tell(self._status_line)

    def _status_line(self) -> str:
        count = len(self._memories), self.pool.due, self.pool.workers
        return schedule.status_line(*count, self.appointments.first, self._clocks.now())

    def _due(self, name: str) -> None:
        self._want(name)
        self.tell()

    def _want(self, name: str) -> None:
        """Queue it for a worker, or make an appointment if its last look failed a moment ago."""
        if self.paused or self.pool.closed or name in self.pool.at_work:
            return
        not_before = self._memories[name].not_before
        if not_before and not_before > self._clocks.now():
            self.appointments.make(name, not_before)
            return
        self.appointments.cancel(name)
        self.pool.add(name)

    def _leave_alone(self, name: str, memory: KeystoreMemory, known: state.State) -> None:
        """Leave it alone until its next action, and forget earlier failures."""
        if known.next_action_at is None or self.pool.has(name):
            return
        memory.strikes, memory.not_before = 0, None
        memory.watch(known)
        if self.appointments.of(name) != known.next_action_at:
            self.appointments.make(name, known.next_action_at)

    def _remember(self, name: str, memory: KeystoreMemory) -> datetime | None:
        """Read what the worker saved; returns the time of the next action."""
        try:
            known = state.load(StateDirectory(self._state_dir).keystore(name).path)
        except CertagentError as error:
            log_error(f"{name}: ", error, name)
            return None
        if known is None:
            return None
        memory.watch(known)
        return known.next_action_at

    def _strike(self, name: str, first: timedelta) -> timedelta:
        memory = self._memories[name]
        memory.strikes += 1
        wait = schedule.backoff(memory.strikes, first)
        memory.not_before = self._clocks.now() + wait
        self._want(name)
        return wait
