"""Entries in the journal's own protocol, read by a socket in its place and, where a machine boots, by the real one
(tests/systemd)."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent import journald
from certagent.cli import streams
from tests.waiting import PATIENCE


@pytest.fixture(autouse=True)
def _a_channel_for_each_test() -> Iterator[None]:
    """A process keeps its own until it ends; left to the end of the tests, it would be told as never closed."""
    yield
    if journald._channel.cache_info().currsize:
        journald._channel().close()
        journald._channel.cache_clear()


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


def test_before_the_end_it_waits_until_everything_was_read(listening: tuple[str, socket.socket]) -> None:
    where, channel = listening
    assert journald.send("web: renewed", 6, "web", where)
    lingering = threading.Thread(target=journald.linger, args=(60, 0))
    lingering.start()
    assert lingering.is_alive()
    channel.recv(1 << 16)
    lingering.join(PATIENCE)
    assert not lingering.is_alive()


def test_a_journal_that_is_stuck_holds_nobody_up_for_long(listening: tuple[str, socket.socket]) -> None:
    assert journald.send("web: renewed", 6, "web", listening[0])
    began = time.monotonic()
    journald.linger(0.1, 0)
    assert time.monotonic() - began >= 0.1  # and it came back
    listening[1].recv(1 << 16)


def test_what_cannot_be_sent_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    streams.say("web: renewed", sys.stdout, "web")
    assert capfd.readouterr().out == "web: renewed\n"


@pytest.mark.parametrize(("says", "it_is"), [("this one", True), ("another", False), ("nothing", False)])
def test_whether_stderr_is_the_journal(*, says: str, it_is: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(2)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    if says != "nothing":
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + (says == 'another')}")
    journald.is_journal.cache_clear()
    assert journald.is_journal(2) == it_is
    journald.is_journal.cache_clear()
