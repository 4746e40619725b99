"""How commands print for people: colours and wrapping in a terminal, plain lines anywhere else.

rich is imported only if there is a terminal; it handles NO_COLOR and TERM=dumb. Without rich, a terminal gets plain
lines.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from certagent.text import printable

if TYPE_CHECKING:
    from rich.console import Console


class Mark(StrEnum):
    """How good a finding is. Plain signs, so that they mean the same without colours."""

    FINE = "✓"
    WARNING = "!"
    WRONG = "✗"


EARLY_HINT = "is the clock right? if so, ask the CA's operator; `certagent renew --force` requests another"
EXPOSED_HINT = "the next renewal restricts it to its owner and group; set `group` and `mode` if others need to read it"
PACE_HINT = "ask the CA's operator for certificates with a longer lifetime"

WIDE = 100
"""From this many columns on, there is room for longer bars and for dates."""

_STYLES = {Mark.FINE: "green", Mark.WARNING: "yellow", Mark.WRONG: "bold red"}


class Finding(msgspec.Struct, frozen=True):
    """One line about what is found, and one about what to do."""

    mark: Mark
    text: str
    hint: str = ""


def indented(found: object) -> str:
    """As JSON, for programs and readable for people; in ASCII, whatever the locale."""
    text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    if text.isascii() and "\x7f" not in text:
        return text
    import json  # noqa: PLC0415 -- the library's own encoder takes a second for ten thousand keystores

    return json.dumps(found, indent=2)


def terminal() -> Console | None:
    """The terminal on stdout; None if stdout is not a terminal, or rich is not installed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # If the locale lacks these signs, only a sign is lost, not the whole output.
        sys.stdout.reconfigure(errors="replace")
    if not sys.stdout.isatty():
        return None
    return on_terminal(stderr=False)


def on_terminal(*, stderr: bool) -> Console | None:
    """Writes to stdout, or stderr, which is a terminal; None if rich is not installed."""
    try:
        from rich.console import Console  # noqa: PLC0415 -- loaded only for a terminal
    except ModuleNotFoundError:
        return None
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def print_findings(console: Console | None, findings: Iterable[Finding], indent: int = 0) -> None:
    """Each finding with its mark, its hint below it."""
    for finding in findings:
        if console is None:
            print(f"{' ' * indent}{finding.mark} {printable(finding.text)}", flush=True)
            if finding.hint:
                print(f"{' ' * indent}    {printable(finding.hint)}", flush=True)
        else:
            _print_wrapped(console, finding, indent)


def _print_wrapped(console: Console, finding: Finding, indent: int) -> None:
    from rich.padding import Padding  # noqa: PLC0415 -- as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(Text(finding.mark, _STYLES[finding.mark]), Text(printable(finding.text)))
    if finding.hint:
        grid.add_row("", Padding(Text(printable(finding.hint), "dim"), (0, 0, 0, 2)))
    console.print(Padding(grid, (0, 0, 0, indent), expand=False))


def print_line(console: Console | None, line: str) -> None:
    if console is None:
        print(line)
    else:
        console.print(line, soft_wrap=True)


def print_title(console: Console | None, title: str) -> None:
    if console is None:
        print(printable(title), flush=True)
    else:
        console.print(printable(title), style="bold")


def shortened(names: Sequence[str]) -> str:
    """Names in a line; if there are many, only the first."""
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} others"


def print_plain(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns, the last one of any length."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    for row in (headings, *rows):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
