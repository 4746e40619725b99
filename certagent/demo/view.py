"""How the demo looks: one frame of the live view, a line per event, and the summary."""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from certagent.demo.site import CA_LIFETIME, LIFETIME, SERVER_NAME, Site
from certagent.demo.watch import WANTED, Sighting, TrustedCa, Watch, WatchedKeystore, short
from certagent.text import iso

_ABOUT = {
    "web": "key and chain in files, which the service below reads",
    "vpn": "key and certificate in one file, behind a symbolic link",
}
_EXPECTED = timedelta(seconds=55)
# Each certificate of a keystore has its own colour, to show where it is served.
_COLOURS = ("cyan", "magenta", "yellow", "blue", "bright_red", "bright_green")
_CA_COLOURS = ("bright_cyan", "bright_magenta")
_OTHER_LINES = 17  # lines of a frame without the events and their border


def frame(watch: Watch, site: Site, now: datetime, width: int, height: int) -> RenderableType:
    """The whole view, for a terminal of this size."""
    keystores = [_keystore(keystore, now, width - 4) for keystore in watch.keystores.values()]
    rest = max(3, height - _OTHER_LINES - 2)
    footer = Text(f" files: {site.directory}", style="dim", no_wrap=True, overflow="ellipsis")
    return Group(
        _header(watch, now),
        _authority(watch, now, width - 4),
        *keystores,
        _service(watch),
        _events(watch, rest),
        footer,
    )


def line(event: Sighting) -> str:
    """An event as a line, without a terminal."""
    return f"{iso(event.at)} {event.who:<7} {event.text}"


def summary(watch: Watch, site: Site, took: timedelta, program: str) -> Text:
    """What happened, where the files are, what to try next."""
    text = Text(f"\nEverything happened, in {took.total_seconds():.0f} s.\n\n", style="")
    for each in watch.keystores.values():
        times = f"enrolled, renewed {each.renewed} times, rolled over, post hook run {each.hooks} times"
        text.append(f"  {each.name:<9}", "bold").append(f"{times}\n{'':11}")
        text.append(Text(" → ").join(_serial(each, serial) for serial in each.serials)).append("\n")
    text.append(f"  {'CA':<9}", "bold")
    text.append(Text(" → ").join(Text(ca.name, f"bold {_ca_colour(watch, ca)}") for ca in watch.cas))
    text.append(": trusted in advance; the first no longer\n")
    shakes = watch.handshakes
    text.append(f"  {'service':<9}", "bold").append(
        f"{shakes.changes} changes seen, {shakes.good} handshakes, {len(shakes.failures)} failed\n"
    )
    text.append(f"\nIts files are in {site.directory}:\n\n")
    for names, about in _FILES:
        text.append(f"  {names:<24}", "bold").append(f"{about}\n")
    text.append(f"\nTo try next (certificates of {LIFETIME} s have expired by then):\n\n")
    configuration, directory = shlex.quote(str(site.configuration)), shlex.quote(str(site.directory))
    for command in (
        f"{program} -c {configuration} status",
        f"{program} -c {configuration} history web",
        f"{program} lab list --dir {directory}/lab",
        f"rm -r {directory}",
    ):
        text.append(f"  {command}\n", "bold")
    return text


_FILES = (
    ("agent.yaml keystores/", "the configuration"),
    ("web/ vpn/", "keys and certificates, as services read them"),
    ("state/", "what the agent remembers, including the old pairs"),
    ("lab/", "the CA, and everything it issued"),
    ("hooks/ hooks.log", "the post hooks, and what they wrote"),
    ("logs/", "agent.log, lab.log, service.log"),
)


def _header(watch: Watch, now: datetime) -> RenderableType:
    grid = _sides()
    passed = now - watch.started
    grid.add_row(
        Text.assemble((" certagent demo", "bold"), f"   certificates live {LIFETIME} s here, a CA {CA_LIFETIME} s"),
        Text(f"{passed.total_seconds():.0f} s of about {_EXPECTED.total_seconds():.0f} s ", style="dim"),
    )
    return grid


def _keystore(keystore: WatchedKeystore, now: datetime, width: int) -> RenderableType:
    grid = _sides()
    grid.add_row(_facts(keystore, now), _progress(keystore.renewed, "renewed"))
    title = Text.assemble((keystore.name, "bold"), (f"  {_ABOUT[keystore.name]}", "dim"))
    return Panel(Group(grid, _life(keystore, now, width)), title=title, title_align="left", border_style="dim")


def _facts(keystore: WatchedKeystore, now: datetime) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    if keystore.serials:
        text.append(_serial(keystore, keystore.serials[-1])).append("  ")
    text.append(_state(keystore, now))
    if keystore.last_hook is not None:
        ago = (now - keystore.last_hook).total_seconds()
        text.append(f"   post hook ran {ago:.0f} s ago", "bold green" if ago < 2 else "dim")
    return text


def _state(keystore: WatchedKeystore, now: datetime) -> Text:
    if keystore.phase:
        return Text(f"{keystore.kind}: {keystore.phase} …".ljust(22), "bold yellow")
    style = {"valid": "green", "staged": "cyan", "missing": "yellow", "due": "yellow"}.get(
        keystore.condition, "bold red"
    )
    text = Text(keystore.condition, style)
    if keystore.next_action_at is not None:
        left = max(0.0, (keystore.next_action_at - now).total_seconds())
        text.append(f", {keystore.next_action} in {left:.0f} s", "default")
    text.pad_right(max(0, 22 - len(text)))
    return text


