"""Guesses for messages: what a wrong value was perhaps meant to be."""

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
    """The hint for a name without a kind, or with another word for it, for example as OpenSSL prints it."""
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


_PAIR = r"[A-Za-z][A-Za-z0-9.]*=[^=,+\\\"<>;#]+"


def likely_subject(text: str) -> str:
    """The hint for a subject not in RFC 4514 form: as OpenSSL prints it (spaces, slashes), or a name alone."""
    parts = re.split(r"/(?=\w+\s*=)" if text.startswith("/") else r"\s*[,;]\s*", text.strip().removeprefix("/"))
    pairs = [re.sub(r"\s*=\s*", "=", part.strip()) for part in parts]
    if all(re.fullmatch(_PAIR, pair) for pair in pairs):
        if pairs[-1].upper().startswith("CN="):
            pairs.reverse()  # OpenSSL begins with the country
        return f"did you mean {','.join(pairs)}?"
    return f"did you mean CN={text}?" if re.fullmatch(r"[\w*.-]+", text) else "write e.g. CN=web.example.net,O=Example"


_LENGTH = r"([0-9]{1,6}) *(?:(s)(?:ec(?:ond)?s?)?|(m)(?:in(?:ute)?s?)?|(h)(?:rs?|ours?)?|(d)(?:ays?)?)?"


def likely_duration(text: str) -> str:
    """The hint for an invalid duration: `30 days`, or a number without a unit."""
    found = re.fullmatch(_LENGTH, text.strip().lower())
    if found is None:
        return "write e.g. 90s, 15m, 6h or 30d"
    number, *units = found.groups()
    unit = next(filter(None, units), "")
    return f"did you mean {number}{unit}?" if unit else f"add a unit: {number}s, {number}m, {number}h or {number}d"


def likely_threshold(text: str) -> str:
    """The hint for something that is neither a share of a lifetime nor a time before its end."""
    if re.fullmatch(r"[0-9]{1,2}", text):
        return f"write {text}% or {text}d"
    hint = likely_duration(text)
    return hint if hint.startswith("did you mean") else "write e.g. 66% or 30d"


def url_fault(text: str) -> str:
    """What is wrong with a URL, worded to follow its key; empty if that is not known."""
    if not re.match(r"https?://", text, re.IGNORECASE):
        other = re.match(r"(\w+)://", text)
        return (
            f"begins with {other[0]}, not http:// or https://" if other else "does not begin with http:// or https://"
        )
    if "@" in text.partition("://")[2].partition("/")[0]:
        return "contains a user or password, which anybody could read here"
    for mark, what in (("?", "a query"), ("#", "a fragment")):
        if mark in text:
            return f"contains {what} ({mark}…), but certagent adds its own"
    return "contains a space" if re.search(r"\s", text) else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint: the known word most similar to `word`, or else all of them."""
    known = sorted(known)
    if close := closest(word, known):
        return f"did you mean {close}?"
    return f"known here: {', '.join(known)}" if known else "none are defined"


def one_of(word: str, known: Iterable[str]) -> str:
    """A hint for a message that has already listed all of them."""
    known = tuple(known)
    if re.match(r"mlkem|kyber|x25519|x448", _bare(word)):
        return "such a key only receives secrets, but a key has to sign the request for its certificate"
    same = next((each for each in known if _bare(word).startswith(_bare(each))), "")  # AES-128 means aes
    return f"did you mean {close}?" if (close := same or closest(word, known)) else "write one of them"


def _bare(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that was perhaps meant; empty if none is similar. Never one that differs only in its numbers."""
    import difflib  # noqa: PLC0415  a file without faults needs no guesses

    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(word[:64].lower(), by_lower, 1)
    if not close:
        return ""
    another_number = close[0] != word.lower() and _NUMBERS.sub("#", close[0]) == _NUMBERS.sub("#", word.lower())
    return "" if another_number else by_lower[close[0]]


_NUMBERS = re.compile(r"\d+")
