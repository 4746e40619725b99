"""The demo from its first process to its last line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live

from certagent.cli.terminal import printable, terminal
from certagent.demo import service, site, view
from certagent.demo.processes import DemoError, EndedError, Processes
from certagent.demo.site import LIFETIME, Site
from certagent.demo.watch import Handshakes, Watch

_LIMIT = timedelta(seconds=110)
_LOOK = 0.1  # seconds between two looks

Show = Callable[[datetime], None]


def play(directory: Path | None) -> int:
    """Play the demo in `directory` (None: a temporary one); the exit code. Raises ConfigError, DemoError."""
    console = terminal()
    here = site.make(directory)
    started = _now()
    try:
        watch = _play(here, console, started)
    except EndedError as ended:
        print(f"\nended by {ended}; its files are kept in {here.directory}", file=sys.stderr)
        return ended.exit_code
    except DemoError as error:
        raise DemoError(str(error), f"{error.hint}; all files are kept in {here.directory}") from None
    text = view.summary(watch, here, _now() - started, _program())
    (console or Console(file=sys.stdout, no_color=True)).print(text, soft_wrap=True)
    return 0


def _play(here: Site, console: Console | None, started: datetime) -> Watch:
    with Processes(here.logs) as processes:
        handshakes = _start(here, processes)
        watch = Watch(here, handshakes, started)
        try:
            with _shown(watch, here, console) as show:
                _watch_until_done(here, watch, processes, show)
        finally:
            handshakes.stop()
    watch.look(_now())  # the agent let a worker finish what it was at
    if handshakes.failures:
        count, first = len(handshakes.failures), handshakes.failures[0]
        raise DemoError(f"{count} TLS handshakes failed, the first: {first}", f"see {here.logs}")
    return watch


def _start(here: Site, processes: Processes) -> Handshakes:
    """Every process; the agent last, for it finds the others in its configuration."""
    processes.start("lab", "certagent", "lab", "--dir", str(here.lab), "--port", "0", "--lifetime", f"{LIFETIME}s")
    processes.start("service", "certagent.demo.service", str(here.web))
    address = processes.await_line("service", rf"{service.READY}(\S+)\n")[1]
    authorities = processes.await_line("lab", r"\n( *authorities:\n.*?)\n\n")[1]
    here.configure(authorities, address)
    processes.start("agent", "certagent", "-c", str(here.configuration), "run")
    handshakes = Handshakes(address, here.ca)
    handshakes.start()
    return handshakes


def _watch_until_done(here: Site, watch: Watch, processes: Processes, show: Show) -> None:
    while True:
        processes.wait(_LOOK)
        now = _now()
        watch.look(now)
        show(now)
        missing = watch.missing()
        if not missing and not any(keystore.phase for keystore in watch.keystores.values()):
            return
        if now - watch.started > _LIMIT:
            raise DemoError(
                f"not all happened within {_LIMIT.total_seconds():.0f} s: {'; '.join(missing)}", f"see {here.logs}"
            )


@contextmanager
def _shown(watch: Watch, here: Site, console: Console | None) -> Iterator[Show]:
    """What shows the events: a live view in a terminal, else a line for each."""
    if console is None or console.is_dumb_terminal:
        told = 0

        def show_lines(_now: datetime) -> None:
            nonlocal told
            for event in watch.events[told:]:
                print(printable(view.line(event)), flush=True)
            told = len(watch.events)

        yield show_lines
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:

        def show_frame(now: datetime) -> None:
            live.update(view.frame(watch, here, now, console.width, console.height), refresh=True)

        yield show_frame


def _program() -> str:
    """What to type for `certagent` here."""
    if shutil.which("certagent"):
        return "certagent"
    called = Path(sys.argv[0])
    return str(called) if called.name == "certagent" else f"{sys.executable} -m certagent"


def _now() -> datetime:
    return datetime.now(UTC)
