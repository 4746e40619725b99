"""Text that came from the network, made fit for one line of a log."""

from __future__ import annotations


def one_line(text: str | bytes, limit: int = 200) -> str:
    """The first line of `text` that says something, without control characters, cut at `limit` characters."""
    if isinstance(text, bytes):
        text = text[: limit * 16].decode("utf-8", "replace")
    for line in text.splitlines():
        clean = "".join(char if char.isprintable() else " " for char in line).strip()
        if clean:
            return clean if len(clean) <= limit else clean[: limit - 1] + "…"
    return ""
