"""Files that survive a power cut, and locks between processes."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certagent import durable
from certagent.durable import Ownership
from certagent.errors import BusyError, DamagedError, StateError
from tests.keystore.faults import failing, killed, watched

OLD, NEW = b"old content", b"new content"


def file_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def calls(action: Callable[[], None]) -> list[str]:
    """The system calls of an action that change something, in order."""
    seen: list[str] = []

    def before(_number: int, name: str, arguments: tuple[Any, ...]) -> None:
        is_read = name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR)
        if not is_read:
            seen.append(name)

    with watched(before):
        action()
    return seen


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (OLD, NEW):
        durable.write(path, content)
        assert path.read_bytes() == content
    assert file_mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(tmp_path: Path) -> None:
    seen = calls(lambda: durable.write(tmp_path / "file", NEW))
    assert seen[-3:] == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("action", [durable.write, durable.write_new], ids=["write", "write_new"])
def test_a_fault_at_any_call_leaves_the_old_or_the_new(tmp_path: Path, action: Callable[[Path, bytes], None]) -> None:
    path = tmp_path / "file"
    for step in range(1, 30):
        path.write_bytes(OLD)
        with failing(step, errno.ENOSPC) as hit, contextlib.suppress(OSError):
            action(path, NEW)
        found = path.read_bytes() if path.exists() else None
        assert found in ((OLD, NEW) if action is durable.write else (OLD, NEW, None))
        if not hit:
            break
        if hit != ["unlink"]:  # what could not be removed is replaced by the next write
            assert set(tmp_path.iterdir()) <= {path}
    else:
        pytest.fail("more calls than expected")


def test_killed_at_any_call_the_old_or_the_new_is_there_and_the_next_write_works(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for step in range(1, 30):
        path.write_bytes(OLD)
        was_killed = killed(step, lambda: durable.write(path, NEW))
        assert path.read_bytes() in (OLD, NEW)
        durable.write(path, b"newest")
        assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"newest"]
        if not was_killed:
            break
    else:
        pytest.fail("more calls than expected")


def test_a_full_disk_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    durable.write(path, OLD)
    before = path.stat()
    monkeypatch.setattr(os, "fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        durable.write(path, NEW)
    assert (path.read_bytes(), path.stat().st_ino) == (OLD, before.st_ino)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.needs("root")
def test_owner_and_mode_come_before_content(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int, int]] = []

    def before(_number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name in ("fchown", "fchmod", "fsync") and isinstance(arguments[0], int):
            facts = os.fstat(arguments[0])
            seen.append((name, facts.st_size, stat.S_IMODE(facts.st_mode), facts.st_uid))

    with watched(before):
        durable.write_new(tmp_path / "key", NEW, Ownership(0o640, uid=1, gid=2))
    # Never readable by more than the owner while the owner is not yet the right one, and empty until all is right.
    assert seen == [("fchown", 0, 0o600, 0), ("fchmod", 0, 0o600, 1), ("fsync", len(NEW), 0o640, 1)]
    facts = (tmp_path / "key").stat()
    assert (facts.st_uid, facts.st_gid) == (1, 2)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o177])
def test_the_umask_changes_nothing(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        durable.write_new(tmp_path / "file", NEW, Ownership(0o644))
        durable.make_directory(tmp_path / "one" / "two", 0o755)
    finally:
        os.umask(before)
    assert file_mode(tmp_path / "file") == 0o644
    assert file_mode(tmp_path / "one") == file_mode(tmp_path / "one" / "two") == 0o755


def test_a_link_laid_in_the_way_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(OLD)
    path.symlink_to(victim)
    (tmp_path / ".file.new").symlink_to(victim)
    durable.write(path, NEW)
    assert (victim.read_bytes(), path.read_bytes(), path.is_symlink()) == (OLD, NEW, False)


def test_an_existing_directory_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    durable.make_directory(tmp_path / "there")
    assert file_mode(tmp_path / "there") == 0o755


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(None, b"line\n", id="no file yet"),
        pytest.param(b"", b"line\n", id="an empty file"),
        pytest.param(b"one\n", b"one\nline\n", id="whole lines"),
        pytest.param(b"one\ntw", b"one\ntw\nline\n", id="a line cut short"),
    ],
)
def test_a_line_is_added(tmp_path: Path, before: bytes | None, after: bytes) -> None:
    path = tmp_path / "lines"
    if before is not None:
        path.write_bytes(before)
    durable.append_line(path, b"line")
    assert path.read_bytes() == after


def test_killed_while_adding_a_line_no_other_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    durable.append_line(path, b"one")
    for step in range(1, 10):
        if not killed(step, lambda: durable.append_line(path, b"two")):
            break
    durable.append_line(path, b"three")
    lines = path.read_bytes().splitlines()
    assert (lines[0], lines[-1], set(lines[1:-1])) == (b"one", b"three", {b"two"})


class Kept(msgspec.Struct):
    version: int
    word: str = ""


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        pytest.param(
            b'{"version":2}', "written by a newer certagent (version 2, this one reads 1)", "install", id="newer"
        ),
        pytest.param(b'{"version":0}', "written by an older certagent (version 0, this", "then update", id="older"),
        pytest.param(b'{"version":1', "is damaged", "restore it", id="cut short"),
        pytest.param(b'{"version":1,"word":1}', "is damaged", "restore it", id="a wrong type"),
        pytest.param(
            b'{"version":2,"word":1}', "by a newer certagent", "install", id="a type that a newer one changed"
        ),
        pytest.param(b"{}", "is damaged", "restore it", id="no version"),
    ],
)
def test_a_versioned_file_that_cannot_be_used(tmp_path: Path, content: bytes, message: str, hint: str) -> None:
    """One line that says why, and never a fresh start over it."""
    path = tmp_path / "kept.json"
    path.write_bytes(content)
    with pytest.raises(StateError) as told:
        durable.read_versioned(path, Kept, 1, if_damaged="restore it")
    assert str(told.value).startswith(f"{path} ")
    assert message in str(told.value)
    assert hint in told.value.hint
    assert path.read_bytes() == content


def test_a_versioned_file_is_read_and_a_missing_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert durable.read_versioned(path, Kept, 1) is None
    path.write_bytes(b'{"version":1,"word":"x","added later":true}')
    assert durable.read_versioned(path, Kept, 1) == Kept(version=1, word="x")


def test_a_file_that_a_broken_file_system_shows_as_huge_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(b'{"version":1,"word":"x"}')
    os.truncate(path, 1 << 40)
    with pytest.raises(DamagedError, match="larger than 16 MiB"):
        durable.read_versioned(path, Kept, 1)


def test_remove(tmp_path: Path) -> None:
    (tmp_path / "directory" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "directory")
    (tmp_path / "file").write_bytes(OLD)
    durable.remove(tmp_path / "link")
    assert (tmp_path / "directory" / "deep").is_dir()
    for name in ("directory", "file", "missing", "missing/too"):
        durable.remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


HOLD = (
    "import sys; from pathlib import Path; from certagent import durable\n"
    "with durable.lock(Path(sys.argv[1]), 'it'): print('held', flush=True); sys.stdin.read()"
)


def test_a_lock_keeps_other_processes_out_and_says_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "keystores" / "web" / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(BusyError, match=f"^keystore web is in use by process {holder.pid}$") as caught,
            durable.lock(path, "keystore web"),
        ):
            pytest.fail("two hold it")
        assert caught.value.hint
        holder.kill()  # the kernel drops it
        with durable.lock(path, "keystore web", wait=True):
            assert path.read_text() == f"{os.getpid()}\n"
    with durable.lock(path, "keystore web"):
        pass
    assert file_mode(path) == 0o600
    assert file_mode(path.parent) == 0o700


def test_a_lock_keeps_the_same_process_out_too(tmp_path: Path) -> None:
    with (
        durable.lock(tmp_path / "lock", "it"),
        pytest.raises(BusyError, match=f"process {os.getpid()}"),
        durable.lock(tmp_path / "lock", "it"),
    ):
        pytest.fail("held twice")


def test_a_lock_is_given_back_after_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), durable.lock(tmp_path / "lock", "it"):
        raise ZeroDivisionError
    with durable.lock(tmp_path / "lock", "it"):
        pass
