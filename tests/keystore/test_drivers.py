"""What holds for every driver: the contract of keystore/base.py, read from outside."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from certagent import keys
from certagent.certificate import load_pem, to_pem
from certagent.config.file_roles import FileRole
from certagent.config.key_types import KeyType
from certagent.errors import KeystoreError
from certagent.keystore import pkcs12_codec, swap, swap_plan
from certagent.keystore.base import Shadow

from .drivers import DRIVERS, KEY_TYPE, Driver, Host, carry_out, those
from .faults import failing, killed
from .pki import certify, make_pki

EVERY = pytest.mark.parametrize("driver", DRIVERS)
FORKING = pytest.mark.parametrize("driver", those(lambda driver: driver.forks))
WITH_SECRET = pytest.mark.parametrize("driver", those(lambda driver: driver.secret))


@pytest.fixture
def host(tmp_path: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(pkcs12_codec, "ROUNDS", 100)  # of no importance here, and much of the time
    return Host(tmp_path / "host", driver)


def in_place(host: Host, shadow: Shadow) -> bool:
    """Whether this shadow is the identity now: its certificate, with a key that works."""
    found = host.keystore.read()
    return (
        found is not None
        and found.certificate == shadow.certificate == host.keystore.read_certificate()
        and keys.match(found.key, found.certificate.public_key())
    )


@EVERY
class TestShadow:
    def test_in_an_empty_place_there_is_no_identity(self, host: Host) -> None:
        assert host.keystore.read() is None
        assert host.keystore.read_certificate() is None
        assert host.keystore.plan_rollback("none") is None
        assert host.keystore.previous_certificate() is None

    @pytest.mark.parametrize("key_type", [KeyType.RSA_2048, KeyType.EC_P256, KeyType.EC_P384])
    def test_its_key_is_of_the_type_asked_for(self, host: Host, key_type: KeyType) -> None:
        shadow = host.keystore.create_shadow("one", key_type)
        assert keys.type_of(shadow.key.public_key()) == key_type
        assert shadow.certificate is None

    def test_the_same_id_finds_the_same_key_also_in_the_next_process(self, host: Host) -> None:
        first, second = (host.keystore.create_shadow("one", KEY_TYPE) for _ in range(2))
        assert keys.match(first.key, second.key.public_key())

    def test_it_is_completed_once_or_twice_to_the_same_end(self, host: Host) -> None:
        shadow = host.complete("one")
        assert shadow.certificate
        found = host.keystore.create_shadow("one", KEY_TYPE)
        assert found.certificate is None  # the journal has it
        again = host.keystore.complete_shadow(found, shadow.certificate, shadow.chain)
        assert (again.certificate, again.chain) == (shadow.certificate, shadow.chain)
        assert keys.match(again.key, shadow.certificate.public_key())

    def test_a_certificate_of_another_key_is_refused(self, host: Host) -> None:
        shadow = host.keystore.create_shadow("one", KEY_TYPE)
        with pytest.raises(KeystoreError, match="does not fit"):
            host.keystore.complete_shadow(shadow, make_pki().new.certificate, ())
        assert host.keystore.create_shadow("one", KEY_TYPE).certificate is None

    def test_consumers_see_nothing_of_it(self, host: Host) -> None:
        old = host.activate("old")
        before = host.view()
        host.complete("new")
        assert host.view() == before
        assert in_place(host, old)
        assert host.strays() == []

    def test_several_live_side_by_side_and_sweeping_keeps_those_it_is_told_to(self, host: Host) -> None:
        first = {name: host.keystore.create_shadow(name, KEY_TYPE).key for name in ("one", "two", "three")}
        host.keystore.sweep_shadows(("two",))
        kept = {
            name: keys.match(host.keystore.create_shadow(name, KEY_TYPE).key, key.public_key())
            for name, key in first.items()
        }
        assert kept == {"one": False, "two": True, "three": False}

    def test_sweeping_where_there_is_none_is_fine(self, host: Host) -> None:
        host.keystore.sweep_shadows(())
        host.keystore.sweep_shadows(("one",))

    def test_without_a_key_type_the_key_in_place_is_kept(self, host: Host) -> None:
        old = host.activate("old")
        new = host.activate("new", None)
        assert keys.match(old.key, new.key.public_key())
        assert in_place(host, new)

    def test_without_a_key_in_place_none_can_be_kept(self, host: Host) -> None:
        with pytest.raises(KeystoreError, match="no key to keep") as caught:
            host.keystore.create_shadow("one", None)
        assert "rekey: always" in caught.value.hint


@EVERY
class TestActivation:
    def test_the_first_and_two_renewals(self, host: Host) -> None:
        for name in ("one", "two", "three"):
            shadow = host.activate(name)
            assert in_place(host, shadow)
            assert host.strays() == []
        assert all(host.view().values())

    def test_the_chain_is_there_without_the_root(self, host: Host) -> None:
        host.activate("one")
        found = host.keystore.read()
        assert found
        assert found.chain == (make_pki().intermediate.certificate,)

    def test_new_files_are_for_their_owner_alone_unless_their_role_says_that_they_hold_no_key(self, host: Host) -> None:
        host.activate("one")
        modes = {role: stat.S_IMODE(path.stat().st_mode) for role, path in host.definition.paths.items()}
        assert modes == {role: 0o600 if role.private else 0o644 for role in modes}

    def test_a_plan_writes_nothing_and_shows_no_key(self, host: Host) -> None:
        host.activate("old")
        shadow = host.complete("new")
        before = host.tree()
        plan = host.plan(shadow)
        assert host.tree() == before
        assert "PRIVATE KEY" not in repr(plan)

    def test_what_is_staged_is_not_in_place_and_can_be_undone(self, host: Host) -> None:
        old = host.activate("old")
        before = host.view()
        plan = host.plan(host.complete("new"))
        swap.stage(plan)
        assert in_place(host, old)
        for _ in range(2):
            swap.undo(plan.record)
            assert host.view() == before
            assert host.strays() == []

    def test_finishing_twice_is_finishing_once(self, host: Host) -> None:
        shadow = host.complete("one")
        plan = host.plan(shadow)
        carry_out(plan)
        swap.finish(plan.record)
        assert in_place(host, shadow)

    def test_the_old_identity_comes_back_and_can_be_left_again(self, host: Host) -> None:
        old, new = host.activate("old"), host.activate("new")
        for expected in (old, new):
            assert host.keystore.previous_certificate() == expected.certificate
            plan = host.keystore.plan_rollback("back")
            assert plan
            carry_out(plan)
            assert in_place(host, expected)

    def test_a_shadow_without_a_certificate_is_not_planned(self, host: Host) -> None:
        with pytest.raises(KeystoreError, match="no certificate yet"):
            host.plan(host.keystore.create_shadow("one", KEY_TYPE))

    def test_a_pair_is_tried_out_before_it_is_planned(self, host: Host) -> None:
        shadow = host.keystore.create_shadow("one", KEY_TYPE)
        with pytest.raises(KeystoreError, match="does not fit"):
            host.plan(Shadow("one", shadow.key, make_pki().new.certificate))

    def test_every_file_that_is_written_is_watched(self, host: Host) -> None:
        assert set(host.definition.paths.values()) <= set(host.keystore.watched())

    def test_trust_alone_takes_its_place_and_the_identity_stays(self, host: Host) -> None:
        old, new = host.activate("old"), host.activate("new")
        assert host.keystore.plan_trust("trust", make_pki().trusted) is None
        before = host.view()
        both = (*make_pki().trusted, make_pki().intermediate.certificate)
        plan = host.keystore.plan_trust("trust", both)
        assert plan
        assert plan.changes_ca
        carry_out(plan)
        assert host.view() == before | {"ca": to_pem(both)}
        assert in_place(host, new)
        back = host.keystore.plan_rollback("back")
        assert back
        carry_out(back)
        assert in_place(host, old)

    def test_the_ca_file_counts_as_changed_when_it_is(self, host: Host) -> None:
        plan = host.plan(host.complete("one"))
        assert plan.changes_ca
        carry_out(plan)
        assert not host.plan(host.complete("two")).changes_ca
        assert load_pem(host.definition.paths[FileRole.CA].read_bytes(), "ca") == make_pki().trusted


@EVERY
class TestTrouble:
    def test_what_does_not_belong_together_is_said_and_can_be_replaced(self, host: Host) -> None:
        host.activate("old")
        host.driver.break_pair(host.root)
        with pytest.raises(KeystoreError, match="match") as caught:
            host.keystore.read()
        assert caught.value.hint
        assert in_place(host, host.activate("new"))

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda path: path.write_bytes(b"\0" * 64), id="rubbish"),
            pytest.param(lambda path: path.write_bytes(b"\0" * (2 << 20)), id="huge"),
            pytest.param(os.mkdir, id="a directory"),
            pytest.param(os.mkfifo, id="a pipe"),
        ],
    )
    def test_a_damaged_file_is_named_with_what_to_do(self, host: Host, damage: Callable[[Path], object]) -> None:
        host.activate("old")
        path = next(path for role, path in host.definition.paths.items() if role != FileRole.CA)
        path.unlink()
        damage(path)
        with pytest.raises(KeystoreError) as caught:
            host.keystore.read()
        assert str(path) in str(caught.value)
        assert caught.value.hint

    def test_a_full_disk_while_staging_changes_nothing(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        host.activate("old")
        plan = host.plan(host.complete("new"))
        before = host.tree()
        step, hit = 0, ["a call"]
        while hit:
            step += 1
            with failing(step, errno.ENOSPC) as hit, suppress(KeystoreError):
                swap.stage(plan)
            swap.undo(plan.record)
            assert host.tree() == before, step
        assert step > 5


@FORKING
class TestKills:
    def test_a_shadow_is_whole_or_not_there(self, host: Host) -> None:
        old = host.activate("old", KeyType.EC_P256)
        issuer = make_pki().intermediate
        certificate = certify("web", old.key, issuer)

        def make() -> None:
            shadow = host.keystore.create_shadow("new", None)
            host.keystore.complete_shadow(shadow, certificate, (issuer.certificate,))

        step, alive = 0, True
        while alive:
            step += 1
            alive = killed(step, make)
            shadow = host.keystore.create_shadow("new", None)
            assert keys.match(shadow.key, certificate.public_key()), step
            host.keystore.sweep_shadows(())
        assert step > 4

    @pytest.mark.slow
    def test_a_swap_is_finished_or_undone(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        """One whole identity, whichever call it dies at; renewed again and again, so every state is met."""
        current = host.activate("n0")
        step, alive = 0, True
        while alive:
            step += 1
            new = host.complete(f"n{step}")
            plan = host.plan(new)
            phase = host.root / "phase"
            phase.write_text("staging")

            def run(plan: swap_plan.Plan = plan, phase: Path = phase) -> None:
                swap.stage(plan)
                phase.write_text("activating")
                swap.finish(plan.record)

            alive = killed(step, run)
            committed = phase.read_text() == "activating"
            if committed:
                swap.finish(plan.record)
            else:
                swap.undo(plan.record)
            current = new if committed else current
            assert in_place(host, current), step
            assert host.strays() == [], step
        assert step > 8


@WITH_SECRET
class TestSecret:
    @pytest.mark.parametrize("wrong", [b"wrong horse", b"\xff\xfe"], ids=["another", "not text"])
    def test_a_wrong_one_is_one_clear_error_and_changes_nothing(self, host: Host, wrong: bytes) -> None:
        host.activate("old")
        shadow = host.complete("new")
        before = host.tree()
        host.secret.write_bytes(wrong)
        for action in (host.keystore.read, lambda: host.keystore.create_shadow("new", KEY_TYPE)):
            with pytest.raises(KeystoreError) as caught:
                action()
            assert "horse" not in str(caught.value) + caught.value.hint
            assert "pass" in caught.value.hint
        host.secret.write_bytes(b"correct horse")
        assert host.tree() == before
        carry_out(host.plan(shadow))

    def test_the_shadow_lies_encrypted_and_for_its_owner_alone(self, host: Host) -> None:
        shadow = host.complete("one")
        plain = keys.to_pem(shadow.key)
        files = [path for path in (host.state / "shadow").rglob("*") if path.is_file()]
        assert files
        for path in files:
            assert path.stat().st_mode & 0o777 == 0o600
            assert plain not in path.read_bytes()
            assert b"BEGIN PRIVATE" not in path.read_bytes()


@EVERY
@pytest.mark.needs("root")
@pytest.mark.usefixtures("driver")  # said for the lowest pytest, which does not see it through the fixture below
class TestInAnotherUsersDirectory:
    """He may put there what he likes; none of it makes root read or write elsewhere."""

    @pytest.fixture
    def host(self, host: Host) -> Host:
        host.activate("one")
        give(host.etc)
        return host

    def test_links_of_his_are_not_followed(self, host: Host) -> None:
        for path in set(host.definition.paths.values()):
            mine = path.rename(host.root / "aside")
            link(path, mine)
            with pytest.raises(KeystoreError, match=rf"{path.name} is a symbolic link owned by user nobody"):
                host.keystore.check_targets()
            with pytest.raises(KeystoreError, match=rf"{path.name} is a symbolic link owned by user nobody"):
                host.plan(host.complete("two"))
            mine.replace(path)

    def test_nor_one_in_the_directorys_place(self, host: Host) -> None:
        link(host.etc, host.etc.rename(host.root / "aside"))
        with pytest.raises(KeystoreError, match="etc is a symbolic link owned by user nobody"):
            host.keystore.read()

    def test_hard_links_of_his_are_not_read(self, host: Host) -> None:
        for path in set(host.definition.paths.values()):
            content = path.read_bytes()
            path.unlink()  # it may be a link
            path.write_bytes(content)
            os.link(path, host.root / "aside")
            with pytest.raises(KeystoreError, match=rf"{path.name} is a hard link to a file of root"):
                host.keystore.check_targets()
            (host.root / "aside").unlink()

    def test_his_own_files_are_replaced(self, host: Host) -> None:
        assert in_place(host, host.activate("two"))
        assert host.strays() == []


NOBODY = 65534


def give(directory: Path) -> None:
    for each in (directory, *directory.iterdir()):
        os.lchown(each, NOBODY, NOBODY)


def link(path: Path, aim: Path) -> None:
    """As nobody makes it."""
    path.unlink(missing_ok=True)
    path.symlink_to(aim)
    os.lchown(path, NOBODY, NOBODY)
