"""One worker process from start to end: exec, reports, time limit, stop. No keystore is touched in this process.

A worker writes one report per keystore, a JSON object on a line of its own, as soon as that keystore is
done. The lines of its standard error begin with the keystore's name; they go to our log unchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from msgspec import Struct, field

import certagent
from certagent.agent import schedule, systemd
from certagent.agent.log import about
from certagent.text import printable
from certagent.transaction import report
from certagent.transaction.report import Outcome, Result

log = logging.getLogger(__name__)

# Longest report, in bytes; a longer line is thrown away after that much.
LINE_LIMIT = 64 * 1024
# A worker's exit codes that mean it did its work: done, some failed, some pending (docs/commands.md).
ORDERLY = (0, 1, 3)
BAD_CONFIGURATION = 2


def worker_command(config_path: Path, *, verbose: bool = False) -> tuple[str, ...]:
    """The argv of a worker; the names of due keystores are appended."""
    words = (
        "-c",
        str(config_path),
        *(["-v"] if verbose else []),
        "renew",
        "--due",
        "--definitions-from-stdin",
        "--report",
        "json",
    )
    return (sys.executable, "-m", "certagent", *words)


class Worker(Struct):
    """A worker for `names`, which it takes in this order. `reported` fills while it runs.

    Keystores `in_place` have their certificate in place, and wait for hooks that they share; a report follows.
    """

    names: tuple[str, ...]
    reported: dict[str, Outcome] = field(default_factory=dict)
    in_place: set[str] = field(default_factory=set)
    exit_code: int | None = None
    timed_out: bool = False
    hung_at: str | None = None  # the keystore it was at when its time ran out
    _process: Process | None = None
    _progress_at: float = 0.0
    _stop_asked: bool = False
    _complained: bool = False

    @property
    def orderly(self) -> bool:
        """Whether it ended by itself, as workers should, with a report for each keystore."""
        return not self.timed_out and self.exit_code in ORDERLY and set(self.names) <= set(self.reported)

    @property
    def guilty(self) -> str | None:
        """The keystore that hung or crashed it. None if that one did finish, or if somebody ended the worker."""
        stopped = [name for name, outcome in self.reported.items() if outcome.result is Result.STOPPED]
        if self.timed_out:
            through = self.hung_at in self.reported and self.hung_at not in stopped
            return None if through else self.hung_at
        return None if stopped else self._at

    @property
    def _at(self) -> str | None:
        """The keystore it is at, judging by its reports."""
        return schedule.blamed(self.names, {*self.reported, *self.in_place}) or schedule.blamed(
            self.names, self.reported
        )

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.timed_out:
            return "was killed at its time limit"
        if self.exit_code is None:
            return "could not be started"
        if self.exit_code < 0:
            return f"was killed by {signal.Signals(-self.exit_code).name}"
        return f"exited {self.exit_code}"

    async def run(
        self,
        command: Sequence[str],
        *,
        limit: timedelta,
        grace: timedelta,
        on_report: Callable[[Outcome], None],
        definitions: bytes = b"",
    ) -> None:
        """Start `command` with the names appended, and return once it is gone.

        `definitions` goes to its standard input: the configuration of these keystores, or nothing.
        `limit` is how long it may go without a report, so a keystore that hangs costs only itself, and a
        slow CA does not get the last of a large batch killed. Then SIGTERM and, `grace` later, SIGKILL.
        """
        # Pipes of our own: asyncio's wait() would take as long as any grandchild keeps the worker's pipe open.
        (reports, stdout), (lines, stderr) = os.pipe(), os.pipe()
        stdin = _file_of(definitions)
        try:
            # Its own process group: ^C in a terminal reaches only the agent, which then stops it in good order.
            self._process = await asyncio.create_subprocess_exec(
                *command, *self.names, stdin=stdin, stdout=stdout, stderr=stderr, process_group=0, env=environment()
            )
        except OSError as error:
            os.close(reports)
            os.close(lines)
            log.error("a worker could not be started: %s: %s", command[0], error.strerror)  # noqa: TRY400  its traceback says no more
            return
        finally:
            os.close(stdin)
            os.close(stdout)
            os.close(stderr)
        if self._stop_asked:
            self.stop()
        self._progress_at = asyncio.get_running_loop().time()
        reading = asyncio.gather(
            self._read(reports, lambda line: self._take(line, on_report)), self._read(lines, self._pass_on)
        )
        self.exit_code = await self._watch(self._process, limit.total_seconds(), grace.total_seconds())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reading, timeout=1)

    def stop(self) -> None:
        """Ask it to end at its next durable point."""
        self._stop_asked = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now. A hook it runs has a time limit of its own."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _watch(self, process: Process, limit: float, grace: float) -> int:
        loop = asyncio.get_running_loop()
        gone = asyncio.create_task(process.wait())
        while not gone.done():
            left = self._progress_at + limit - loop.time()
            if left > 0:
                await asyncio.wait({gone}, timeout=left)
                continue
            self.timed_out = True
            self.hung_at = self._at
            self.stop()
            await asyncio.wait({gone}, timeout=grace)
            self.kill()
            await gone
        return gone.result()

    async def _read(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        pipe = os.fdopen(descriptor, "rb", 0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            while True:
                try:
                    line = await reader.readline()
                except ValueError:  # longer than LINE_LIMIT
                    self._complain("an endless line")
                    continue
                if not line:
                    return
                take(line)
        finally:
            transport.close()

    def _take(self, line: bytes, on_report: Callable[[Outcome], None]) -> None:
        outcome = report.decode(line)
        if outcome is None or outcome.keystore not in self.names or outcome.keystore in self.reported:
            self._complain(repr(line[:80]))
            return
        self._progress_at = asyncio.get_running_loop().time()
        if outcome.result is Result.IN_PLACE:
            self.in_place.add(outcome.keystore)
            return
        self.reported[outcome.keystore] = outcome
        on_report(outcome)

    def _complain(self, what: str) -> None:
        if not self._complained:
            log.warning("a worker wrote something unexpected: %s", what)
        self._complained = True

    def _pass_on(self, line: bytes) -> None:
        text = printable(line.decode("utf-8", "replace").rstrip())  # a vendor's module may write anything
        name = text.partition(": ")[0]
        log.info("%s", text, extra=about(name if name in self.names else ""))


def _file_of(content: bytes) -> int:
    """A descriptor of a file that has no name, and that nobody else may write to."""
    descriptor = os.memfd_create("definitions")
    os.fchmod(descriptor, 0o600)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    return descriptor


def environment() -> dict[str, str]:
    """The agent's environment, so that the worker runs the same code as the agent, wherever that is, and nothing from
    the current directory; and does not speak to systemd in the agent's name."""
    environment = {name: value for name, value in os.environ.items() if name not in systemd.VARIABLES}
    environment["PYTHONSAFEPATH"] = "1"
    environment["PYTHONPATH"] = str(Path(certagent.__file__).parents[1])
    return environment
