"""`certagent plan --svg`: the forecast as a picture. Pure.

A row per keystore: the certificate in use, how long each one stays valid after its successor took over, and what
happens when.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

from msgspec import Struct

from certagent.policy import Condition
from certagent.status.forecast import Event, What
from certagent.status.snapshot import Snapshot
from certagent.text import printable, stamp

WIDTH, NAMES, EDGE, TOP, LANE, FOOT = 960, 170, 24, 70, 44, 44
LETTER = 7.2
"""Pixels that a letter takes at most, on average, at a font size of 12; smaller text in proportion."""

_CAS = ("#2563eb", "#9333ea", "#0d9488")  # under one CA, under the next …
_GREEN, _AMBER, _RED, _GREY = "#15803d", "#b45309", "#dc2626", "#64748b"
_SIGNS = {
    What.AND_SO_ON: ("…", _GREY),
    What.HOOKS: ("↻", _AMBER),
    What.RESUME: ("↻", _AMBER),
    What.POLL: ("?", _AMBER),
    What.RENEW: ("●", _GREEN),
    What.ENROLL: ("●", _GREEN),
    What.ROLLOVER: ("○", _GREEN),
    What.CA_EXPIRES: ("┃", _AMBER),
    What.SWITCH: ("◆", _CAS[1]),
    What.EXPIRES: ("✗", _RED),
}
_RANK = list(_SIGNS)
_FONT = 'font-family="sans-serif" font-size="12"'
_LAST_YEAR = 9999
_WITHOUT = (Condition.EXPIRED, Condition.MISSING, Condition.NOT_YET_VALID, Condition.REVOKED)
_WORDS = {What.HOOKS: "run hooks", What.SWITCH: "switch to the next CA", What.EXPIRES: "expires without a successor"}


class Span(Struct, frozen=True):
    """A certificate in use from `begin` to `end`, valid until `valid_until`; `ca` counts the CAs."""

    begin: datetime
    end: datetime
    valid_until: datetime
    ca: int
    assumed: bool


def spans(it: Snapshot, events: Sequence[Event], now: datetime, until: datetime) -> list[Span]:
    """The certificates of one keystore, in order; there is none where it has none, or an expired one."""
    found: list[Span] = []
    begin, ca, assumed = now, 0, False
    ends = it.certificate.lifetime.not_after if it.certificate is not None else None
    for event in events:
        if event.ends is None or (event.ends == ends and event.what is not What.SWITCH):
            continue
        if ends is not None and ends > begin:
            found.append(Span(begin, min(event.at, ends), ends, ca, assumed))
        begin, ends, assumed = event.at, event.ends, event.assumed or event.what is not What.SWITCH
        ca += event.what is What.SWITCH
    if ends is not None and ends > begin:
        found.append(Span(begin, min(ends, until), ends, ca, assumed))
    return found


def drawing(taken: Sequence[Snapshot], events: Sequence[Event], now: datetime, until: datetime) -> str:
    """The SVG, in ASCII. Its description holds every event in words."""
    height = TOP + LANE * len(taken) + FOOT
    heading = f"certagent plan, {stamp(now, now)[:16]} to {stamp(until, now)[:16]} UTC"
    told = [f"{stamp(each.at, now)} {each.keystore}: {_words(each)}. {each.detail}" for each in events]
    scale = _Scale(now, until)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc" {_FONT}>',
        f'<title id="title">{_escaped(heading)}</title>',
        f'<desc id="desc">{_escaped("; ".join(told) or "nothing is expected")}</desc>',
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        _text(EDGE, 26, heading, size=14, fill="#0f172a"),
        *_axis(scale, height - FOOT),
    ]
    for number, it in enumerate(taken):
        mine = [each for each in events if each.keystore == it.name]
        parts += _lane(it, mine, scale, TOP + LANE * number)
    text = "\n".join([*parts, *_legend(events, height - 16), "</svg>"]) + "\n"
    return text.encode("ascii", "xmlcharrefreplace").decode()


class _Scale:
    """From time to pixels."""

    def __init__(self, now: datetime, until: datetime) -> None:
        self.now, self.until = now, until

    def x(self, moment: datetime) -> float:
        share = (moment - self.now) / (self.until - self.now)
        return NAMES + min(1.0, max(0.0, share)) * (WIDTH - EDGE - NAMES)

    def label(self, moment: datetime) -> str:
        whole = self.until - self.now
        form = "%H:%M:%S" if whole < timedelta(hours=1) else "%H:%M" if whole < timedelta(days=2) else "%d %b"
        return f"{moment:{form}}" if whole < timedelta(days=700) else f"{moment:%b %Y}"

    def ticks(self) -> list[datetime]:
        """Round moments, at most nine."""
        whole = self.until - self.now
        steps = (*(timedelta(seconds=each) for each in _STEPS), *(timedelta(days=each) for each in (1, 2, 7, 14)))
        step = next((each for each in steps if whole / each <= 8), None)
        return list(self._even(step) if step else self._months())

    def _even(self, step: timedelta) -> Iterator[datetime]:
        start = datetime(self.now.year, 1, 1, tzinfo=UTC)
        number = (self.now - start) // step + 1
        while (at := start + number * step) <= self.until:
            yield at
            number += 1

    def _months(self) -> Iterator[datetime]:
        count = (self.until - self.now) / timedelta(days=30)
        step = next(each for each in _MONTHS if count / each <= 8)
        month = self.now.year * 12 + self.now.month
        for number in range((month + step - 1) // step * step, 12 * _LAST_YEAR, step):
            at = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
            if at > self.until:
                return
            if at > self.now:
                yield at


_STEPS = (1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600)  # s
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 2400, 6000, 12000, 120_000)


def _axis(scale: _Scale, bottom: int) -> Iterator[str]:
    for at in scale.ticks():
        x, label = scale.x(at), scale.label(at)
        yield f'<path d="M{x:.1f} {TOP - 14}V{bottom}" stroke="#e2e8f0"/>'
        yield _text(_within(x, label, 11), TOP - 20, label, size=11, fill=_GREY, anchor="middle")


def _lane(it: Snapshot, events: Sequence[Event], scale: _Scale, top: int) -> Iterator[str]:
    middle = top + 28
    yield f"<g><title>{_escaped(it.name)}: {_escaped(it.assessment.condition.value)}</title>"
    yield _text(EDGE, middle + 4, _shortened(it.name, NAMES - EDGE - 12), fill="#0f172a")
    yield _dots(NAMES, WIDTH - EDGE, middle, _GREY)
    there = spans(it, events, scale.now, scale.until)
    if it.assessment.condition in _WITHOUT:
        yield _dots(NAMES, scale.x(there[0].begin) if there else WIDTH - EDGE, middle, _RED)
    yield from (_dots(scale.x(each.at), WIDTH - EDGE, middle, _RED) for each in events if each.what is What.EXPIRES)
    for each in there:
        left, right, colour = scale.x(each.begin), scale.x(each.end), _CAS[each.ca % len(_CAS)]
        still = scale.x(min(each.valid_until, scale.until))
        if still > right:
            yield f'<rect x="{right:.1f}" y="{middle + 7}" width="{still - right:.1f}" height="3" fill="{colour}"/>'
        opacity = ' opacity="0.55"' if each.assumed else ""
        yield f'<rect x="{left:.1f}" y="{middle - 6}" width="{right - left:.1f}" height="12" fill="#ffffff"/>'
        yield (
            f'<rect x="{left:.1f}" y="{middle - 5}" width="{right - left:.1f}" height="10" rx="2" '
            f'fill="{colour}"{opacity}/>'
        )
    for event in sorted(events, key=lambda each: _RANK.index(each.what)):
        yield _sign(event, scale, middle)
    yield from _dates(events, scale, middle - 13)
    yield "</g>"


def _dots(left: float, right: float, y: int, colour: str) -> str:
    """Where no certificate is known; in red, where none is valid."""
    return f'<path d="M{left:.1f} {y}H{right:.1f}" stroke="{colour}" stroke-width="1.5" stroke-dasharray="2 4"/>'


def _sign(event: Event, scale: _Scale, middle: int) -> str:
    x, (_, colour) = scale.x(event.at), _SIGNS[event.what]
    of_ca = _RED if event.bad else _AMBER
    shape = {
        What.SWITCH: f'<path d="M{x:.1f} {middle - 9}l9 9l-9 9l-9 -9z" fill="{colour}" stroke="#ffffff"/>',
        What.EXPIRES: f'<path d="M{x - 6:.1f} {middle - 6}l12 12m0 -12l-12 12" stroke="{_RED}" stroke-width="3"/>',
        What.CA_EXPIRES: f'<path d="M{x:.1f} {middle - 9}v18" stroke="{of_ca}" stroke-width="3"/>',
    }.get(event.what)
    shape = shape or f'<circle cx="{x:.1f}" cy="{middle}" r="6" fill="{colour}" stroke="#ffffff" stroke-width="1.5"/>'
    what = f"{stamp(event.at, scale.now)} UTC: {_words(event)}. {event.detail}"
    return f"<g><title>{_escaped(what)}</title>{shape}</g>"


def _dates(events: Sequence[Event], scale: _Scale, y: int) -> Iterator[str]:
    """The dates above the signs, as far as there is room; the most important ones first."""
    taken: list[tuple[float, float]] = []
    for event in sorted(events, key=lambda each: (-_RANK.index(each.what), each.at)):
        label = scale.label(event.at)
        x, half = _within(scale.x(event.at), label, 10), len(label) * LETTER * 10 / 24
        if all(x + half < left or right < x - half for left, right in taken):
            taken.append((x - half - 4, x + half + 4))
            yield _text(x, y, label, size=10, fill=_GREY, anchor="middle")


def _legend(events: Sequence[Event], y: int) -> Iterator[str]:
    entries = [("▬", _CAS[0], "in use"), ("▬", "#9db9f5", "assumed"), ("▁", _CAS[0], "replaced, still valid")]
    entries += [(*_SIGNS[what], _WORDS.get(what, what.value)) for what in _RANK if any(e.what is what for e in events)]
    x = float(EDGE)
    for sign, colour, words in entries:
        if x + len(words) * LETTER * 11 / 12 + 16 > WIDTH - EDGE:
            return
        yield _text(x, y, sign, size=11, fill=colour)
        yield _text(x + 16, y, words, size=11, fill=_GREY)
        x += len(words) * LETTER * 11 / 12 + 30


def _words(event: Event) -> str:
    return _WORDS.get(event.what, event.what.value)


def _within(x: float, label: str, size: int) -> float:
    """The middle of a label near `x` that stays inside the picture."""
    half = len(label) * LETTER * size / 24
    return min(WIDTH - half - 2, max(half, x))


def _shortened(text: str, width: float) -> str:
    most = int(width / LETTER)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _text(x: float, y: float, text: str, *, size: int = 12, fill: str, anchor: str = "") -> str:
    how = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" fill="{fill}"{how}>{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return escape(printable(text, 20000))
