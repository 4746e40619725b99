"""`certagent run`: when to look at each keystore, and with which worker. Opens no token, no socket, no certificate.

The agent looks at a keystore when its next action is due, when somebody changed its files, and with all others
every `check_every`, at the start, after a reload and after the clock was set (keystores.py).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

from certagent import believed, durable
from certagent.agent import log as certagent_log
from certagent.agent import reading, schedule, systemd
from certagent.agent.clock import Clocks
from certagent.agent.crls import Crls
from certagent.agent.installation import Installation
from certagent.agent.keystores import Keystores
from certagent.agent.log import log_error
from certagent.agent.metrics import Metrics
from certagent.agent.schedule import Pace
from certagent.agent.worker_process import worker_command
from certagent.config.served import Served
from certagent.errors import BusyError, CertagentError, ConfigError, StateError
from certagent.state_directory import StateDirectory
from certagent.text import iso

log = logging.getLogger(__name__)

_METRICS_LIMIT = _CRL_LIMIT = timedelta(minutes=10)


def run(config_path: Path, *, worker: Sequence[str] = (), pace: Pace | None = None, verbose: bool = False) -> int:
    """Serve the keystores of a configuration until SIGTERM or SIGINT; returns the exit code. `verbose` is passed on to
    workers.

    `worker` is the argv that the names of due keystores are appended to; the default is `certagent renew
    --due`. Raises ConfigError, and BusyError if another agent serves the same state directory.
    """
    certagent_log.configure()
    config_path = config_path.absolute()
    served = reading.read(config_path)
    _tell(served.lacking)
    command = worker or worker_command(config_path, verbose=verbose)
    with ExitStack() as held:
        _lock(Path(served.state_dir), held)
        return asyncio.run(Agent(config_path, served, command, pace or Pace()).serve())


def _tell(lacking: Sequence[str]) -> None:
    """Log what the host lacks. It only stops the keystores that need it, when they need it; a warning comes sooner."""
    for line in lacking:
        log.warning("%s", line)


def _lock(state_dir: Path, held: ExitStack) -> None:
    try:
        believed.check_state(state_dir)
        held.enter_context(durable.lock(StateDirectory(state_dir).agent_lock, f"the state directory {state_dir}"))
    except BusyError as error:
        raise BusyError(
            f"an agent is already running: {error}", "stop it first, or give this one its own state_dir"
        ) from None
    except StateError as error:
        raise ConfigError(str(error), error.hint) from None
    except OSError as error:
        raise ConfigError(
            f"the state directory {state_dir} cannot be used: {error.strerror}",
            "start the agent as a user who can write there, or set state_dir",
        ) from None


class Agent:
    """The main loop: it watches the clocks, handles signals, and rereads the configuration."""

    def __init__(
        self,
        config_path: Path,
        served: Served,
        worker: Sequence[str],
        pace: Pace,
        clocks: Clocks | None = None,
    ) -> None:
        self._config_path = config_path
        self._served = served
        self._pace = pace
        self._clocks = clocks or Clocks()
        self._status = systemd.Status()
        self._metrics = Metrics(config_path, pace.grace)
        self._crls = Crls(config_path, Path(served.state_dir), pace, self._clocks)
        self._keystores = Keystores(
            Path(served.state_dir), worker, pace, self._clocks, self._status, at_rest=self._at_rest
        )
        self._stopping = asyncio.Event()
        self._to_read = asyncio.Event()
        self._installation = Installation()
        self._exit_code = 0

    def _at_rest(self) -> None:
        """The last worker ended, and no keystore waits for one."""
        self._write_metrics()
        self._crls.forget()

    def _write_metrics(self) -> None:
        if self._served.writes_metrics:
            self._metrics.wanted()

    async def serve(self) -> int:
        """Run until told to stop. Returns the exit code when no worker is left."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._keystores.appointments.start()
        async with asyncio.TaskGroup() as tasks, self._keystores.pool:
            aside = [tasks.create_task(self._read_again()), tasks.create_task(self._metrics.serve(_METRICS_LIMIT))]
            tasks.create_task(self._crls.serve(_CRL_LIMIT, self._keystores.look_at, self._write_metrics))
            log.info("serving %d keystores of %s", len(self._served.keystores), self._config_path)
            self._keystores.adopt(self._served)
            self._crls.adopt(self._served.crls)
            self._start_over()
            systemd.send("READY=1")
            while not self._stopping.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._interval())
                if not self._stopping.is_set():
                    self._pulse()
            for task in aside:
                task.cancel()
            await self._end()
        return self._exit_code

    def _interval(self) -> float:
        wanted = [self._pace.pulse, self._served.check_every, systemd.watchdog_interval()]
        if self._keystores.paused:
            wanted.append(self._pace.clock_wait)
        return min(each.total_seconds() for each in wanted if each is not None)

    def _pulse(self) -> None:
        # By the monotonic clock, not as a scheduler job: this loop must notice when the wall clock is wrong.
        if self._lacks_its_program():
            pass
        elif self._keystores.paused and self._clocks.is_set:
            log.info("the clock has been set")
            self._start_over()
        elif schedule.clock_jumped(self._clocks.drift, self._pace.clock_tolerance):
            log.warning("the clock jumped by %+.0f s: checking everything", self._clocks.drift.total_seconds())
            self._start_over()
        elif not self._keystores.paused:
            self._keystores.notice_changes()
            self._crls.look()
        self._keystores.tell()
        if self._keystores.appointments.are_kept:
            systemd.send("WATCHDOG=1")

    def _lacks_its_program(self) -> bool:
        """Whether the program that workers start from is gone, or was replaced and systemd is to start the new one."""
        missing = self._installation.missing
        if systemd.starts_again() and (missing or self._installation.is_replaced):
            log.warning("certagent or its Python was replaced: exiting, so that systemd starts the new version")
            self._exit_code = 1
            self._stop()
            return True
        if missing is None and "program" in self._status:
            log.info("workers can be started again")
            self._status.over("program")
            self._start_over()
        elif missing is not None and "program" not in self._status:
            log.error("workers cannot start: %s is gone; reinstall certagent there, or restart the agent", missing)
            self._status.trouble("program", f"workers cannot start: {missing} is gone")
            self._keystores.pause()
        return missing is not None

    def _start_over(self) -> None:
        """Plan everything again: look at all keystores now, if the clock can be right at all."""
        self._clocks.settle()
        if self._clocks.is_set:
            self._status.over("clock")
            self._keystores.start_over(self._served.check_every)
            return
        if not self._keystores.paused:
            now = iso(self._clocks.now())
            log.warning("the clock says %s, which is impossible: doing nothing until it is set", now)
        self._status.trouble("clock", "waiting for the clock to be set")
        self._keystores.pause()

    def _reload(self) -> None:
        systemd.reloading()
        self._to_read.set()

    async def _read_again(self) -> None:
        """Reread the configuration each time that is requested. The loop goes on meanwhile."""
        while True:
            await self._to_read.wait()
            self._to_read.clear()
            try:
                served = await asyncio.to_thread(reading.read, self._config_path)
                if served.state_dir != self._served.state_dir:
                    raise ConfigError("state_dir cannot be changed while the agent runs", "restart it")
            except CertagentError as error:
                log_error("the old configuration stays in use: ", error)
                self._status.trouble("configuration", "the new configuration is broken; the old one stays in use")
            else:
                self._status.over("configuration")
                log.info("configuration reloaded: %d keystores", len(served.keystores))
                _tell(served.lacking)
                self._served = served
                self._keystores.adopt(served)
                self._crls.adopt(served.crls)
                self._start_over()
            self._keystores.tell()
            systemd.send("READY=1")

    def _stop(self) -> None:
        self._stopping.set()
        self._keystores.pool.close()

    async def _end(self) -> None:
        self._status.end()
        self._metrics.stop()
        self._crls.stop()
        systemd.send("STOPPING=1", "STATUS=stopping")
        self._keystores.appointments.stop()
        if self._keystores.pool.workers:
            log.info("stopping: waiting for %d workers", self._keystores.pool.workers)
        await self._keystores.pool.end()
        log.info("stopped")
