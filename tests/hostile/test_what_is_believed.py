"""What certagent believes for where it lies: others may not have put it there.

The device is root's; `nobody` is the other user, who has once had a way in, or still has.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from certagent.believed import check_state, file_fault
from certagent.errors import KeystoreError, StateError
from certagent.keystore.token.session import Token
from certagent.lab import Settings
from certagent.state_directory import StateDirectory
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.hostile.conftest import Enrolled
from tests.renewal.site import DAY, Clock, Site, start_lab
from tests.torture.consumers import MODULE

pytestmark = pytest.mark.needs("root")

OTHER = 65534  # nobody


def own(path: Path, uid: int = OTHER) -> None:
    for each in (path, *path.rglob("*")):
        os.lchown(each, uid, uid)


def write_file(path: Path, uid: int = 0, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    path.chmod(mode)
    os.chown(path, uid, uid)


def give_to_a_group(site: Site) -> None:
    os.chown(site.path("state"), 0, 4711)
    site.path("state").chmod(0o770)


# The state directory


OPENED = [
    pytest.param(
        lambda site: site.path("state").chmod(0o777), "state is writable by everybody", id="it is everybody's"
    ),
    pytest.param(lambda site: os.chown(site.path("state"), OTHER, 0), "state belongs to user nobody", id="another's"),
    pytest.param(
        lambda site: os.chown(site.directory, OTHER, 0), "belongs to user nobody", id="in another's directory"
    ),
    pytest.param(
        give_to_a_group,
        "state is writable by its group",
        id="a group's",
    ),
]
PLANTED = [
    pytest.param(lambda site: own(site.keystore_directory), "belongs to user nobody", id="the keystore's directory"),
    pytest.param(
        lambda site: write_file(site.keystore_directory / "transaction/transaction.json", OTHER),
        "transaction.json belongs neither to",
        id="a journal",
    ),
    pytest.param(
        lambda site: write_file(site.keystore_directory / "rollover/transaction.json", mode=0o666),
        "transaction.json is writable by",
        id="a journal that everybody may write",
    ),
    pytest.param(
        lambda site: write_file(site.keystore_directory / "shadow/0123/key.pem", OTHER),
        "key.pem belongs neither to",
        id="a key to be put in place",
    ),
    pytest.param(
        lambda site: write_file(site.path("state/authorities/lab/ca.pem"), OTHER),
        "ca.pem belongs neither to",
        id="a CA",
    ),
]


@pytest.mark.parametrize(("damage", "said"), [*OPENED, *PLANTED])
def test_a_state_that_others_may_have_written_is_not_carried_on(
    enrolled: Enrolled, damage: Callable[[Site], object], said: str
) -> None:
    site = enrolled()
    damage(site)
    before = {path: path.lstat().st_mtime_ns for path in site.path("state").rglob("*")}
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert said in str(outcome.message)
    assert outcome.hint
    assert {path: path.lstat().st_mtime_ns for path in site.path("state").rglob("*")} == before


@pytest.mark.parametrize(("damage", "said"), OPENED)
def test_nor_does_recover_look_at_it(enrolled: Enrolled, damage: Callable[[Site], object], said: str) -> None:
    site = enrolled()
    damage(site)
    with pytest.raises(StateError, match=said):
        site.recover()


def test_recover_carries_out_no_journal_of_another_user(enrolled: Enrolled) -> None:
    site = enrolled()
    write_file(site.keystore_directory / "transaction/transaction.json", OTHER)
    [done] = site.recover()
    assert "transaction.json belongs neither to root nor to the user certagent runs as" in str(done.error)


def test_below_a_sticky_directory_is_a_place_of_its_own(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    check_state(tmp_path / "state", deep=True)
    (tmp_path / "state").mkdir(0o700)
    check_state(tmp_path / "state", deep=True)


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_root_is_sent_to_the_user_whose_state_it_is_and_leaves_nothing_behind() -> None:
    with tempfile.TemporaryDirectory(prefix="certagent-") as name, ExitStack() as stack:
        directory, clock = Path(name), Clock()
        server = stack.enter_context(start_lab(directory / "lab", clock, Settings(lifetime=90 * DAY)))
        site = Site(directory, clock, server)
        site.write()
        own(directory)
        own(site.config, 0)
        site.config.chmod(0o644)
        with acting_as(OTHER):
            assert site.run().result is Result.ENROLLED
        outcome = site.run(Wish.RENEW)
        assert outcome.result is Result.FAILED
        assert "belongs to user nobody, and certagent runs as root" in str(outcome.message)
        assert "sudo -u nobody certagent" in str(outcome.hint)
        assert {path.lstat().st_uid for path in site.path("state").rglob("*")} == {OTHER}
        with acting_as(OTHER):
            assert site.run(Wish.RENEW).result is Result.RENEWED


def test_live_dir_is_not_exchanged_by_others(enrolled: Enrolled) -> None:
    site = enrolled()
    site.write("swap: symlink")
    site.path("live").mkdir()
    site.path("live").chmod(0o777)
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert "live_dir is not trusted" in str(outcome.message)


# A key that everybody can read


@pytest.mark.parametrize(
    ("there", "configured", "then"),
    [
        pytest.param(0o644, "", 0o640, id="nobody says that it should be"),
        pytest.param(0o666, "", 0o660, id="nor that all may write it"),
        pytest.param(0o640, "", 0o640, id="a group's is as it was"),
        pytest.param(0o644, "mode: '0400'", 0o400, id="it is as it is configured"),
    ],
)
def test_the_next_key_is_not(enrolled: Enrolled, there: int, configured: str, then: int) -> None:
    site = enrolled()
    site.write(configured)
    site.key.chmod(there)
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert site.key.stat().st_mode & 0o777 == then
    told = [line for line in site.log if "can be read by everybody on the host" in line]
    assert len(told) == (1 if there & 0o007 else 0)


def test_status_and_check_say_so(enrolled: Enrolled) -> None:
    site = enrolled()
    site.key.chmod(0o644)
    for words in (["status"], ["check", "--offline"]):
        assert "web.key holds the private key and can be read by everybody" in site.command(*words).stdout


# Files by themselves


@pytest.mark.parametrize(
    ("mode", "uid", "directory", "said"),
    [
        pytest.param(0o755, 0, 0o755, None, id="root's"),
        pytest.param(0o777, 0, 0o755, "is writable by its group or by everybody", id="everybody may write it"),
        pytest.param(0o755, OTHER, 0o755, "belongs neither to root nor", id="another's"),
        pytest.param(0o755, 0, 0o777, "may have been put there by others", id="everybody may exchange it"),
    ],
)
def test_a_file_is_believed_that_is_roots_alone(
    tmp_path: Path, mode: int, uid: int, directory: int, said: str | None
) -> None:
    file = tmp_path / "place/file"
    write_file(file, uid, mode)
    file.parent.chmod(directory)
    fault = file_fault(file)
    assert (fault is None) if said is None else fault is not None and said in fault[0]


# Programs, modules, trust anchors


def hook(site: Site) -> Path:
    script = site.path("hooks/hook.sh")
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\ntouch {site.path('ran')}\n")
    script.chmod(0o755)
    return script


def linked(script: Path) -> Path:
    script.rename(script.with_name("real"))
    script.symlink_to("real")
    return script


ANOTHERS = [
    pytest.param(lambda script: script.chmod(0o777), "hook.sh, which is writable by its group or", id="everybody's"),
    pytest.param(lambda script: os.chown(script, OTHER, 0), "hook.sh, which belongs neither to root nor", id="his"),
    pytest.param(
        lambda script: os.chown(script.parent, OTHER, 0),
        "hook.sh, which may have been put there by others",
        id="in his directory",
    ),
    pytest.param(
        lambda script: own(linked(script)),
        "hook.sh, which is not trusted",
        id="a link of his",
    ),
]


@pytest.mark.parametrize("interpreter", ["", "/bin/sh, "])
@pytest.mark.parametrize(("change", "said"), ANOTHERS)
def test_a_hook_that_others_may_write_is_not_run(
    enrolled: Enrolled, change: Callable[[Path], object], said: str, interpreter: str
) -> None:
    site = enrolled()
    script = hook(site)
    site.write(f"hooks: {{pre: [[{interpreter}{script}]]}}")
    change(script)
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert said in str(outcome.message)
    assert not site.path("ran").exists()
    assert said in site.command("check", "--offline").stdout


def test_what_interprets_a_hook_counts_too(enrolled: Enrolled) -> None:
    site = enrolled()
    script = hook(site)
    shell = site.path("sh")
    shell.symlink_to("/bin/sh")
    own(shell)
    script.write_text(script.read_text().replace("/bin/sh", str(shell)))
    site.write(f"hooks: {{pre: [[{script}]]}}")
    assert f"would run {shell}" in str(site.run(Wish.RENEW).message)


def test_a_trust_anchor_that_others_may_write_is_none(enrolled: Enrolled) -> None:
    site = enrolled()
    anchor = site.path("anchor.pem")
    anchor.write_bytes(site.path("lab/ca.pem").read_bytes())
    anchor.chmod(0o666)
    site.write(authority=f"trust_anchor: {anchor}")
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert "trust_anchor" in str(outcome.message)
    assert "is writable by its group or by everybody" in str(outcome.message)


@pytest.mark.needs("softhsm")
def test_a_module_that_others_may_write_is_not_loaded(tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    shutil.copy(MODULE, module)
    module.chmod(0o777)
    with pytest.raises(KeystoreError, match=r"module\.so is not loaded: it is writable by"):
        Token(str(module), "vpn", lambda: b"", StateDirectory(tmp_path / "state")).use("look", lambda _session: None)
