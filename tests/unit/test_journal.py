"""The record of one open transaction: what was written is what is found, however often the process dies."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from certagent.config.file_roles import FileRole
from certagent.errors import StateError
from certagent.keystore.swap_plan import Change, Record
from certagent.transaction.journal import Journal, Kind, Phase, Transaction
from tests.journals import of_release_0_2
from tests.keystore.faults import failing, synced

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)
RECORD = Record(
    "t1", "rename", (Change(FileRole.KEY, "/etc/web.key", "/etc/.web.key.new", "00" * 32),), "/var/previous"
)
FULL = Transaction(
    id="t1",
    kind=Kind.RENEWAL,
    phase=Phase.ACTIVATING,
    started_at=NOW,
    authority="corp",
    endpoint="http://scep.example.net/scep corp-ca",
    old_serial="0A",
    old_not_after=NOW,
    transaction_id="abc",
    message_type=17,
    sender_nonce=bytes(range(16)),
    request=bytes(range(256)) * 8,
    signer=b"\x30\x00",
    recipient=b"\x30\x01",
    names=("dns:web.example.net",),
    certificate=b"\x30\x02",
    switch_at=datetime(2027, 1, 1, tzinfo=UTC),
    checked_at=datetime(2026, 12, 1, tzinfo=UTC),
    serial="0B",
    not_after=NOW,
    swap=RECORD,
    changes_ca=True,
    hooks_succeeded=("post 0123456789abcdef",),
    hooks_done=1,
    attempt=2,
    reason="why",
)

# The walk of a transaction; a phase may be written again before the next.
NEXT = {
    Phase.STARTED: (Phase.REQUESTED,),
    Phase.REQUESTED: (Phase.ISSUED, Phase.PENDING),
    Phase.PENDING: (Phase.PENDING, Phase.ISSUED),
    Phase.ISSUED: (Phase.STAGING,),
    Phase.STAGING: (Phase.ACTIVATING, Phase.ISSUED),
    Phase.ACTIVATING: (Phase.ACTIVATED, Phase.ISSUED),
    Phase.ACTIVATED: (Phase.ACTIVATED, Phase.RESTORING),
    Phase.RESTORING: (Phase.REVERTING, Phase.ACTIVATED),
    Phase.REVERTING: (Phase.REVERTED, Phase.ACTIVATED),
    Phase.REVERTED: (Phase.REVERTED,),
}
times = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- bounds only
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_there_is_none_at_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "web")
    assert journal.open() is None
    journal.close()
    assert not (tmp_path / "web").exists()


def test_a_whole_transaction_comes_back(tmp_path: Path) -> None:
    Journal(tmp_path).write(FULL)
    assert Journal(tmp_path).open() == FULL


def test_it_is_private(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "web")
    journal.write(FULL)
    assert stat.S_IMODE(journal.directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in journal.directory.iterdir()] == [0o600]


def opened(directory: Path, content: bytes) -> Transaction | None:
    journal = Journal(directory)
    journal.directory.mkdir(exist_ok=True)
    (journal.directory / "transaction.json").write_bytes(content)
    return journal.open()


def test_a_record_that_was_not_written_whole_never_was(tmp_path: Path) -> None:
    """The one before it counts, and the next takes its place."""
    journal, later = Journal(tmp_path), FULL.at(Phase.ACTIVATED)
    journal.write(FULL)
    journal.write(later)
    torn = (journal.directory / "transaction.json").read_bytes()[:-100]
    assert opened(tmp_path, torn) == FULL
    journal.write(later)
    assert journal.open() == later


def test_a_record_changed_since_is_damaged_and_nothing_is_written_behind_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(FULL)
    file = journal.directory / "transaction.json"
    file.write_bytes(file.read_bytes().replace(b"activating", b"activated "))
    for action in (journal.open, lambda: journal.write(FULL)):
        with pytest.raises(StateError, match="is damaged"):
            action()


def test_a_journal_of_release_0_2_is_read_and_carried_on(tmp_path: Path) -> None:
    assert opened(tmp_path, of_release_0_2(FULL)) == FULL
    Journal(tmp_path).write(FULL.at(Phase.ACTIVATED, swap=None))
    found = Journal(tmp_path).open()
    assert found is not None
    assert found.phase is Phase.ACTIVATED


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(b'"version": 1', b'"version": 3', "newer certagent", id="a newer version"),
        pytest.param(b'"version": 1', b'"version": 2', "is damaged", id="this version, in another form"),
        pytest.param(b'"version": 1', b'"version": 0', "older certagent", id="an older version"),
        pytest.param(b'"activating"', b'"perplexed"', "is damaged", id="an unknown phase"),
        pytest.param(b'"renewal"', b'"rollover"', "is damaged", id="an unknown kind"),
        pytest.param(b"+00:00", b"", "is damaged", id="times without zone"),
        pytest.param(b'"way": "rename"', b'"way": "copy"', "is damaged", id="an unknown way"),
    ],
)
def test_what_cannot_be_understood_is_an_error(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    content = of_release_0_2(FULL).replace(b"Z", b"+00:00")
    changed = content.replace(old, new)
    assert changed != content
    with pytest.raises(StateError, match=message):
        opened(tmp_path, changed)
    assert (Journal(tmp_path).directory / "transaction.json").read_bytes() == changed


def test_a_request_polled_for_weeks_does_not_grow_for_ever(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for attempt in range(200):
        journal.write_early(FULL.at(Phase.PENDING, attempt=attempt))
    assert journal.open() == FULL.at(Phase.PENDING, attempt=199)
    assert (journal.directory / "transaction.json").stat().st_size < 256 * 1024


def test_a_record_costs_one_wait_for_the_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert synced(lambda: journal.write_early(FULL)) == [tmp_path.name]  # in which there is a new directory
    assert synced(lambda: journal.write(FULL)) == ["transaction.json", "transaction"]
    assert synced(lambda: journal.write(FULL)) == ["transaction.json"]
    assert synced(lambda: journal.write_early(FULL)) == []


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_record_that_could_not_be_made_durable_does_not_count(error: int, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(FULL)
    for step in range(1, 20):
        with failing(step, error) as hit, suppress(OSError, StateError):
            journal.write(FULL.at(Phase.ACTIVATED))
        if not hit:
            break
        assert journal.open() == FULL, hit
        journal.write(FULL)
    else:
        pytest.fail("more calls than expected")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What is written beyond fails, and only what is before it is written: as on a disk that becomes full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("written", [1, 2, 3, 4, 5, 100, 1000])
def test_a_disk_that_takes_only_part_of_a_record_leaves_none_of_it(written: int, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    file = journal.directory / "transaction.json"
    with files_of_at_most(written), pytest.raises(OSError, match=r"transaction\.json"):
        journal.write_early(FULL)
    assert list(journal.directory.iterdir()) == []
    journal.write_early(FULL)
    before = file.read_bytes()
    with files_of_at_most(len(before) + written), pytest.raises(OSError, match=r"transaction\.json"):
        journal.write(FULL.at(Phase.ACTIVATED))
    assert file.read_bytes() == before


def test_who_reads_while_a_record_is_appended_sees_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` holds no lock: it may read the old end of the file, and then what was written behind it."""
    journal, later = Journal(tmp_path), FULL.at(Phase.ACTIVATED)
    journal.write(FULL)

    real, parts = os.read, itertools.count(1)

    def appended_meanwhile(descriptor: int, most: int) -> bytes:
        if next(parts) == 2:
            monkeypatch.undo()
            journal.write(later)
        return real(descriptor, most)

    monkeypatch.setattr(os, "read", appended_meanwhile)
    assert Journal(tmp_path).open() == later


