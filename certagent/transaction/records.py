"""The format of a journal: one JSON document, to which each record is appended with a single write. Pure.

    {"version":2,"records":[
    ["SHA-256 OF THE RECORD",{…}],
    ["SHA-256 OF THE RECORD",{…}]
    ]}

The last record counts. The end, `]}`, is written again behind each, so the file is always valid JSON: a release that
does not know the format reads its version, and says so.

A record that is not whole was never acknowledged, so whatever relies on it has not been done: the one before it counts.
A power cut leaves that only at the end, cut short or with zeros where a file system had made room. Anything else that
does not add up is damage.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

VERSION = 2
_HEAD = b'{"version":2,"records":[\n'
_BETWEEN = b",\n"
_END = b"\n]}\n"
_DIGEST = 64
_BEGIN = b'["'
_JSON = len(_BEGIN) + _DIGEST + len(b'",')
# The old end, with only the first bytes of the next record written over it.
_HALF_AN_END = tuple((_BETWEEN + _BEGIN)[:length] + _END[length:] for length in range(1, len(_END)))
# What follows a record in its line; the second, if the next record was only begun.
_BEHIND = (b",", b",]}")


class Found(NamedTuple):
    """What a journal holds: the JSON of its last record (None: there is none yet), how many records there are, whether
    another can be appended."""

    newest: bytes | None
    number: int
    whole: bool


def is_journal(content: bytes) -> bool:
    """Whether it has this format, or only its beginning, of which no record was written whole."""
    return content.startswith(_HEAD) or _HEAD.startswith(content.rstrip(b"\0"))


def begun(record: bytes) -> bytes:
    """A journal with its first record. `record` is JSON without line breaks."""
    return _HEAD + _line(record) + _END


def appended(content: bytes, record: bytes) -> tuple[int, bytes]:
    """Where in a whole journal to write what, to append a record; the file only grows."""
    return len(content) - len(_END), _BETWEEN + _line(record) + _END


def read(content: bytes) -> Found:
    """Read a journal. Raises ValueError if more is wrong with it than a power cut can have done."""
    length, content = len(content), content.rstrip(b"\0")
    if not content.startswith(_HEAD):
        return Found(None, 0, whole=False)
    newest, count, begin, place = None, 0, len(_HEAD), len(_HEAD)
    while (end := _end_of_record(content, begin)) is not None:
        newest, count, begin, place = content[begin + _JSON : end - 1], count + 1, end + len(_BETWEEN), end
        if not content.startswith(_BETWEEN, end):
            break
    rest = content[place:]
    if not _may_be_left(rest):
        raise ValueError(f"what follows record {count} was not written by certagent")
    return Found(newest, count, whole=count > 0 and rest == _END and length == len(content))


def _line(record: bytes) -> bytes:
    return _BEGIN + hashlib.sha256(record).hexdigest().encode() + b'",' + record + b"]"


def _end_of_record(content: bytes, begin: int) -> int | None:
    """Where the record that begins here ends; None if none that is whole begins here."""
    end = content.find(b"\n", begin)
    end = len(content) if end < 0 else end
    end -= next((len(each) for each in _BEHIND if content.endswith(each, begin, end)), 0)
    whole = end > begin + _JSON and content[begin:end] == _line(content[begin + _JSON : end - 1])
    return end if whole else None


def _may_be_left(rest: bytes) -> bool:
    """Whether this is found behind the last whole record though nothing was damaged: an end, or what a write that was
    cut short leaves of the next record."""
    return _END.startswith(rest) or rest in _HALF_AN_END or b"\n" not in rest.removeprefix(_BETWEEN)
