"""Entries in the journal's own protocol, read by a socket in its place and, where a machine boots, by the real one
(tests/systemd)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent import journald


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "socket"))
        yield str(tmp_path / "socket"), channel


def fields(entry: bytes) -> dict[str, str]:
    """As systemd's documentation has it: a name, a line break, eight bytes of length, the value, a line break."""
    found = {}
    while entry:
        name, _, rest = entry.partition(b"\n")
        length = int.from_bytes(rest[:8], "little")
        found[name.decode()], entry = rest[8 : 8 + length].decode(), rest[8 + length + 1 :]
    return found


def test_a_line_has_its_keystore_as_a_field(listening: tuple[str, socket.socket]) -> None:
    where, channel = listening
    assert journald.send("web: renewed", 6, "web", where)
    told = {"MESSAGE": "web: renewed", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "certagent", "CERTAGENT_KEYSTORE": "web"}
    assert fields(channel.recv(1 << 16)) == told


@pytest.mark.parametrize("message", ["two\nPRIORITY=0\nlines", "", "größer"])
def test_no_text_becomes_another_field(message: str, listening: tuple[str, socket.socket]) -> None:
    where, channel = listening
    assert journald.send(message, 3, "", where)
    assert fields(channel.recv(1 << 16)) == {"MESSAGE": message, "PRIORITY": "3", "SYSLOG_IDENTIFIER": "certagent"}


def test_what_cannot_be_sent_is_left_to_the_caller(tmp_path: Path, listening: tuple[str, socket.socket]) -> None:
    assert not journald.send("nobody listens", 6, "", str(tmp_path / "gone"))
    assert not journald.send("long" * 20000, 6, "", listening[0])


@pytest.mark.parametrize(("says", "it_is"), [("this one", True), ("another", False), ("nothing", False)])
def test_whether_stderr_is_the_journal(*, says: str, it_is: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(2)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    if says != "nothing":
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + (says == 'another')}")
    journald.is_stderr.cache_clear()
    assert journald.is_stderr() == it_is
    journald.is_stderr.cache_clear()
