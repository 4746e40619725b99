"""`certagent run`: when each keystore is looked at, and by which worker. Opens no token, no socket, no certificate.

What is true of a keystore only a worker finds out; the agent keeps appointments. A keystore is looked at
when its next action comes (one date job each), when its files were changed by somebody, and with all
others every `check_every`, at the start, after a reload and after the clock was set.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from certagent import durable, policy, state
from certagent.agent import log as certagent_log
from certagent.agent import schedule, systemd
from certagent.agent.schedule import Memory, Pace
from certagent.agent.worker_process import BAD_CONFIGURATION, Worker, worker_command
from certagent.config.configuration import Configuration
from certagent.config.load import load_configuration
from certagent.errors import BusyError, CertagentError, ConfigError
from certagent.policy import Action
from certagent.text import iso, span
from certagent.transaction.report import Outcome, Result

log = logging.getLogger(__name__)
Clock = Callable[[], datetime]

# Results worth a line of log, and its level. Why an attempt failed was said by the worker.
TOLD = {
    **dict.fromkeys((Result.ENROLLED, Result.RENEWED, Result.ROLLED_OVER, Result.TRUSTED), logging.INFO),
    Result.PENDING: logging.WARNING,
    Result.FAILED: logging.ERROR,
}


def run(config_path: Path, *, worker: Sequence[str] = (), pace: Pace | None = None) -> int:
    """Serve the keystores of a configuration until SIGTERM or SIGINT; returns the exit code.

    `worker` is the argv that the names of due keystores are appended to; the default is `certagent renew
    --due`. Raises ConfigError, and BusyError if another agent serves the same state directory.
    """
    certagent_log.configure()
    config_path = config_path.absolute()
    configuration = load_configuration(config_path)
    command = worker or worker_command(config_path)
    with ExitStack() as held:
        _lock(Path(configuration.state_dir), held)
        asyncio.run(Agent(config_path, configuration, command, pace or Pace()).serve())
    return 0


def _lock(state_dir: Path, held: ExitStack) -> None:
    try:
        held.enter_context(durable.lock(state_dir / "agent.lock", f"the state directory {state_dir}"))
    except BusyError as error:
        raise BusyError(
            f"an agent runs already: {error}", "stop it first, or give this one a state_dir of its own"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"the state directory {state_dir} cannot be used: {error.strerror}",
            "start the agent as a user who may write there, or set state_dir",
        ) from None


class Agent:
    """The loop. `clock` and `monotonic` are its only sources of time."""

    def __init__(
        self,
        config_path: Path,
        configuration: Configuration,
        worker: Sequence[str],
        pace: Pace,
        *,
        clock: Clock = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config_path = config_path
        self._configuration = configuration
        self._command = tuple(worker)
        self._pace = pace
        self._clock = clock
        self._monotonic = monotonic
        self._memories: dict[str, Memory] = {}
        self._queue: dict[str, None] = {}  # in order of arrival
        self._at_work: dict[str, Worker] = {}
        self._workers: list[Worker] = []
        self._next: dict[str, datetime] = {}
        self._notes: dict[str, str] = {}  # troubles that STATUS tells, by topic
        self._status = ""
        self._nudged = False
        self._offset = timedelta(0)
        # No job is ever too late to be done, and a sweep missed while the device slept is done once.
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )

    async def serve(self) -> None:
        """Run until told to stop. Returns when no worker is left."""
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._scheduler.start()
        # A fault of our own in a worker's task ends the agent, visibly; systemd starts it again.
        async with asyncio.TaskGroup() as self._tasks:
            log.info("serving %d keystores of %s", len(self._configuration.keystores), self._config_path)
            self._adopt(self._configuration)
            self._start_over()
            systemd.send("READY=1")
            while not self._stopping.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._interval())
                if not self._stopping.is_set():
                    self._pulse()
            await self._end()

    # --- time ---------------------------------------------------------------------------------------

    def _interval(self) -> float:
        wanted = [self._pace.pulse, self._configuration.check_every, systemd.watchdog_interval()]
        if "clock" in self._notes:
            wanted.append(self._pace.clock_wait)
        return min(each.total_seconds() for each in wanted if each is not None)

    def _pulse(self) -> None:
        # By the monotonic clock, not a job of the scheduler: it is here to notice when the wall clock is wrong.
        now = self._clock()
        drift = self._wall_offset() - self._offset
        if "clock" in self._notes and policy.clock_is_sane(now):
            log.info("the clock is set")
            self._start_over()
        elif schedule.clock_jumped(drift, self._pace.clock_tolerance):
            log.warning("the clock jumped by %+.0f s: looking at everything", drift.total_seconds())
            self._start_over()
        else:
            self._notice_changes(now)
        self._tell()
        if self._scheduler_lives():
            systemd.send("WATCHDOG=1")

    def _wall_offset(self) -> timedelta:
        return self._clock() - datetime.fromtimestamp(self._monotonic(), UTC)

    def _scheduler_lives(self) -> bool:
        # The scheduler goes by the system's clock, whatever ours is.
        late = datetime.now(UTC) - timedelta(seconds=30)
        return self._scheduler.running and not any(job.next_run_time < late for job in self._scheduler.get_jobs())

    def _start_over(self) -> None:
        """Plan everything anew: all keystores are looked at now, if the clock can be believed at all."""
        now = self._clock()
        self._offset = self._wall_offset()
        if not policy.clock_is_sane(now):
            self._scheduler.remove_all_jobs()
            self._next.clear()
            self._queue.clear()
            if "clock" not in self._notes:
                log.warning("the clock says %s, which cannot be: doing nothing until it is set", iso(now))
            self._notes["clock"] = "waiting for the clock to be set"
            self._tell()
            return
        self._notes.pop("clock", None)
        for memory in self._memories.values():
            memory.strikes, memory.not_before = 0, None
        seconds = self._configuration.check_every.total_seconds()
        self._scheduler.add_job(self._sweep, "interval", seconds=seconds, id="sweep", replace_existing=True)
        self._look_at_all()

    # --- which keystores ----------------------------------------------------------------------------

    async def _sweep(self) -> None:
        self._look_at_all()

    def _look_at_all(self) -> None:
        for name in self._memories:
            self._want(name)
        self._tell()

    async def _due(self, name: str) -> None:
        self._next.pop(name, None)
        self._want(name)
        self._tell()

    def _notice_changes(self, now: datetime) -> None:
        if not policy.clock_is_sane(now):
            return
        for name, memory in self._memories.items():
            seen = state.watch(map(Path, memory.watched))
            if name not in self._at_work and schedule.files_changed(memory.watched, seen, memory.acted_on):
                log.info("%s: its files were changed", name)
                memory.acted_on = seen
                self._want(name)

    def _want(self, name: str) -> None:
        """Queue a keystore, or make an appointment if its last look was fruitless a moment ago."""
        if name in self._at_work or self._stopping.is_set() or "clock" in self._notes:
            return
        not_before = self._memories[name].not_before
        if not_before and not_before > self._clock():
            self._appoint(name, not_before)
            return
        self._cancel(name)
        self._queue[name] = None
        self._nudge()

    def _appoint(self, name: str, when: datetime) -> None:
        self._next[name] = when
        self._scheduler.add_job(
            self._due, "date", run_date=when, args=[name], id=f"keystore {name}", replace_existing=True
        )

    def _cancel(self, name: str) -> None:
        if self._next.pop(name, None):
            self._scheduler.remove_job(f"keystore {name}")

    # --- workers ------------------------------------------------------------------------------------

    def _nudge(self) -> None:
        if not self._nudged:
            self._nudged = True
            asyncio.get_running_loop().call_later(self._pace.coalesce.total_seconds(), self._dispatch)

    def _dispatch(self) -> None:
        self._nudged = False
        limit = self._configuration.max_workers
        while self._queue and len(self._workers) < limit and not self._stopping.is_set():
            names = schedule.batch(list(self._queue), limit - len(self._workers))
            worker = Worker(tuple(names))
            for name in names:
                del self._queue[name]
                self._at_work[name] = worker
            self._workers.append(worker)
            self._tasks.create_task(self._work(worker))
        self._tell()

    async def _work(self, worker: Worker) -> None:
        await worker.run(
            self._command,
            limit=self._configuration.worker_timeout,
            grace=self._pace.grace,
            on_report=lambda outcome: self._take(worker, outcome),
        )
        self._workers.remove(worker)
        missing = [name for name in worker.names if name not in worker.reported]
        for name in missing:
            del self._at_work[name]
        if not self._stopping.is_set():
            self._judge(worker, [name for name in missing if name in self._memories])
            self._dispatch()

    def _take(self, worker: Worker, outcome: Outcome) -> None:
        """A keystore is done: make its next appointment."""
        name = outcome.keystore
        del self._at_work[name]
        memory = self._memories.get(name)
        if memory is None or self._stopping.is_set():
            return
        now = self._clock()
        when = self._remember(name, memory) or outcome.next_action_at
        if worker.timed_out and outcome.result is Result.STOPPED:
            return  # it hung; `_judge` has the word
        if outcome.result in TOLD:
            log.log(TOLD[outcome.result], "%s: %s", name, schedule.sentence(outcome, when, now))
        if when and when <= now and outcome.next_action is Action.SWITCH and not memory.strikes:
            memory.strikes = 1  # the CA changed while the worker was at it: no pause before that, but once
            self._want(name)
            return
        if outcome.result in (Result.BUSY, Result.STOPPED) or (when and when <= now):
            # Also a due action that its worker did not do, or that is due again at once: never a busy loop.
            self._strike(name, self._pace.busy_again)
            return
        memory.strikes, memory.not_before = 0, None
        if when:
            self._appoint(name, when)
        else:
            self._cancel(name)  # the sweep is enough
        self._tell()

    def _remember(self, name: str, memory: Memory) -> datetime | None:
        """Read what the worker left; the time of the next action."""
        try:
            known = state.load(Path(self._configuration.state_dir) / "keystores" / name)
        except CertagentError as error:
            _log_error(f"{name}: ", error)
            return None
        if known is None:
            return None
        memory.watched = known.watched
        return known.next_action_at

    def _strike(self, name: str, first: timedelta) -> timedelta:
        memory = self._memories[name]
        memory.strikes += 1
        wait = schedule.backoff(memory.strikes, first)
        memory.not_before = self._clock() + wait
        self._want(name)
        return wait

    def _judge(self, worker: Worker, missing: list[str]) -> None:
        """What becomes of the keystores a worker ended without a word on."""
        if worker.orderly:
            self._notes.pop("workers", None)
            return
        if worker.exit_code in (None, BAD_CONFIGURATION):
            if "workers" not in self._notes:
                log.error("a worker %s: mend the configuration as it says above, then reload", worker.ending)
            self._notes["workers"] = "workers do not start"
            for name in missing:
                self._strike(name, self._pace.crash_again)
            return
        if worker.guilty in self._memories:
            wait = self._strike(worker.guilty, self._pace.crash_again)
            log.error("%s: its worker %s; trying again in %s", worker.guilty, worker.ending, span(wait))
        for name in missing:
            self._want(name)  # the guilty one has an appointment, and keeps it

    # --- from outside -------------------------------------------------------------------------------

    def _reload(self) -> None:
        systemd.reloading()
        try:
            fresh = load_configuration(self._config_path)
            if fresh.state_dir != self._configuration.state_dir:
                raise ConfigError("state_dir cannot change while the agent runs", "restart it")
        except CertagentError as error:
            _log_error("the old configuration stays in use: ", error)
            self._notes["configuration"] = "the new configuration is broken, the old one stays in use"
        else:
            self._notes.pop("configuration", None)
            log.info("configuration read again: %d keystores", len(fresh.keystores))
            self._adopt(fresh)
            self._start_over()
        self._tell()
        systemd.send("READY=1")

    def _adopt(self, configuration: Configuration) -> None:
        self._configuration = configuration
        for name in self._memories.keys() - configuration.keystores.keys():
            log.info("%s: no longer configured", name)
            del self._memories[name]
            self._queue.pop(name, None)
            self._cancel(name)
        for name in configuration.keystores:
            if name not in self._memories:
                self._remember(name, self._memories.setdefault(name, Memory()))

    def _tell(self) -> None:
        count = len(self._memories), len(self._queue) + len(self._at_work), len(self._workers)
        line = schedule.status_line(*count, self._next, self._clock())
        status = "; ".join([*self._notes.values(), line])
        if status != self._status:
            self._status = status
            systemd.send(f"STATUS={status}")

    async def _end(self) -> None:
        systemd.send("STOPPING=1", "STATUS=stopping")
        self._scheduler.shutdown(wait=False)
        if self._workers:
            log.info("stopping: waiting for %d workers", len(self._workers))
        for worker in self._workers:
            worker.stop()
        until = asyncio.get_running_loop().time() + self._pace.grace.total_seconds()
        while self._workers and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.05)
        for worker in self._workers:
            worker.kill()
        log.info("stopped")


def _log_error(where: str, error: CertagentError) -> None:
    log.error("%s%s", where, error)
    for problem in error.problems if isinstance(error, ConfigError) else ():
        log.error("%s%s", where, problem)
    if error.hint:
        log.error("%shint: %s", where, error.hint)
