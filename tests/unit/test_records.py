"""The format of a journal: what a power cut may leave of it, and what only damage does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest

from certagent.transaction import records

RECORDS = (b'{"phase":"started"}', b'{"phase":"requested","names":["a,]}"]}', b'{"phase":"issued"}')


def journals() -> list[bytes]:
    """A journal after each write."""
    found = [records.begun(RECORDS[0])]
    for record in RECORDS[1:]:
        place, added = records.appended(found[-1], record)
        found.append(found[-1][:place] + added)
    return found


JOURNALS = journals()


def newest(content: bytes) -> bytes | None:
    assert records.is_journal(content)
    return records.read(content).newest


@pytest.mark.parametrize("number", range(len(RECORDS)))
def test_the_last_record_counts(number: int) -> None:
    assert records.read(JOURNALS[number]) == (RECORDS[number], number + 1, True)


def test_it_is_one_json_document_whose_version_any_release_reads() -> None:
    """So an older certagent says that a newer one wrote it."""
    for number, content in enumerate(JOURNALS):
        told = json.loads(content)
        assert told["version"] == records.VERSION
        assert [record for _, record in told["records"]] == [json.loads(each) for each in RECORDS[: number + 1]]


def torn(before: bytes, after: bytes) -> Iterator[bytes]:
    """What a power cut may leave of a write: any beginning of it, over what was there, which may have made room for
    the rest."""
    first = next((place for place, (one, two) in enumerate(zip(before, after, strict=False)) if one != two), 0)
    for length in range(first, len(after)):
        yield after[:length] + before[length:]
        yield after[:length].ljust(len(after), b"\0")


@pytest.mark.parametrize("number", range(len(RECORDS)))
def test_a_record_that_was_not_written_whole_never_was(number: int) -> None:
    before, after = JOURNALS[number - 1] if number else b"", JOURNALS[number]
    earlier = RECORDS[number - 1] if number else None
    for content in torn(before, after):
        # All of it may be there, without the end: then it counts too.
        is_there = RECORDS[number] + b"]" in content
        assert newest(content) == (RECORDS[number] if is_there else earlier), content
        assert not records.read(content).whole or content == before


def test_cut_short_anywhere_an_earlier_record_counts() -> None:
    found = [newest(JOURNALS[-1][:length]) for length in range(len(JOURNALS[-1]))]
    assert [each for each, _ in itertools.groupby(found)] == [None, *RECORDS]


@pytest.mark.parametrize("flipped", [1, 0x20, 0x80])
def test_a_changed_byte_is_damage_wherever_it_is(flipped: int) -> None:
    """An earlier record must not count in place of one that was acknowledged."""
    for content in JOURNALS:
        for place in range(len(content)):
            changed = content[:place] + bytes([content[place] ^ flipped]) + content[place + 1 :]
            if records.is_journal(changed):  # otherwise it is not of this format at all
                with pytest.raises(ValueError, match="what follows record"):
                    records.read(changed)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(JOURNALS[0] + JOURNALS[2][len(JOURNALS[1]) :], id="a record is missing"),
        pytest.param(JOURNALS[2].replace(RECORDS[1], bytes(len(RECORDS[1]))), id="zeros in the middle"),
        pytest.param(JOURNALS[2].replace(RECORDS[1], RECORDS[0]), id="another record in its place"),
        pytest.param(JOURNALS[2] + b"more\n", id="more behind the end"),
        pytest.param(JOURNALS[2] + JOURNALS[0], id="two journals"),
    ],
)
def test_what_no_power_cut_leaves_is_damage(content: bytes) -> None:
    with pytest.raises(ValueError, match="what follows record"):
        records.read(content)


@pytest.mark.parametrize("content", [b'{"version":1,"id":"t1"}', b'{"version":3,"records":[]}', b"?"])
def test_another_format_is_told_apart(content: bytes) -> None:
    assert not records.is_journal(content)
