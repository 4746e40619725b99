"""`certagent status`: what is in place, and what happens next."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from certagent.cli import assemble, runner
from certagent.cli.terminal import (
    EARLY_HINT,
    EXPOSED_HINT,
    PACE_HINT,
    WIDE,
    Finding,
    Mark,
    indented,
    print_findings,
    print_line,
    print_plain,
    shortened,
    terminal,
)
from certagent.config.load import load_configuration
from certagent.host import identifier
from certagent.policy import Action, Condition, Lifetime
from certagent.state import LastError
from certagent.status.as_json import as_json
from certagent.status.crls import CrlStatus, take_crls
from certagent.status.crls import as_json as crls_as_json
from certagent.status.ladder import ladders
from certagent.status.rollover import RolloverStatus
from certagent.status.runner import Runner, look
from certagent.status.snapshot import Snapshot, take_snapshots
from certagent.text import ahead, date, ends, printable, short_date, span, when
from certagent.transaction.next_step import Assessment, at_once

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = {
    Condition.VALID: "green",
    Condition.DUE: "yellow",
    Condition.PENDING: "cyan",
    Condition.STAGED: "cyan",
    Condition.MISSING: "magenta",
    Condition.FAILED: "bold red",
    Condition.EXPIRED: "bold red",
    Condition.NOT_YET_VALID: "bold red",
    Condition.REVOKED: "bold red",
}
_ACTIONS = {Action.HOOKS: "run hooks"}


def status(arguments: argparse.Namespace) -> int:
    configuration = load_configuration(arguments.config)
    now = assemble.clock()
    names = assemble.chosen(configuration, arguments.names)
    taken = take_snapshots(configuration, now=now, host=identifier(), names=names, debug=arguments.debug)
    running = look(Path(configuration.state_dir))
    if arguments.json:
        crls = take_crls(configuration, now, arguments.names or None)
        more = {"crls": crls_as_json(crls, now)} if crls else {}
        print(indented({**as_json(taken), **more, "runner": runner.as_json(running)}))
        return 0
    console = terminal()
    if not taken:
        print(f"no keystores are configured in {arguments.config}")
        return 0
    crls = take_crls(configuration, now, arguments.names or None)
    show(console, taken, crls, running, now, whole=bool(arguments.names))
    return 0


def show(
    console: Console | None,
    taken: Sequence[Snapshot],
    crls: Sequence[CrlStatus],
    running: Runner,
    now: datetime,
    *,
    whole: bool = False,
) -> None:
    """Print it for people. `whole`: with each keystore's rollover."""
    rows = [_row(each, now) for each in taken]
    if console is None:
        print_plain(_HEADINGS, [(row.name, row.state, row.left, row.next, row.subject) for row in rows])
    else:
        _print_table(console, rows)
    print_line(console, "")
    if whole:
        for each in taken:
            if each.rollover is not None:
                print_findings(console, [Finding(Mark.FINE, f"{each.name}: rollover to the next CA")])
                _print_rollover(console, rollover_rows(each, each.rollover, now))
    else:
        print_findings(console, staged(taken, now))
    print_findings(console, waiting(taken))
    print_findings(console, ways_back(taken, now))
    print_findings(console, crl_findings(crls, now))
    print_findings(console, notices(taken, now))
    print_findings(console, runner.findings(running, now))
    print_line(console, _summary(taken))


class _Row(Struct, frozen=True):
    name: str
    subject: str
    condition: Condition
    share: float
    left: str
    next: str
    date: str

    @property
    def state(self) -> str:
        return self.condition.value


_HEADINGS = ("KEYSTORE", "STATE", "LEFT", "NEXT", "SUBJECT")


def _row(it: Snapshot, now: datetime) -> _Row:
    lifetime = it.certificate.lifetime if it.certificate else None
    return _Row(
        name=it.name,
        subject=printable(it.certificate.subject) if it.certificate else "–",
        condition=it.assessment.condition,
        share=lifetime.remaining_share(now) if lifetime else 0.0,
        left="–" if lifetime is None else "none" if lifetime.not_after <= now else span(lifetime.remaining(now)),
        next=_next(it.assessment, now),
        date=_date(it.assessment, now),
    )


def _next(coming: Assessment, now: datetime) -> str:
    if coming.action is None or coming.at is None:
        return "–"
    word = "activate" if coming.waits and coming.action is Action.RESUME else coming.action.value
    return f"{_ACTIONS.get(coming.action, word)} {ahead(coming.at, now)}"


def _date(coming: Assessment, now: datetime) -> str:
    """The moment itself; empty if it is now."""
    return short_date(coming.at, now) if coming.action and coming.at and coming.at > now else ""


