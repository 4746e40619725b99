"""Bringing an interrupted swap to its end, with real files; the swap's own faults are tests/keystore's."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent import durable
from certagent.config.file_roles import FileRole
from certagent.durable import Ownership
from certagent.errors import BusyError, DamagedError, KeystoreError, StateError
from certagent.keystore import swap, swap_plan
from certagent.keystore.targets import sha256
from certagent.transaction import recovery
from certagent.transaction.journal import Journal, Kind, Phase, Transaction, open_transactions
from tests.keystore.faults import synced

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)
FILES = (FileRole.KEY, FileRole.CERTIFICATE)


@dataclass
class Keystore:
    """Two files that a consumer reads, the plan to replace them, and the journal of it."""

    name: str
    root: Path
    phase: Phase = Phase.STAGING

    def __post_init__(self) -> None:
        self.etc.mkdir(parents=True)
        for role in FILES:
            (self.etc / role).write_text(f"old {role}")

    @property
    def etc(self) -> Path:
        return self.root / "etc" / self.name

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def directory(self) -> Path:
        return self.state / "keystores" / self.name

    @property
    def journal(self) -> Journal:
        return Journal(self.directory)

    def interrupt(
        self, phase: Phase, way: str = "rename", *, staged: bool = True, renamed: int = 0
    ) -> swap_plan.Record:
        """Leave everything as a power cut in `phase` does."""
        new = [
            swap_plan.NewFile(
                role,
                self.etc / role,
                f"new {role}".encode(),
                Ownership(0o600),
                before=sha256(f"old {role}".encode()),
                inode_of=Ownership(0o600) if way == "in-place" else None,
            )
            for role in FILES
        ]
        plan = swap_plan.prepare(
            tuple(new),
            swap_id="t1",
            linked=way == "symlink",
            previous=self.directory / "previous",
            live=self.root / "live" / self.name,
            changes_ca=False,
        )
        self.write(phase, plan.record)
        if staged:
            swap.stage(plan)
        for change in plan.record.changes[:renamed]:
            Path(change.staged).rename(change.target)
        return plan.record

    def write(self, phase: Phase, record: swap_plan.Record | None) -> None:
        self.journal.write(
            Transaction(
                id="t1",
                kind=Kind.RENEWAL,
                phase=phase,
                started_at=NOW,
                authority="corp",
                endpoint="http://127.0.0.1/",
                swap=record,
                changes_ca=True,
            )
        )

    @property
    def content(self) -> list[str]:
        return [(self.etc / role).read_text() for role in FILES]

    @property
    def strays(self) -> list[str]:
        return [file.name for file in self.etc.iterdir() if file.name not in FILES]


OLD, NEW = (["old key", "old certificate"], ["new key", "new certificate"])


@pytest.mark.parametrize("way", ["rename", "symlink", "in-place"])
@pytest.mark.parametrize(
    ("phase", "staged", "after", "content"),
    [
        pytest.param(Phase.STAGING, False, Phase.ISSUED, OLD, id="before anything was staged"),
        pytest.param(Phase.STAGING, True, Phase.ISSUED, OLD, id="staged"),
        pytest.param(Phase.ACTIVATING, True, Phase.ACTIVATED, NEW, id="committed"),
        pytest.param(Phase.RESTORING, False, Phase.ACTIVATED, OLD, id="before the way back was staged"),
        pytest.param(Phase.RESTORING, True, Phase.ACTIVATED, OLD, id="the way back staged"),
        pytest.param(Phase.REVERTING, True, Phase.REVERTED, NEW, id="the way back committed"),
    ],
)
def test_each_phase_has_its_end(
    tmp_path: Path, way: str, phase: Phase, *, staged: bool, after: Phase, content: list[str]
) -> None:
    keystore = Keystore("web", tmp_path)
    keystore.interrupt(phase, way, staged=staged)
    (done,) = recovery.recover_all(keystore.state)
    assert (done.keystore, done.error) == ("web", None)
    assert "an interrupted swap was" in done.message
    assert keystore.content == content
    assert keystore.strays == []
    transaction = keystore.journal.open()
    assert transaction is not None
    assert (transaction.phase, transaction.swap, transaction.changes_ca) == (after, None, True)


@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_between_two_renames(tmp_path: Path, renamed: int) -> None:
    keystore = Keystore("web", tmp_path)
    keystore.interrupt(Phase.ACTIVATING, renamed=renamed)
    recovery.recover_all(keystore.state)
    assert (keystore.content, keystore.strays) == (NEW, [])


def test_a_second_time_there_is_nothing_to_do(tmp_path: Path) -> None:
    keystore = Keystore("web", tmp_path)
    keystore.interrupt(Phase.ACTIVATING)
    assert len(recovery.recover_all(keystore.state)) == 1
    record = keystore.journal.open()
    assert recovery.recover_all(keystore.state) == []
    assert (keystore.journal.open(), keystore.content) == (record, NEW)


def test_killed_before_its_record_it_is_done_again(tmp_path: Path) -> None:
    keystore = Keystore("web", tmp_path)
    record = keystore.interrupt(Phase.ACTIVATING)
    swap.finish(record)
    (done,) = recovery.recover_all(keystore.state)
    assert (done.error, keystore.content) == (None, NEW)


@pytest.mark.parametrize(
    ("phase", "after"),
    [
        pytest.param(Phase.ACTIVATING, Phase.ISSUED, id="activating"),
        pytest.param(Phase.REVERTING, Phase.ACTIVATED, id="reverting"),
    ],
)
def test_what_cannot_be_finished_is_undone_and_no_longer_stands_in_the_way(
    tmp_path: Path, phase: Phase, after: Phase
) -> None:
    keystore = Keystore("web", tmp_path)
    record = keystore.interrupt(phase)
    for change in record.changes:
        Path(change.staged).unlink()
    (done,) = recovery.recover_all(keystore.state)
    assert isinstance(done.error, KeystoreError)
    assert keystore.content == OLD
    transaction = keystore.journal.open()
    assert transaction is not None
    assert (transaction.phase, transaction.swap) == (after, None)
    assert recovery.recover_all(keystore.state) == []


def test_without_the_old_files_it_goes_forward_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut kept one rename and the removal of the old files, but not the other rename; which is now refused."""
    keystore = Keystore("web", tmp_path)
    record = keystore.interrupt(Phase.ACTIVATING, renamed=1)
    for change in record.changes:
        Path(change.old).unlink()
    with monkeypatch.context() as refusing:
        refusing.setattr(os, "replace", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EBUSY, "busy")))
        (done,) = recovery.recover_all(keystore.state)
    assert isinstance(done.error, KeystoreError)
    transaction = keystore.journal.open()
    assert transaction is not None
    assert transaction.phase is Phase.ACTIVATING
    recovery.recover_all(keystore.state)
    assert (keystore.content, keystore.strays) == (NEW, [])


