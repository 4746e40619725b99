"""Words for people: makes outside text fit for one line; durations and moments. Pure.

Moments are aware and in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

ISO = "%Y-%m-%dT%H:%M:%SZ"
"""For `strftime`, with four-digit years, as a log writes them."""

_A_DAY = timedelta(hours=20)  # less than one: the same time tomorrow would be ambiguous


def one_line(text: str | bytes, limit: int = 200) -> str:
    """The first line of `text` that is not blank, without control characters, cut at `limit` characters."""
    if isinstance(text, bytes):
        text = text[: limit * 16].decode("utf-8", "replace")
    for line in text.splitlines():
        clean = "".join(char if char.isprintable() else " " for char in line).strip()
        if clean:
            return clean if len(clean) <= limit else clean[: limit - 1] + "…"
    return ""


def with_hint(message: str, hint: str | None) -> str:
    """What is wrong and what to do about it, in one line."""
    return f"{message}; {hint}" if hint else message


def printable(text: str, limit: int = 2000) -> str:
    """All of `text` in one line, cut at `limit` characters: what a terminal or log might interpret becomes `·`.

    That covers line breaks, escapes, and the marks that change the direction of writing. Every text from
    outside goes through here before it is shown, logged, kept in a history or handed to a hook.
    """
    clean = text[: limit + 1]
    if not clean.isprintable():
        clean = "".join(char if char.isprintable() else "·" for char in clean)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def span(time: timedelta) -> str:
    """A duration in one unit, rounded down: `40 s`, `15 min`, `6 h`, `30 d`, `12 y`."""
    seconds = int(abs(time).total_seconds())
    for size, unit in ((31_557_600, "y"), (86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC to the second, as every file and command of certagent writes times for programs."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def stamp(moment: datetime, now: datetime) -> str:
    """A moment below a heading that says UTC: to the second if near `now`, else to the minute."""
    return str(moment)[: len("2027-01-20 12:00:00" if _is_near(moment, now) else "2027-01-20 12:00")]


def date(moment: datetime, now: datetime) -> str:
    """`2027-01-20`; near `now` to the second: `2026-12-01 12:00:00 UTC`."""
    return f"{stamp(moment, now)} UTC" if _is_near(moment, now) else str(moment.date())


def short_date(moment: datetime, now: datetime) -> str:
    """`2027-01-20`, or only the time if it is within 20 hours: `12:00:00 UTC`."""
    return f"{moment:%H:%M:%S} UTC" if abs(moment - now) < _A_DAY else str(moment.date())


def ahead(moment: datetime, now: datetime) -> str:
    """How far away a moment is: `in 5 h`, or `now` if it has passed."""
    return "now" if moment <= now else f"in {span(moment - now)}"


def when(moment: datetime, now: datetime) -> str:
    """`now`, `at 14:20:00 UTC (in 5 h)` or `on 2027-01-20 (in 60 d)`."""
    if moment <= now:
        return "now"
    preposition = "at" if moment - now < _A_DAY else "on"
    return f"{preposition} {short_date(moment, now)} ({ahead(moment, now)})"


def ends(not_after: datetime, now: datetime) -> str:
    """When a certificate ends: `until 2027-01-20 (60 d)`, or `expired on 2026-11-20 (5 d ago)`."""
    if not_after > now:
        return f"until {date(not_after, now)} ({span(not_after - now)})"
    preposition = "at" if _is_near(not_after, now) else "on"
    return f"expired {preposition} {date(not_after, now)} ({span(now - not_after)} ago)"


def _is_near(moment: datetime, now: datetime) -> bool:
    return abs(moment - now) < timedelta(days=2)