def staged(taken: Iterable[Snapshot], now: datetime) -> list[Finding]:
    """The shadows that wait for a next CA; those that share a CA and its time are in one line."""
    shared: dict[tuple[str, datetime], list[str]] = {}
    for each in taken:
        found = each.rollover
        if found is not None and found.next_ca is not None and found.switch_at is not None:
            shared.setdefault((found.next_ca.subject, found.switch_at), []).append(each.name)
    return [
        Finding(Mark.FINE, f"{shortened(names)}: a shadow under {subject} takes over {when(at, now)}")
        for (subject, at), names in shared.items()
    ]


def waiting(taken: Iterable[Snapshot]) -> list[Finding]:
    """Keystores that wait for a window of `activate_in`; those that wait for the same are in one line."""
    shared: dict[str, list[str]] = {}
    for each in taken:
        if each.assessment.waits:
            shared.setdefault(each.assessment.reason, []).append(each.name)
    return [
        Finding(Mark.FINE, f"{shortened(names)}: {reason} ({at_once(names[0])})") for reason, names in shared.items()
    ]


def ways_back(taken: Iterable[Snapshot], now: datetime) -> list[Finding]:
    """How each comes to a certificate without one that renews it; those with the same ways are in one line."""
    shared = ladders(taken, now)
    return [Finding(Mark.FINE, f"{shortened(names)}: {line}") for line, names in shared.items()]


def crl_findings(crls: Iterable[CrlStatus], now: datetime) -> list[Finding]:
    """A line for the CRLs of each authority, and one for what went wrong with them."""
    found = []
    for each in crls:
        many = "CRL" if len(each.known.issues) <= 1 else f"{len(each.known.issues)} CRLs"
        again = f"next fetch {ahead(each.next_fetch(now), now)}"
        if each.ran_out(now):
            found.append(Finding(Mark.WRONG, f"{each.authority}: its CRL expired {_ago(each.ends, now)}; {again}"))
        elif each.known.issues:
            until = f"fresh for {span(each.ends - now)}" if each.ends else "which says nothing of its end"
            found.append(Finding(Mark.FINE, f"{each.authority}: {many}, {until}; {again}"))
        elif not each.errors:
            found.append(Finding(Mark.WARNING, f"{each.authority}: no CRL was fetched yet"))
        found += [Finding(Mark.WRONG, f"{each.authority}: {error.message}", error.hint) for error in each.errors]
    return found


def _ago(moment: datetime | None, now: datetime) -> str:
    return f"{span(now - moment)} ago" if moment is not None else ""


def rollover_rows(it: Snapshot, found: RolloverStatus, now: datetime) -> list[tuple[str, str]]:
    """The rollover of one keystore, from the identity in place to the previous CAs: a word, and its text."""
    rows, retry_at = [], it.situation.rollover_past.retry_at
    if it.certificate is not None:
        rows.append(("identity", f"{it.certificate.serial}, {ends(it.certificate.lifetime.not_after, now)}"))
    if found.ca is not None:
        rows.append(("CA", f"{found.ca.subject}, {ends(found.ca.lifetime.not_after, now)}"))
        rows.append(("", found.ca.fingerprint))
    if found.next_ca is None and found.begins_at is not None:
        late = ": none is known, and the CA expires soon" if found.late(now) else ""
        again = "asked for again" if retry_at else "asked for"
        rows.append(("next CA", f"{again} {when(max(found.begins_at, retry_at or now), now)}{late}"))
    if found.next_ca is not None:
        rows.append(("next CA", f"{found.next_ca.subject}, {_from_until(found.next_ca.lifetime, now)}"))
        rows.append(("", f"{found.next_ca.fingerprint}{f', {found.next_ca.proof}' if found.next_ca.proof else ''}"))
    if found.shadow is not None:
        rows.append(("shadow", f"{found.shadow.serial}, {_from_until(found.shadow.lifetime, now)}"))
    elif found.phase is not None:
        rows.append(("shadow", f"in preparation: {found.phase}"))
    if found.switch_at is not None:
        rows.append(("switch", when(found.switch_at, now)))
    for ca in found.old:
        renewed = ", renewed with its key" if ca.renewed else ""
        rows.append(("old CA", f"{ca.subject}, trusted until {date(ca.lifetime.not_after, now)}{renewed}"))
    return rows


def _from_until(lifetime: Lifetime, now: datetime) -> str:
    return f"from {date(lifetime.not_before, now)}, {ends(lifetime.not_after, now)}"