def test_what_was_kept_takes_the_place_of_what_was_kept_before(tmp_path: Path) -> None:
    """Also if the swap was interrupted while it did so."""
    keystore = Keystore("web", tmp_path)
    previous = keystore.directory / "previous"
    previous.mkdir(parents=True)
    for name in ("key.pem", "chain.pem"):
        (previous / name).write_text("of long ago")
    record = keystore.interrupt(Phase.ACTIVATING)
    kept = previous / f".key.pem.certagent-{record.id}"
    kept.rename(previous / "key.pem")
    recovery.recover_all(keystore.state)
    assert {file.name: file.read_text() for file in previous.iterdir()} == {
        "key.pem": "old key",
        "certificate.pem": "old certificate",
    }


def test_what_release_0_2_kept_becomes_previous(tmp_path: Path) -> None:
    """It had a directory for it."""
    keystore = Keystore("web", tmp_path)
    record = keystore.interrupt(Phase.ACTIVATING)
    older = keystore.directory / f"previous-{record.id}"
    older.mkdir()
    for name in ("key.pem", "certificate.pem"):
        (keystore.directory / f"previous/.{name}.certagent-{record.id}").rename(older / name)
        (keystore.directory / "previous" / name).write_text("of long ago")
    recovery.recover_all(keystore.state)
    previous = keystore.directory / "previous"
    assert [(previous / name).read_text() for name in ("key.pem", "certificate.pem")] == OLD
    assert not older.exists()


@pytest.mark.parametrize(
    "phase",
    [phase for phase in Phase if phase not in (Phase.STAGING, Phase.ACTIVATING, Phase.RESTORING, Phase.REVERTING)],
)
def test_other_phases_are_left_alone(tmp_path: Path, phase: Phase) -> None:
    keystore = Keystore("web", tmp_path)
    keystore.write(phase, None)
    before = keystore.journal.open()
    assert recovery.recover_all(keystore.state) == []
    assert keystore.journal.open() == before