def _life(keystore: WatchedKeystore, now: datetime, width: int) -> Text:
    """The remaining life, with a mark where the next renewal is due."""
    if keystore.not_before is None or keystore.not_after is None:
        return Text("no certificate yet", "dim")
    colour = _colour(keystore, keystore.serials[-1])
    return _bar((keystore.not_before, keystore.not_after), keystore.next_action_at, now, width, colour)


def _bar(life: tuple[datetime, datetime], mark_at: datetime | None, now: datetime, width: int, colour: str) -> Text:
    """A lifetime, from start to end, as a bar that empties."""
    start, end = life
    whole, left = end - start, max(end - now, timedelta(0))
    caption = f"  {left.total_seconds():2.0f} s left"
    cells = max(10, width - len(caption))
    filled = min(cells, round(left / whole * cells))
    bar = Text.assemble(("━" * filled, f"bold {colour}"), ("─" * (cells - filled), "dim"), caption)
    if mark_at is not None and start <= mark_at < end:
        mark = min(cells - 1, round((end - mark_at) / whole * cells))
        bar.plain = f"{bar.plain[:mark]}┃{bar.plain[mark + 1 :]}"
        bar.stylize("bold not dim default", mark, mark + 1)
    return bar


def _authority(watch: Watch, now: datetime, width: int) -> RenderableType:
    """The CA of the certificate in place, and what is prepared for the CA's end."""
    web, done = watch.keystores["web"], sum(each.rolled_over > 0 for each in watch.keystores.values())
    grid = _sides()
    title = Text.assemble(("CA", "bold"), ("  what clients of the service trust", "dim"))
    if not watch.cas:
        return Panel(
            Group(Text("none is trusted yet", "dim"), Text()), title=title, title_align="left", border_style="dim"
        )
    current = watch.cas[min(web.rolled_over, len(watch.cas) - 1)]
    text = Text(" + ", no_wrap=True, overflow="ellipsis").join(
        Text(ca.name, f"bold {_ca_colour(watch, ca)}") for ca in watch.trusted
    )
    staged = [each.name for each in watch.keystores.values() if each.staged]
    if staged and web.switch_at is not None:
        seconds = max(0.0, (web.switch_at - now).total_seconds())
        text.append(f"   {' and '.join(staged)} staged, ").append(f"switch in {seconds:.0f} s", "bold yellow")
    grid.add_row(text, _progress(done, "rolled over", len(watch.keystores)))
    life = (current.certificate.not_valid_before_utc, current.certificate.not_valid_after_utc)
    bar = _bar(life, web.switch_at, now, width, _ca_colour(watch, current))
    return Panel(Group(grid, bar), title=title, title_align="left", border_style="dim")


def _ca_colour(watch: Watch, ca: TrustedCa) -> str:
    return _CA_COLOURS[watch.cas.index(ca) % len(_CA_COLOURS)]


def _service(watch: Watch) -> RenderableType:
    shakes, web = watch.handshakes, watch.keystores["web"]
    text = Text(no_wrap=True, overflow="ellipsis")
    if not shakes.served:
        text.append("waits for its first certificate", "yellow")
    else:
        text.append("serves ").append(_serial(web, shakes.served[-1]))
        text.append(f"   {shakes.good} handshakes, ").append(
            f"{len(shakes.failures)} failed", "bold red" if shakes.failures else "green"
        )
    grid = _sides()
    grid.add_row(text, _progress(shakes.changes, "changed", WANTED + 1))
    title = Text.assemble(("service", "bold"), (f"  TLS as {SERVER_NAME} {shakes.address}", "dim"))
    return Panel(grid, title=title, title_align="left", border_style="dim")


def _events(watch: Watch, lines: int) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", style="dim", no_wrap=True)
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for event in watch.events[-lines:]:
        passed = (event.at - watch.started).total_seconds()
        text = Text(event.text, "bold red" if event.bad else "")
        for ca in watch.cas:
            text.highlight_words([ca.name], f"bold {_ca_colour(watch, ca)}")
        for keystore in watch.keystores.values():
            for serial in keystore.serials:
                text.highlight_words([short(serial)], f"bold {_colour(keystore, serial)}")
        grid.add_row(f"{passed:.1f} s", event.who, text)
    return Panel(grid, title="what happened", title_align="left", border_style="dim", height=lines + 2)


def _sides() -> Table:
    """One line: a left side that is shortened if necessary, and a right side."""
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    return grid


def _colour(keystore: WatchedKeystore, serial: str) -> str:
    return _COLOURS[keystore.serials.index(serial) % len(_COLOURS)] if serial in keystore.serials else "default"


def _serial(keystore: WatchedKeystore, serial: str) -> Text:
    return Text(short(serial), f"bold {_colour(keystore, serial)}")


def _progress(count: int, word: str, wanted: int = WANTED) -> Text:
    done = min(count, wanted)
    return Text.assemble(f"{word} ", ("●" * done, "green"), ("○" * (wanted - done), "dim"), f" {count}")
