"""What was meant, perhaps, by a value that is wrong: words for its message."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

EXAMPLES = {
    "dns": "web.example.net",
    "ip": "192.0.2.7",
    "email": "ops@example.net",
    "uri": "urn:example:web",
    "upn": "web@corp.example",
}
KINDS = tuple(EXAMPLES)


def likely_name(text: str) -> str:
    """The hint for a name whose kind is not said, or in other words: as OpenSSL prints it, for one."""
    word, parted, rest = text.partition(":")
    kind = {"ip address": "ip", "othername": "upn", "url": "uri", "mail": "email"}.get(word.lower(), word.lower())
    value, kind = (rest.strip(), kind) if parted and kind in KINDS else (text.strip(), "")
    try:
        kind = kind or ("ip" if ipaddress.ip_address(value) else "")
    except ValueError:
        kind = "email" if "@" in value else "dns" if re.fullmatch(r"[A-Za-z0-9*_.-]+", value) else ""
    if kind and re.fullmatch(r"\S+", value):
        return f"did you mean {kind}:{value}?"
    return "write dns:, ip:, email:, uri: or upn: and the name"


def url_fault(text: str) -> str:
    """What is wrong with a URL, to follow its key; empty where that is not known."""
    if not re.match(r"https?://", text, re.IGNORECASE):
        other = re.match(r"(\w+)://", text)
        return (
            f"begins with {other[0]}, not http:// or https://" if other else "does not begin with http:// or https://"
        )
    if "@" in text.partition("://")[2].partition("/")[0]:
        return "holds a user or a password, which would stand in the open here"
    for mark, what in (("?", "a query"), ("#", "a fragment")):
        if mark in text:
            return f"holds {what} ({mark}…), and certagent adds its own"
    return "holds a blank" if re.search(r"\s", text) else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint: the known word most like `word`, else all of them."""
    known = sorted(known)
    if close := closest(word, known):
        return f"did you mean {close}?"
    return f"known here: {', '.join(known)}" if known else "none is defined"


def one_of(word: str, known: Iterable[str]) -> str:
    """A hint where all of them were told already."""
    return f"did you mean {close}?" if (close := closest(word, known)) else "write one of them"


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that was meant, perhaps; empty if none is like it. Not one that differs in its numbers alone."""
    import difflib  # noqa: PLC0415  a file without faults needs no guesses

    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(word[:64].lower(), by_lower, 1)
    if not close:
        return ""
    another_number = close[0] != word.lower() and _NUMBERS.sub("#", close[0]) == _NUMBERS.sub("#", word.lower())
    return "" if another_number else by_lower[close[0]]


_NUMBERS = re.compile(r"\d+")