def test_the_record_goes_before_what_belongs_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport key without a record is litter; a record without its key could not be carried on."""
    journal = Journal(tmp_path)
    journal.write(FULL)
    (journal.directory / "transport.pem").write_bytes(b"key")
    monkeypatch.setattr(shutil, "rmtree", lambda _path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        journal.close()
    assert [file.name for file in journal.directory.iterdir()] == ["transport.pem"]
    assert journal.open() is None
    monkeypatch.undo()
    journal.close()
    assert not journal.directory.exists()


def test_what_a_killed_write_of_a_whole_file_left_is_no_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(FULL)
    (journal.directory / ".transaction.json.new").write_bytes(b'{"version":1,')
    assert journal.open() == FULL
    (journal.directory / "transaction.json").write_bytes(of_release_0_2(FULL))
    journal.write(FULL.at(Phase.ACTIVATED, swap=None))
    assert [file.name for file in journal.directory.iterdir()] == ["transaction.json"]


class Walk(RuleBasedStateMachine):
    """Any legal walk through the phases, with the process ending between any two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.journal = Journal(self.directory / "web")
        self.expected: Transaction | None = None

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    @precondition(lambda self: self.expected is None)
    @rule(kind=st.sampled_from(Kind), at=times, name=words)
    def begin(self, kind: Kind, at: datetime, name: str) -> None:
        self.expected = self.journal.write(
            Transaction(id=name, kind=kind, phase=Phase.STARTED, started_at=at, authority=name, endpoint=name)
        )

    @precondition(lambda self: self.expected is not None)
    @rule(data=st.data(), request=st.binary(max_size=100), at=st.none() | times, names=st.lists(words, max_size=3))
    def step(self, data: st.DataObject, request: bytes, at: datetime | None, names: list[str]) -> None:
        assert self.expected is not None
        phase = data.draw(st.sampled_from(NEXT[self.expected.phase]))
        swap = RECORD if phase in (Phase.STAGING, Phase.ACTIVATING, Phase.RESTORING, Phase.REVERTING) else None
        self.expected = self.journal.write(
            self.expected.at(phase, request=request, poll_at=at, not_after=at, names=tuple(names), swap=swap)
        )

    @rule()
    def die(self) -> None:
        self.journal = Journal(self.directory / "web")

    @rule()
    def close(self) -> None:
        self.journal.close()
        self.expected = None

    @invariant()
    def what_was_written_is_there(self) -> None:
        assert self.journal.open() == self.expected


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