def _print_rollover(console: Console | None, rows: Sequence[tuple[str, str]]) -> None:
    if console is None:
        for word, text in rows:
            print(f"    {word:<9} {printable(text)}")
        return
    from rich.padding import Padding  # noqa: PLC0415 -- as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    grid = Table.grid(padding=(0, 2, 0, 0))
    for word, text in rows:
        grid.add_row(Text(word, "bold"), Text(printable(text), "" if word else "dim", overflow="fold"))
    console.print(Padding(grid, (0, 0, 0, 4), expand=False))


def notices(taken: Iterable[Snapshot], now: datetime) -> list[Finding]:
    """What does not fit into the table: errors with their hints, each once, however many keystores share it."""
    errors: dict[tuple[str, str], list[tuple[str, LastError]]] = {}
    found = []
    for each in taken:
        if each.last_error is not None:
            key = (each.last_error.message, each.last_error.hint)
            errors.setdefault(key, []).append((each.name, each.last_error))
        elif each.assessment.action is None:
            hint = "set `subject` or `san` in its definition, or put key and certificate in place"
            found.append(
                Finding(Mark.WARNING, f"{each.name}: {each.assessment.reason}", "" if each.certificate else hint)
            )
        if each.assessment.condition is Condition.NOT_YET_VALID and each.certificate is not None:
            begins = date(each.certificate.lifetime.not_before, now)
            found.append(
                Finding(Mark.WRONG, f"{each.name}: the certificate in place is not valid before {begins}", EARLY_HINT)
            )
        if each.lacks:
            words = ", ".join(lack.word for lack in each.lacks)
            found.append(Finding(Mark.WARNING, f"{each.name}: the certificate lacks {words}, which was requested"))
        if each.renew_at_note:
            found.append(Finding(Mark.WARNING, f"{each.name}: {each.renew_at_note}"))
        found += [Finding(Mark.WARNING, f"{each.name}: {note}", PACE_HINT) for note in each.pace_notes]
        found += [Finding(Mark.WARNING, f"{each.name}: {note}", EXPOSED_HINT) for note in each.exposed]
    for (message, hint), concerned in errors.items():
        ago = now - max(error.at for _, error in concerned)
        since = f" ({span(ago)} ago)" if ago >= timedelta(seconds=1) else ""
        found.append(Finding(Mark.WRONG, f"{shortened([name for name, _ in concerned])}: {message}{since}", hint))
    return found


def _summary(taken: Sequence[Snapshot]) -> str:
    counts = Counter(each.assessment.condition for each in taken)
    many = "1 keystore" if len(taken) == 1 else f"{len(taken)} keystores"
    return f"{many}: {', '.join(f'{counts[word]} {word}' for word in Condition if counts[word])}"


def _print_table(console: Console, rows: Sequence[_Row]) -> None:
    """Fits any width: first the subjects are shortened, then they are left out."""
    from rich.table import Table  # noqa: PLC0415 -- loaded only to show this to people
    from rich.text import Text  # noqa: PLC0415

    wide = console.width >= WIDE
    bar = 20 if wide else 10
    name, left, state_, next_, date = (
        max(len(text) for text in texts)
        for texts in zip(*((row.name, row.left, row.state, row.next, row.date) for row in rows), strict=True)
    )
    rest = console.width - sum(width + 2 for width in (bar, left, state_, next_, date if wide else 0))
    name = max(8, min(name, 40 if wide else 24, rest))
    room = rest - name - 2
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("keystore", no_wrap=True, width=name)
    if room >= 10:
        table.add_column("subject", no_wrap=True, max_width=room)
    table.add_column("life left", no_wrap=True, width=bar)
    table.add_column("", no_wrap=True, width=left, justify="right")
    table.add_column("state", no_wrap=True, width=max(state_, 5))
    table.add_column("next", no_wrap=True, width=next_)
    if wide:
        table.add_column("", no_wrap=True, style="dim")
    for row in rows:
        table.add_row(
            Text(row.name, "bold"),
            *([Text(row.subject)] if room >= 10 else []),
            _bar(row, bar),
            Text(row.left),
            Text(row.state, _STYLES[row.condition]),
            Text(row.next),
            *([Text(row.date)] if wide else []),
        )
    console.print(table)


def _bar(row: _Row, width: int) -> Text:
    """The rest of the life, as a bar from the left; a valid certificate always shows at least a trace."""
    from rich.text import Text  # noqa: PLC0415 -- as above

    halves = max(round(row.share * width * 2), 1 if row.share else 0)
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    return Text.assemble((filled, _STYLES[row.condition]), ("─" * (width - len(filled)), "dim"))
