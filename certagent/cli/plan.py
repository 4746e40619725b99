"""`certagent plan`: every future event, as a table and, in a terminal, a timeline; from the same decisions as the
worker's (`status.forecast`)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from certagent.cli import assemble
from certagent.cli.terminal import indented, print_plain, shortened, terminal
from certagent.config.load import load_configuration
from certagent.errors import ConfigError
from certagent.host import identifier
from certagent.status import forecast
from certagent.status.crls import events as crl_events
from certagent.status.crls import take_crls
from certagent.status.forecast import Event, What
from certagent.status.ladder import ladders
from certagent.status.snapshot import take_snapshots
from certagent.text import ahead, iso, printable, stamp

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# How the timeline shows an event; if two fall into one cell, the later one in this list.
_SIGNS = {
    What.AND_SO_ON: ("…", "dim"),
    What.HOOKS: ("↻", "yellow"),
    What.RESUME: ("↻", "yellow"),
    What.POLL: ("?", "cyan"),
    What.CRL: ("·", "dim"),
    What.RENEW: ("●", "green"),
    What.ENROLL: ("●", "green"),
    What.ROLLOVER: ("○", "cyan"),
    What.CA_EXPIRES: ("┃", "yellow"),
    What.SWITCH: ("◆", "bold magenta"),
    What.EXPIRES: ("✗", "bold red"),
}
_WORDS = {What.HOOKS: "run hooks"}
_RANK = list(_SIGNS)
_WIDE = 72  # columns
# Under one CA, under the next …
_LINES = ("cyan", "magenta", "blue")


def plan(arguments: argparse.Namespace) -> int:
    """Raises ConfigError for an invalid date, or one that has passed."""
    configuration = load_configuration(arguments.config)
    now = assemble.clock()
    names = assemble.chosen(configuration, arguments.names)
    taken = take_snapshots(configuration, now=now, host=identifier(), names=names, debug=arguments.debug)
    until = _read_date(arguments.until, now) if arguments.until else forecast.horizon(taken, now)
    events = forecast.events(taken, until, now)
    crls = crl_events(take_crls(configuration, now, arguments.names or None), until, now)
    if arguments.json:
        every = sorted([*events, *crls], key=lambda each: each.at)
        ways = [{"keystore": each.name, "ways": [rung.value for rung in each.ways]} for each in taken]
        print(indented({"until": iso(until), "events": [_entry(each) for each in every], "ways": ways}))
        return 0
    if arguments.svg:
        from certagent.cli.plan_svg import drawing  # noqa: PLC0415 -- only a picture needs it

        print(drawing(taken, events, now, until), end="")
        return 0
    console = terminal()
    rows = _rows([*events, *crls], now)
    if not rows:
        print(f"nothing is expected until {stamp(until, now)}")
    elif console is None:
        print_plain(("TIME (UTC)", "IN", "KEYSTORE", "EVENT", "DETAIL"), [row.cells for row in rows])
        print(f"\n{_footer(events, until, now)}")
    else:
        console.print(_timeline(events, names, now, until, console.width))
        console.print(_table(rows, console.width))
        console.print(f"\n{_footer(events, until, now)}")
    for line, concerned in ladders(taken, now).items():
        print(printable(f"{shortened(concerned)}: {line}"))
    return 0


def _footer(events: Sequence[Event], until: datetime, now: datetime) -> str:
    assumed = (
        "; ~ assuming that each new certificate is valid as long as the one before"
        if any(each.assumed for each in events)
        else ""
    )
    return f"until {stamp(until, now)}, use --until DATE for another end{assumed}"


def _read_date(text: str, now: datetime) -> datetime:
    """`2027-01-31` (its end), or a moment in ISO 8601, in UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a date", "write 2027-01-31, or 2027-01-31T12:00:00Z") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if len(text) == len("2027-01-31"):
        moment = moment.replace(hour=23, minute=59, second=59)
    if moment <= now:
        raise ConfigError(f"{text} has passed", "a plan shows the future; `certagent history` shows the past")
    return moment


def _entry(event: Event) -> dict[str, Any]:
    whose = {"keystore": None, "authority": event.keystore} if event.what is What.CRL else {"keystore": event.keystore}
    return {
        "at": iso(event.at),
        **whose,
        "event": event.what.value,
        "detail": event.detail,
        "assumed": event.assumed,
    }


class _Row(Struct, frozen=True):
    """Keystores to which the same happens at the same time."""

    event: Event
    names: list[str]
    now: datetime

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        distance = ahead(self.event.at, self.now).removeprefix("in ")  # the column's title says so
        word = _WORDS.get(self.event.what) or self.event.what.value
        detail = printable(self.event.detail)
        return (
            stamp(self.event.at, self.now),
            f"~{distance}" if self.event.assumed else distance,
            shortened(self.names),
            word,
            detail,
        )


