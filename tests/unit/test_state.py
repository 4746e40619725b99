"""What is remembered of a keystore: nothing is ever started afresh over a file that cannot be read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certagent import durable, state
from certagent.errors import RejectedError, StateError
from certagent.policy import Condition
from certagent.state import Event, LastError, State
from tests.waiting import until

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)
FULL = State(
    condition=Condition.FAILED,
    next_action="renew",
    next_action_at=NOW,
    failures=3,
    retry_at=NOW + timedelta(hours=1),
    last_error=LastError.of(RejectedError("the CA refused", "ask", "badRequest"), NOW),
    definition="abc",
    watched={"/etc/web.key": "1.2.3"},
    expiring_told_at=NOW,
)
times = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- bounds only
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
states = st.builds(
    State,
    condition=st.sampled_from(Condition),
    next_action=st.none() | words,
    next_action_at=st.none() | times,
    failures=st.integers(0, 10**6),
    retry_at=st.none() | times,
    last_error=st.none() | st.builds(LastError, kind=words, message=words, hint=words, at=times),
    definition=words,
    watched=st.dictionaries(words, words, max_size=3),
    expiring_told_at=st.none() | times,
)
events = st.builds(
    Event,
    at=times,
    event=words,
    transaction=words,
    kind=words,
    message=words,
    serial=words,
    not_after=st.none() | times,
)
# The directory is made anew by the test itself.
ONE_DIRECTORY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)


def test_there_is_none_at_first(tmp_path: Path) -> None:
    assert state.load(tmp_path / "web") is None
    assert state.read_history(tmp_path / "web") == []
    assert not (tmp_path / "web").exists()


@ONE_DIRECTORY
@given(states)
def test_what_is_saved_is_loaded(tmp_path: Path, one: State) -> None:
    state.save(tmp_path, one)
    assert state.load(tmp_path) == one


def test_it_is_private(tmp_path: Path) -> None:
    directory = tmp_path / "keystores" / "web"
    state.save(directory, FULL)
    state.append_history(directory, Event(at=NOW, event="renewed"))
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}


def test_cut_short_anywhere_is_damaged(tmp_path: Path) -> None:
    state.save(tmp_path, FULL)
    file = tmp_path / "state.json"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(StateError, match="is damaged"):
            state.load(tmp_path)
    assert file.read_bytes() == whole[:-1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is damaged", id="empty"),
        pytest.param(b"\0" * 100, "is damaged", id="zeros after a power cut"),
        pytest.param(b"{}", "is damaged", id="no version"),
        pytest.param(b"[]", "is damaged", id="something else"),
        pytest.param(b"\xff\xfe", "is damaged", id="no UTF-8"),
        pytest.param(b"[" * 100_000, "is damaged", id="nested without end"),
        pytest.param(b'{"version": 1, "failures": "3"}', "is damaged", id="a wrong type"),
        pytest.param(b'{"version": 1, "condition": "happy"}', "is damaged", id="an unknown word"),
        pytest.param(b'{"version": 1, "retry_at": "2027-01-01T00:00:00"}', "is damaged", id="a time without zone"),
        pytest.param(b'{"version": 2}', "newer certagent .version 2", id="newer"),
        pytest.param(b'{"version": 2, "failures": "many"}', "newer certagent", id="newer and quite different"),
    ],
)
def test_unreadable_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(StateError, match=message) as caught:
        state.load(tmp_path)
    assert caught.value.hint
    assert str(tmp_path / "state.json") in str(caught.value)
    assert (tmp_path / "state.json").read_bytes() == content


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(StateError, match="cannot be read"):
        state.load(tmp_path)
    (tmp_path / "history.jsonl").mkdir()
    with pytest.raises(StateError, match="cannot be read"):
        state.read_history(tmp_path)


def test_fields_of_a_later_minor_release_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b'{"version": 1, "failures": 2, "mood": "fine"}')
    assert state.load(tmp_path) == State(failures=2)


@ONE_DIRECTORY
@given(st.lists(events.filter(lambda event: not event.transaction), max_size=5))
def test_history_comes_back_in_order(tmp_path: Path, told: list[Event]) -> None:
    (tmp_path / "history.jsonl").unlink(missing_ok=True)
    for event in told:
        state.append_history(tmp_path, event)
    assert state.read_history(tmp_path) == told


def test_a_line_cut_short_is_passed_over_and_spoils_no_other(tmp_path: Path) -> None:
    first, last = (Event(at=NOW, event=name) for name in ("enrolled", "renewed"))
    whole = msgspec.json.encode(first) + b"\n"
    for length in range(len(whole)):
        (tmp_path / "history.jsonl").write_bytes(whole + whole[:length])
        state.append_history(tmp_path, last)
        expected = [first, first, last] if length == len(whole) - 1 else [first, last]
        assert state.read_history(tmp_path) == expected


def test_an_event_of_a_transaction_is_told_once_in_a_row(tmp_path: Path) -> None:
    """A run killed between history and journal tells it again."""
    one = Event(at=NOW, event="renewed", transaction="t1")
    other = Event(at=NOW, event="failed", transaction="t1")
    for event in (one, one, other, one):
        state.append_history(tmp_path, event)
    assert state.read_history(tmp_path) == [one, other, one]


def test_watch_sees_every_kind_of_change(tmp_path: Path) -> None:
    file = tmp_path / "key"
    seen = [state.watch([file])]
    file.write_bytes(b"one")
    seen.append(state.watch([file]))
    os.utime(file, (1, 1))
    seen.append(state.watch([file]))
    durable.write(file, b"two")
    os.utime(file, (1, 1))
    seen.append(state.watch([file]))
    assert seen[0] == {str(file): "absent"}
    assert len({each[str(file)] for each in seen}) == 4
    assert state.watch([file]) == seen[-1]


def rewritten(file: Path) -> None:
    """Other content of the same size, in the same inode, at the same time as before."""
    seen = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "asks"),
    [
        pytest.param(rewritten, False, id="rewritten behind our back"),
        pytest.param(lambda file: os.link(file, file.with_name("kept")), False, id="a hard link, as backups make"),
        pytest.param(lambda file: file.chmod(0o640), True, id="another mode"),
        pytest.param(lambda file: file.write_bytes(b"three"), True, id="another size"),
        pytest.param(Path.unlink, True, id="gone"),
    ],
)
def test_whatever_happens_to_a_file_it_is_looked_at(
    change: Callable[[Path], object], tmp_path: Path, asks: bool
) -> None:
    """`asks`: a pause after a failure does not count any more, as somebody did something about it."""
    file = tmp_path / "key"
    file.write_bytes(b"one")
    file.chmod(0o600)
    before = state.watch([file])
    until(lambda: time_of(tmp_path / "clock") > file.stat().st_ctime_ns)
    change(file)
    assert state.watch([file]) != before
    assert state.differ(before, state.watch([file])) is asks


def time_of(file: Path) -> int:
    """The time that the file system gives a change now: its clock ticks every few ms."""
    file.touch()
    return file.stat().st_ctime_ns


def test_a_signature_of_an_earlier_release_is_no_other_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"one")
    now = state.watch([file])
    earlier = {path: signature.rpartition("+")[0] for path, signature in now.items()}
    assert not state.differ(earlier, now)


def test_the_newest_line_of_a_long_history_is_not_added_twice(tmp_path: Path) -> None:
    first = state.Event(at=datetime(2027, 1, 1, tzinfo=UTC), event="failed", message="x" * 1000)
    last = state.Event(at=first.at, event="renewed", transaction="7")
    for event in (*[first] * 100, last, last):
        state.append_history(tmp_path, event)
    assert state.read_history(tmp_path) == [*[first] * 100, last]


def test_a_history_is_bounded(tmp_path: Path) -> None:
    """The newest lines stay, each whole."""
    told = [Event(at=NOW, event="failed", message=f"{number} {'x' * 40_000}") for number in range(120)]
    sizes = []
    for event in told:
        state.append_history(tmp_path, event)
        sizes.append((tmp_path / "history.jsonl").stat().st_size)
    kept = state.read_history(tmp_path)
    assert max(sizes) <= 1024 * 1024
    assert len(kept) >= 10
    assert kept == told[-len(kept) :]
