"""A server's answer as text for people: text in any encoding, or a web page without its tags. Pure.

Everything is read in one pass, and only the first 64 KiB: the server has not proven anything yet.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from certagent.text import one_line

_MOST = 64 * 1024  # bytes
_ENOUGH = 16  # bytes needed to recognise UTF-16
_LONGEST = 300  # characters of a page that are shown
_BYTE_ORDERS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_TAG = re.compile(r"/?[A-Za-z][A-Za-z0-9]*")
_UNSEEN = frozenset({"script", "style"})
_IN_A_LINE = frozenset({"a", "abbr", "b", "code", "em", "font", "i", "kbd", "small", "span", "strong", "tt", "u"})
_COMMENT = "!--"


def decoded(body: bytes) -> str:
    """The text: by its byte order mark, as UTF-16 if every other byte at the start is zero, or as UTF-8."""
    head = body[:_MOST]
    for mark, encoding in _BYTE_ORDERS:
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, "replace")
    for at, encoding in enumerate(("utf-16-be", "utf-16-le")):
        zeros = head[at:_ENOUGH:2]
        if len(zeros) > 1 and not any(zeros):
            return head.decode(encoding, "replace")
    return head.decode("utf-8", "replace")


def is_page(body: bytes) -> bool:
    """Whether it is a web page, or other text in tags, and not plain text."""
    return decoded(body).lstrip().startswith("<")


def lines(body: bytes) -> list[str]:
    """The lines of a text, or of a page as a browser shows it; without the empty ones."""
    text = decoded(body)
    shown = "".join(_shown(text)) if text.lstrip().startswith("<") else text
    return [line for each in shown.splitlines() if (line := " ".join(each.split()))]


def told(body: bytes) -> str:
    """One printable line for people: the first line of a text, or the words of a page, no line twice; or empty."""
    if not is_text(body):
        return ""
    if not is_page(body):
        return one_line(decoded(body))
    said: list[str] = []
    for line in lines(body):
        if sum(map(len, said)) > _LONGEST:
            break
        if any(character.isalnum() for character in line) and not any(line in each for each in said):
            said.append(line)
    return one_line(" · ".join(said), _LONGEST)


def is_text(body: bytes) -> bool:
    """Whether a person can read most of it. A CA's DER, for example, is not text."""
    start = decoded(body)[:_LONGEST]
    legible = sum((each.isprintable() and each != "\N{REPLACEMENT CHARACTER}") or each.isspace() for each in start)
    return legible * 10 >= len(start) * 8 > 0


def _shown(page: str) -> Iterator[str]:
    """The text between the tags; tags that end a line become a newline."""
    import html  # noqa: PLC0415 -- two thousand names of characters, and few answers are pages

    before, *parts = page.split("<")
    yield html.unescape(before)
    unseen = ""  # what is being skipped: an element's name, or a comment
    for part in parts:
        if unseen == _COMMENT or part.startswith(_COMMENT):
            _, closed, text = part.partition("-->")
            unseen = "" if closed else _COMMENT
            yield html.unescape(text)
            continue
        found = _TAG.match(part)
        name = found[0].lower() if found else ""
        if unseen:
            unseen = "" if name == f"/{unseen}" else unseen
            continue
        if name in _UNSEEN:
            unseen = name
        yield "" if name.removeprefix("/") in _IN_A_LINE else "\n"
        if not unseen:
            yield html.unescape(part.partition(">")[2])
