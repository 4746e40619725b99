"""A file that was read is not walked to again while it is the same: what is read is what a fresh walk would read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from certagent import keys
from certagent.config.key_types import KeyType
from certagent.errors import KeystoreError
from certagent.keystore import files
from certagent.keystore.files import read_file, would_show

from .conftest import MakeSite
from .pki import certify

STRANGER = 4711
LIVE = Path("/nowhere")  # no keystore has its links there
AS_ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are remembered at once: the kernel's clock ticks between our own changes, see `later`."""
    monkeypatch.setattr(files, "would_show", lambda changed, now: True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "web.pem").write_bytes(b"one")
    return tmp_path / "etc" / "web.pem"


def read(file: Path) -> bytes | None:
    look = files.look_unless_same(file, LIVE, "a keystore")
    return None if look is None else look.content


def later(file: Path, change: Callable[[], object]) -> None:
    """Make a change as often as the kernel's clock needs to show it."""
    before = os.stat(file).st_ctime_ns
    change()
    while file.exists() and os.stat(file).st_ctime_ns == before:
        change()


def replaced(file: Path) -> None:
    other = file.with_name("new")
    other.write_bytes(b"two")
    other.replace(file)


def with_a_link_above(file: Path) -> None:
    """Its directory becomes a link to another one."""
    elsewhere = file.parent.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / file.name).write_bytes(b"two")
    file.parent.rename(file.parent.with_name("old"))
    file.parent.symlink_to(elsewhere)


def with_anothers_link(file: Path) -> None:
    """A link that another user made, to a file that only root reads."""
    secret = file.with_name("secret")
    secret.write_bytes(b"two")
    file.unlink()
    file.symlink_to(secret)
    os.chown(file, STRANGER, -1, follow_symlinks=False)


def with_anothers_hard_link(file: Path) -> None:
    """A second name, in a directory of another user's: who knows who put it there."""
    os.chown(file.parent, STRANGER, -1)
    file.with_name("second").hardlink_to(file)


CHANGES = {
    "nothing": lambda file: None,
    "replaced by a rename": replaced,
    "overwritten with the same number of bytes": lambda file: later(file, lambda: file.write_bytes(b"two")),
    "overwritten, and its time set back": lambda file: later(file, lambda: written_as_if_never(file)),
    "removed": Path.unlink,
    "made a directory": lambda file: (file.unlink(), file.mkdir()),
    "made a link of our own": lambda file: (file.rename(file.with_name("one")), file.symlink_to(file.with_name("one"))),
    "a directory above made a link": with_a_link_above,
}
AS_ROOT = {
    "made a link by another user": with_anothers_link,
    "given a second name by another user": with_anothers_hard_link,
}


def written_as_if_never(file: Path) -> None:
    seen = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        *(pytest.param(change, id=name) for name, change in CHANGES.items()),
        *(pytest.param(change, id=name, marks=AS_ROOT_ONLY) for name, change in AS_ROOT.items()),
    ],
)
def test_a_change_is_seen(file: Path, change: Callable[[Path], object]) -> None:
    assert read(file) == b"one"
    change(file)
    assert told(read, file) == told(read_file, file)


def told(read: Callable[[Path], bytes | None], file: Path) -> bytes | str | None:
    try:
        return read(file)
    except KeystoreError as error:
        return f"{error}; {error.hint}"


def test_a_file_that_may_change_unseen_is_walked_to_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "would_show", lambda changed, now: False)
    read(file)
    assert ("a keystore", file) not in files._read


MS, SECOND = 10**6, 10**9
NOON = 1_800_000_000 * SECOND


@pytest.mark.parametrize(
    ("changed", "now", "shows"),
    [
        pytest.param(NOON + 4 * MS, NOON + 5 * MS, False, id="the kernel's clock may not have ticked since"),
        pytest.param(NOON + 4 * MS, NOON + 100 * MS, True, id="the clock has ticked"),
        pytest.param(NOON, NOON + 900 * MS, False, id="whole seconds: the same second"),
        pytest.param(NOON, NOON + 1900 * MS, False, id="every other second, as FAT keeps it"),
        pytest.param(NOON, NOON + 3 * SECOND, True, id="whole seconds: long ago"),
        pytest.param(NOON + 4 * MS, NOON - 60 * SECOND, False, id="the clock was set back"),
    ],
)
def test_whether_another_change_would_show(changed: int, now: int, shows: bool) -> None:
    assert would_show(changed, now) is shows


def test_few_files_are_kept(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}").write_bytes(b"-")
        read(tmp_path / f"{number}")
    assert len(files._read) <= 8


def test_a_key_that_was_exchanged_after_it_was_proven_is_proven_again(site: MakeSite) -> None:
    keystore, other = site().keystore, site().keystore
    mine = keystore.create_shadow("one", KeyType.EC_P256)
    certificate = certify("web", mine.key, None)
    keystore.complete_shadow(mine, certificate, ())
    file = site().state / "shadow" / "one.pem"
    file.write_bytes(keys.to_pem(keys.generate(KeyType.EC_P256)))
    for each in (keystore, other):
        with pytest.raises(KeystoreError, match="does not fit the new certificate"):
            each.plan_activation(replace(each.create_shadow("one", KeyType.EC_P256), certificate=certificate), ())