def _rows(events: Sequence[Event], now: datetime) -> list[_Row]:
    ordered = sorted(events, key=lambda each: (each.at, -_RANK.index(each.what), each.detail))
    alike = groupby(ordered, key=lambda each: (each.at, each.what, each.detail))
    return [_Row(group[0], [each.keystore for each in group], now) for group in (list(found) for _, found in alike)]


def _table(rows: Sequence[_Row], width: int) -> Table:
    """The events as a table; a narrow one has no times."""
    from rich.table import Table  # noqa: PLC0415 -- loaded only to show this to people
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    wide = width >= _WIDE
    if wide:
        table.add_column("time (UTC)", no_wrap=True, style="dim")
    table.add_column("in", no_wrap=True, justify="right")
    table.add_column("keystore", no_wrap=True, max_width=28 if wide else 12)
    table.add_column("event", no_wrap=True)
    table.add_column("", overflow="fold")
    for row in rows:
        at, distance, names, word, detail = row.cells
        sign, style = _sign(row.event)
        table.add_row(
            *([at] if wide else []),
            Text(distance, "dim" if row.event.assumed else ""),
            Text(names, "bold"),
            Text(f"{sign} {word}", style),
            Text(detail),
        )
    return table


def _sign(event: Event) -> tuple[str, str]:
    sign, style = _SIGNS[event.what]
    return sign, "bold red" if event.bad else style


def _timeline(events: Sequence[Event], names: Sequence[str], now: datetime, until: datetime, width: int) -> Text:
    """A line per keystore from `now` to `until`, whose colour changes with the CA, above an axis with dates."""
    from rich.text import Text  # noqa: PLC0415 -- as above

    name_width = max(4, min(max(map(len, names)), 24, width // 4))
    scale = _Scale(now, until, max(10, width - name_width - 3))
    lines = []
    found: dict[str, list[Event]] = {name: [] for name in names}
    for each in events:
        found[each.keystore].append(each)
    for name in names:
        line = Text(f"{name[:name_width]:<{name_width}}  ", "bold")
        lines.append(line.append(scale.line(found[name])))
    axis = [Text(f"{'':{name_width}}  {text}", "dim") for text in scale.axis()]
    return Text("\n").join([*axis, *lines, Text()])


class _Scale:
    """Maps time to cells: `cells` of them from `start` to `end`."""

    def __init__(self, start: datetime, end: datetime, cells: int) -> None:
        self._start, self._end, self._cells = start, end, cells

    def cell(self, moment: datetime) -> int:
        share = (moment - self._start) / (self._end - self._start)
        return min(self._cells - 1, max(0, int(share * self._cells)))

    def line(self, events: Sequence[Event]) -> Text:
        from rich.text import Text  # noqa: PLC0415 -- as above

        line = Text("━" * self._cells, "default")
        switches = sorted(self.cell(each.at) for each in events if each.what is What.SWITCH)
        for number, (begin, end) in enumerate(zip([0, *switches], [*switches, self._cells], strict=True)):
            line.stylize(_LINES[number % len(_LINES)], begin, end)
        plain = list(line.plain)
        for event in sorted(events, key=lambda each: _RANK.index(each.what)):
            sign, style = _sign(event)
            at = self.cell(event.at)
            plain[at] = sign
            line.stylize(style, at, at + 1)
            if event.what is What.EXPIRES:
                plain[at + 1 :] = "┈" * (self._cells - at - 1)
        line.plain = "".join(plain)
        return line

    def axis(self) -> tuple[str, str]:
        """Labels, and the ticks below their first letters."""
        whole = self._end - self._start
        form = (
            "%H:%M:%S"
            if whole < timedelta(hours=1)
            else "%H:%M"
            if whole < timedelta(days=2)
            else "%d %b %H:%M"
            if whole < timedelta(days=7)
            else "%d %b"
            if whole < timedelta(days=330)
            else "%b %Y"
            if whole < timedelta(days=3650)
            else "%Y"
        )
        step = max(14, self._cells // 6)
        labels, ticks = "", ""
        for at in range(0, self._cells - 8, step):
            moment = self._start + whole * (at / self._cells)
            labels = labels.ljust(at) + f"{moment:{form}}"
            ticks = ticks.ljust(at, "─") + ("├" if at == 0 else "┬")
        return labels, ticks.ljust(self._cells - 1, "─") + "┤"
