"""Words for people: a text from outside made fit for one line, a length of time said in one unit."""

from __future__ import annotations

from datetime import timedelta


def one_line(text: str | bytes, limit: int = 200) -> str:
    """The first line of `text` that says something, without control characters, cut at `limit` characters."""
    if isinstance(text, bytes):
        text = text[: limit * 16].decode("utf-8", "replace")
    for line in text.splitlines():
        clean = "".join(char if char.isprintable() else " " for char in line).strip()
        if clean:
            return clean if len(clean) <= limit else clean[: limit - 1] + "…"
    return ""


def span(time: timedelta) -> str:
    """A length of time in one unit, cut off: `40 s`, `15 min`, `6 h`, `30 d`, `12 y`."""
    seconds = int(abs(time).total_seconds())
    for size, unit, least in ((31_557_600, "y", 2), (86_400, "d", 2), (3600, "h", 2), (60, "min", 2)):
        if seconds >= size * least:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
