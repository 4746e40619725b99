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

from certagent.cli.terminal import terminal
from certagent.demo import service, site, view
from certagent.demo.processes import DemoError, EndedError, Processes
from certagent.demo.site import CA_LIFETIME, LIFETIME, OVERLAP, ROLLOVER, Site
from certagent.demo.watch import Sighting, Watch
from certagent.text import printable

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
        print(f"\nended by {ended}; its files are in {here.directory}", file=sys.stderr)
        return ended.exit_code
    except DemoError as error:
        raise DemoError(str(error), f"{error.hint}; all files are kept in {here.directory}") from None
    text = view.summary(watch, here, _now() - started, _program())
    (console or Console(file=sys.stdout, no_color=True)).print(text, soft_wrap=True)
    return 0


def _play(here: Site, console: Console | None, started: datetime) -> Watch:
    watch = Watch(here, started)
    with Processes(here.logs) as processes:
        try:
            with _shown(watch, here, console) as show:
                _start(watch, here, processes, show)
                _watch_until_done(watch, here, processes, show)
        finally:
            watch.handshakes.stop()
    watch.look(_now())  # the agent let a worker finish what it was doing
    failures = watch.handshakes.failures
    if failures:
        raise DemoError(f"{len(failures)} TLS handshakes failed, the first: {failures[0]}", f"see {here.logs}")
    return watch


def _start(watch: Watch, here: Site, processes: Processes, show: Show) -> None:
    """Start every process; the agent comes last, because its configuration names the others."""

    def tell(who: str, text: str) -> None:
        now = _now()
        watch.events.append(Sighting(now, who, text))
        show(now)

    lives = ("--lifetime", f"{LIFETIME}s", "--ca-lifetime", f"{CA_LIFETIME}s")
    change = ("--rollover", f"{ROLLOVER}s", "--overlap", f"{OVERLAP}s")
    processes.start("lab", "certagent", "lab", "--dir", str(here.lab), "--port", "0", *lives, *change)
    processes.start("service", "certagent.demo.service", str(here.web))
    show(_now())
    address = processes.await_line("service", rf"{service.READY}(\S+)\n")[1]
    tell("service", f"waits for its first certificate at {address}")
    found = processes.await_line("lab", r"URL +(\S+)\n.*\n( *authorities:\n.*?)\n\n")
    tell("lab", f"a CA of our own at {found[1]}; it lives {CA_LIFETIME} s")
    here.configure(found[2], address)
    processes.start("agent", "certagent", "-c", str(here.configuration), "run")
    tell("agent", "starts, and finds no certificates")
    watch.handshakes.begin(address)


def _watch_until_done(watch: Watch, here: Site, processes: Processes, show: Show) -> None:
    while True:
        processes.wait(_LOOK)
        now = _now()
        watch.look(now)
        show(now)
        missing = watch.missing()
        if not missing and not any(keystore.phase for keystore in watch.keystores.values()):
            return
        if now - watch.started > _LIMIT:
            what = f"not everything happened within {_LIMIT.total_seconds():.0f} s: {'; '.join(missing)}"
            raise DemoError(what, f"see {here.logs}")


@contextmanager
def _shown(watch: Watch, here: Site, console: Console | None) -> Iterator[Show]:
    """Shows the events: a live view in a terminal, otherwise a line for each."""
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