@pytest.mark.parametrize(
    "left",
    [[], ["transaction.json"], [".transaction.json.new"]],
    ids=["as it was closed", "as it was begun", "as releases 0.1 and 0.2 began it"],
)
def test_what_is_left_of_a_transaction_that_is_not_open_goes(tmp_path: Path, left: list[str]) -> None:
    keystore = Keystore("web", tmp_path)
    keystore.journal.directory.mkdir(parents=True)
    for name in left:
        (keystore.journal.directory / name).write_bytes(b"{")
    assert recovery.recover_all(keystore.state) == []
    assert not keystore.journal.directory.exists()


def test_what_a_kill_left_is_durable_before_it_is_acted_on(tmp_path: Path) -> None:
    """The run that wrote the commit may have died before it reached the disk."""
    keystore = Keystore("web", tmp_path)
    keystore.interrupt(Phase.ACTIVATING)
    made = synced(lambda: recovery.recover_all(keystore.state))
    assert made[:3] == ["transaction.json", "transaction", "web"]


def test_one_s_trouble_is_not_the_others(tmp_path: Path) -> None:
    """Damaged, newer, without files, busy, replaced by a file: each is told, and the last is served."""
    stores = {name: Keystore(name, tmp_path) for name in ("damaged", "newer", "nameless", "sound", "z-busy")}
    for keystore in stores.values():
        keystore.interrupt(Phase.ACTIVATING)
    (stores["damaged"].journal.directory / "transaction.json").write_bytes(b"?")
    (stores["newer"].journal.directory / "transaction.json").write_bytes(b'{"version": 9}')
    stores["nameless"].write(Phase.ACTIVATING, None)
    (stores["sound"].directory.parent / "a-file").write_text("")
    blocked = stores["sound"].directory.parent / "blocked"
    (blocked / "lock").mkdir(parents=True)
    (blocked / "transaction").mkdir()
    with durable.lock(stores["z-busy"].directory / "lock", "keystore z-busy"):
        done = {each.keystore: each for each in recovery.recover_all(tmp_path / "state")}
    kinds = {name: type(each.error) for name, each in done.items()}
    assert kinds == {
        "blocked": StateError,
        "damaged": DamagedError,
        "nameless": StateError,
        "newer": StateError,
        "sound": type(None),
        "z-busy": BusyError,
    }
    assert all(each.error.hint for each in done.values() if each.error)
    assert {name: keystore.content for name, keystore in stores.items() if keystore.content == NEW} == {"sound": NEW}


def test_only_those_named(tmp_path: Path) -> None:
    web, vpn = Keystore("web", tmp_path), Keystore("vpn", tmp_path)
    web.interrupt(Phase.ACTIVATING)
    vpn.interrupt(Phase.ACTIVATING)
    assert [each.keystore for each in recovery.recover_all(web.state, ["vpn"])] == ["vpn"]
    assert (web.content, vpn.content) == (OLD, NEW)


def test_without_a_state_directory_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert recovery.recover_all(tmp_path / "state") == []
    assert open_transactions(tmp_path / "state") == {}
    assert not (tmp_path / "state").exists()


def test_open_transactions_are_found_and_unreadable_ones_passed_over(tmp_path: Path) -> None:
    web, vpn = Keystore("web", tmp_path), Keystore("vpn", tmp_path)
    web.interrupt(Phase.ACTIVATING)
    vpn.interrupt(Phase.ACTIVATING)
    (vpn.journal.directory / "transaction.json").write_bytes(b"?")
    assert list(open_transactions(tmp_path / "state")) == ["web"]


def test_the_command_works_without_configuration_and_loads_no_cryptography(tmp_path: Path) -> None:
    keystore = Keystore("left the configuration", tmp_path)
    keystore.interrupt(Phase.ACTIVATING)
    configuration = tmp_path / "agent.yaml"
    configuration.write_text(f"state_dir: {keystore.state}\nnonsense: [\n")
    script = (
        "import sys; from certagent.cli import main; code = main(['-c', sys.argv[1], 'recover']); "
        "heavy = {'cryptography', 'asn1crypto', 'requests', 'rich', 'apscheduler'} & set(sys.modules); "
        "sys.exit(f'loaded: {heavy}' if heavy else code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(configuration)], capture_output=True, text=True, check=False, timeout=30
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "left the configuration: an interrupted swap was finished" in ended.stdout
    assert keystore.content == NEW
