"""The swap as a consumer sees it: contents, owners, links, both ways, and back again."""

from __future__ import annotations

import os
import pwd
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certagent import keys
from certagent.certificate import load_pem, to_pem
from certagent.config.parts import Secret
from certagent.config.values import Mode
from certagent.errors import KeystoreError
from certagent.keystore import swap
from certagent.keystore.base import Identity, Shadow
from certagent.pem_blocks import KeyFormat, key_format

from .conftest import TWO_FILES, MakeSite
from .pki import Pki, certify
from .site import Site, carry_out, link_tree

ONE_FILE = {"key_file": "web.pem"}
WAYS = pytest.mark.parametrize("way", ["rename", "symlink"])
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def certificates(path: Path) -> list[str]:
    """The subjects' common names, in order."""
    return [each.subject.rfc4514_string().removeprefix("CN=") for each in load_pem(path.read_bytes(), str(path))]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


CONTENTS = [
    pytest.param({}, {"web.key": [], "web.pem": ["web", "intermediate"]}, id="fullchain, never with the root"),
    pytest.param({"certificate_format": "leaf"}, {"web.key": [], "web.pem": ["web"]}, id="leaf"),
    pytest.param(ONE_FILE, {"web.pem": ["web", "intermediate"]}, id="combined fullchain"),
    pytest.param(ONE_FILE | {"certificate_format": "leaf"}, {"web.pem": ["web"]}, id="combined leaf"),
    pytest.param(
        {"certificate_format": "leaf", "chain_file": "chain.pem", "ca_file": "ca.pem"},
        {"web.pem": ["web"], "chain.pem": ["intermediate", "root"], "ca.pem": ["root"]},
        id="chain and ca in files of their own",
    ),
]


@WAYS
@pytest.mark.parametrize("before", [False, True], ids=["first", "renewal"])
@pytest.mark.parametrize(("layout", "expected"), CONTENTS)
def test_what_each_file_holds(
    site: MakeSite, pki: Pki, *, way: str, before: bool, layout: dict[str, str], expected: dict[str, list[str]]
) -> None:
    place = site(swap=way, **layout)
    if before:
        place.put(pki.old)
    place.activate(pki.new, "one")
    assert {name: certificates(place.etc / name) for name in expected} == expected
    found = place.keystore.read()
    assert found
    assert found.certificate == pki.new.certificate
    assert place.strays() == []


def test_an_issuer_that_is_the_root_stands_in_for_a_missing_chain(site: MakeSite, pki: Pki) -> None:
    place = site(chain_file="chain.pem")
    certificate = certify("web", pki.new.key, pki.root)
    place.activate(Identity(pki.new.key, certificate), "one")
    assert certificates(place.etc / "chain.pem") == ["root"]
    assert certificates(place.etc / "web.pem") == ["web"]


@WAYS
def test_an_encrypted_key_stays_encrypted(site: MakeSite, pki: Pki, way: str) -> None:
    place = site(swap=way, key_passphrase=Secret(file="unused"))
    place.activate(pki.new, "one")
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (place.etc / "web.key").read_bytes()
    assert place.keystore.read()


def accepted(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("certificate_format", ["fullchain", "leaf"])
class TestACombinedFileIsTaken:
    def test_by_openssl(self, site: MakeSite, pki: Pki, certificate_format: str) -> None:
        place = site(**ONE_FILE, certificate_format=certificate_format)
        place.activate(pki.new, "one")
        accepted(["openssl", "x509", "-noout", "-in", f"{place.etc}/web.pem"])
        accepted(["openssl", "pkey", "-noout", "-in", f"{place.etc}/web.pem"])

    @pytest.mark.needs("nginx")
    def test_by_nginx(self, site: MakeSite, pki: Pki, certificate_format: str) -> None:
        place = site(**ONE_FILE, certificate_format=certificate_format)
        place.activate(pki.new, "one")
        (place.root / "nginx.conf").write_text(
            f"pid {place.root}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; server {{ listen 127.0.0.1:1 ssl; ssl_certificate {place.etc}/web.pem;"
            f" ssl_certificate_key {place.etc}/web.pem; }} }}\n"
        )
        accepted(["nginx", "-t", "-p", str(place.root), "-c", f"{place.root}/nginx.conf"])

    @pytest.mark.needs("haproxy")
    def test_by_haproxy(self, site: MakeSite, pki: Pki, certificate_format: str) -> None:
        place = site(**ONE_FILE, certificate_format=certificate_format)
        place.activate(pki.new, "one")
        (place.root / "haproxy.cfg").write_text(
            "defaults\n mode http\n timeout client 1s\n timeout connect 1s\n timeout server 1s\n"
            f"frontend f\n bind 127.0.0.1:1 ssl crt {place.etc}/web.pem\n"
        )
        accepted(["haproxy", "-c", "-f", f"{place.root}/haproxy.cfg"])

    @pytest.mark.needs("haproxy")
    def test_by_haproxy_reading_the_directory_in_the_middle_of_a_swap(
        self, site: MakeSite, pki: Pki, certificate_format: str
    ) -> None:
        """What lies beside the target is passed over."""
        place = site(**ONE_FILE, certificate_format=certificate_format)
        place.put(pki.old)
        plan = place.plan(pki.new, "one")
        swap.stage(plan)
        Path(plan.record.changes[0].staged).write_text("would be refused")
        (place.root / "haproxy.cfg").write_text(
            "defaults\n mode http\n timeout client 1s\n timeout connect 1s\n timeout server 1s\n"
            f"frontend f\n bind 127.0.0.1:1 ssl crt {place.etc}/\n"
        )
        accepted(["haproxy", "-c", "-f", f"{place.root}/haproxy.cfg"])


def test_key_and_certificate_are_tried_out_before_anything_is_planned(site: MakeSite, pki: Pki) -> None:
    with pytest.raises(KeystoreError, match="does not fit"):
        site().keystore.plan_activation(Shadow("one", pki.old.key, pki.new.certificate), pki.trusted)
    with pytest.raises(KeystoreError, match="no certificate yet"):
        site().keystore.plan_activation(Shadow("one", pki.old.key), pki.trusted)


def test_a_plan_does_not_show_the_key(site: MakeSite, pki: Pki) -> None:
    assert "PRIVATE" not in repr(site().plan(pki.new, "one"))


# Owners and modes


@WAYS
@pytest.mark.parametrize(
    ("layout", "key", "rest"),
    [
        pytest.param({}, 0o600, 0o644, id="by default"),
        pytest.param({"mode": Mode(0o640)}, 0o640, 0o644, id="the mode is the key's alone"),
    ],
)
def test_modes_of_new_files(site: MakeSite, pki: Pki, *, way: str, layout: dict[str, Any], key: int, rest: int) -> None:
    place = site(swap=way, ca_file="ca.pem", **layout)
    place.activate(pki.new, "one")
    assert [mode(place.etc / name) for name in ("web.key", "web.pem", "ca.pem")] == [key, rest, rest]


@WAYS
def test_a_combined_file_counts_as_a_key(site: MakeSite, pki: Pki, way: str) -> None:
    place = site(swap=way, **ONE_FILE)
    place.activate(pki.new, "one")
    assert mode(place.etc / "web.pem") == 0o600


@WAYS
def test_the_mode_of_a_certificate_is_not_handed_on_to_a_key(site: MakeSite, pki: Pki, way: str) -> None:
    """Two files become one combined file: what was 0644 holds the key now."""
    site().put(pki.old)
    (site().etc / "web.pem").chmod(0o644)
    place = site(swap=way, **ONE_FILE)
    place.activate(pki.new, "one")
    assert mode(place.etc / "web.pem") == 0o600


@AS_ROOT
@WAYS
def test_owner_and_mode_stay_as_they_are_in_place(site: MakeSite, pki: Pki, way: str) -> None:
    place = site(swap=way)
    place.put(pki.old)
    os.chown(place.etc / "web.key", 1234, 5678)
    (place.etc / "web.key").chmod(0o440)
    (place.etc / "web.pem").chmod(0o600)
    for number in range(2):
        place.activate(pki.new, f"n{number}")
        status = (place.etc / "web.key").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 5678, 0o440)
        assert mode(place.etc / "web.pem") == 0o600


@AS_ROOT
@WAYS
def test_configured_owners_apply_to_every_file(site: MakeSite, pki: Pki, way: str) -> None:
    place = site(swap=way, ca_file="ca.pem", owner="nobody", group="4711")
    place.put(pki.old)
    place.activate(pki.new, "one")
    for name in ("web.key", "web.pem", "ca.pem"):
        status = (place.etc / name).stat()
        assert (status.st_uid, status.st_gid) == (pwd.getpwnam("nobody").pw_uid, 4711)


@pytest.mark.parametrize("key", ["owner", "group"])
def test_an_unknown_owner_is_named(site: MakeSite, pki: Pki, key: str) -> None:
    with pytest.raises(KeystoreError, match="no-such-one") as caught:
        site(**{key: "no-such-one"}).plan(pki.new, "one")
    assert key in caught.value.hint


@WAYS
def test_consumers_pass_through_the_live_directory(site: MakeSite, pki: Pki, way: str) -> None:
    place = site(swap=way)
    old = os.umask(0o077)
    try:
        place.activate(pki.new, "one")
    finally:
        os.umask(old)
    assert mode(place.etc / "web.pem") == 0o644
    if way == "symlink":
        assert {mode(path) for path in (place.live.parent, place.live, place.live / "current")} == {0o755}


# Symbolic links


LINKS = [
    pytest.param({"web.key": "real/key"}, "real/key", id="relative"),
    pytest.param({"web.key": "hop", "hop": "real/key"}, "real/key", id="through another link"),
    pytest.param({"web.key": "real/absent"}, "real/absent", id="dangling"),
]


@pytest.mark.parametrize(("links", "final"), LINKS)
def test_a_link_stays_and_the_file_behind_it_is_replaced(
    site: MakeSite, pki: Pki, links: dict[str, str], final: str
) -> None:
    place = site()
    place.put(pki.old)
    (place.etc / "real").mkdir()
    (place.etc / "web.key").rename(place.etc / "real" / "key")
    for name, target in links.items():
        (place.etc / name).symlink_to(target)
    place.activate(pki.new, "one")
    assert link_tree(place.etc) == links
    assert (place.etc / final).read_bytes() == keys.to_pem(pki.new.key)


UNPLANNABLE = [
    pytest.param(
        lambda etc: (etc / "web.key").symlink_to("web.key"), "leads back to itself", "fix", id="a link to itself"
    ),
    pytest.param(
        lambda etc: (etc / "web.key").symlink_to("gone/key"), "gone does not exist", "create", id="no directory"
    ),
    pytest.param(lambda etc: (etc / "web.key").symlink_to("web.pem"), "same file", "same path", id="one file twice"),
    pytest.param(lambda etc: (etc / "web.key").mkdir(), "is a directory", "correct", id="a directory"),
    pytest.param(lambda etc: (etc / "web.key").symlink_to("../live/web/x"), "certagent's own", "", id="into live"),
]


@WAYS
@pytest.mark.parametrize(("damage", "said", "hint"), UNPLANNABLE)
def test_what_cannot_be_planned(
    site: MakeSite, pki: Pki, *, way: str, damage: Callable[[Path], None], said: str, hint: str
) -> None:
    place = site(swap=way)
    place.live.mkdir(parents=True)
    damage(place.etc)
    with pytest.raises(KeystoreError, match=said) as caught:
        place.plan(pki.new, "one")
    assert hint in caught.value.hint


def test_a_missing_directory_is_not_made(site: MakeSite, pki: Pki) -> None:
    with pytest.raises(KeystoreError, match="nginx does not exist") as caught:
        site(key_file="nginx/web.key").plan(pki.new, "one")
    assert "create it" in caught.value.hint


# The CA file


@WAYS
def test_a_ca_file_is_written_when_it_changes(site: MakeSite, pki: Pki, way: str) -> None:
    place = site(swap=way, ca_file="ca.pem")
    assert place.plan(pki.new, "one").changes_ca
    place.activate(pki.new, "one")
    again = place.plan(pki.old, "two")
    assert not again.changes_ca
    carry_out(again)
    assert certificates(place.etc / "ca.pem") == ["root"]


@WAYS
def test_a_ca_file_is_left_alone_when_nothing_is_trusted(site: MakeSite, pki: Pki, way: str) -> None:
    place = site(swap=way, ca_file="ca.pem")
    (place.etc / "ca.pem").write_text("as it was")
    shadow = Shadow("one", pki.new.key, pki.new.certificate, pki.new.chain)
    plan = place.keystore.plan_activation(shadow, ())
    carry_out(plan)
    assert not plan.changes_ca
    assert (place.etc / "ca.pem").read_text() == "as it was"


# By symlink


def test_one_pointer_for_all_paths(site: MakeSite, pki: Pki) -> None:
    place = site(swap="symlink")
    place.put(pki.old)
    place.activate(pki.new, "one")
    assert link_tree(place.root) == {
        "etc/web.key": str(place.live / "current/key.pem"),
        "etc/web.pem": str(place.live / "current/certificate.pem"),
        "live/web/current": "generation-one",
    }


def test_the_generation_just_left_is_kept_and_older_ones_go(site: MakeSite, pki: Pki) -> None:
    place = site(swap="symlink")
    place.put(pki.old)
    left = []
    for name in ("a", "b", "c", "d"):
        place.activate(pki.new, name)
        left.append(sorted(path.name for path in place.live.glob("generation-*")))
    assert left == [
        ["generation-a", "generation-a-base"],
        ["generation-a", "generation-b"],
        ["generation-b", "generation-c"],
        ["generation-c", "generation-d"],
    ]


def test_a_swap_under_an_id_used_before_takes_a_directory_of_its_own(site: MakeSite, pki: Pki) -> None:
    place = site(swap="symlink")
    place.activate(pki.old, "one")
    place.activate(pki.new, "one")
    assert link_tree(place.live) == {"current": "generation-one-2"}


def test_a_link_another_tool_replaced_by_a_file_becomes_a_link_again(site: MakeSite, pki: Pki) -> None:
    place = site(swap="symlink")
    place.activate(pki.old, "one")
    (place.etc / "web.pem").unlink()
    (place.etc / "web.pem").write_bytes(to_pem([pki.old.certificate]))
    place.activate(pki.new, "two")
    assert set(link_tree(place.etc)) == {"web.key", "web.pem"}


def test_a_file_added_to_the_definition_joins_the_others(site: MakeSite, pki: Pki) -> None:
    site(swap="symlink").activate(pki.old, "one")
    place = site(swap="symlink", chain_file="chain.pem")
    place.activate(pki.new, "two")
    assert set(link_tree(place.etc)) == {"web.key", "web.pem", "chain.pem"}


def test_back_to_rename(site: MakeSite, pki: Pki) -> None:
    """Our links are replaced, not written through; the generations go with the swap after."""
    site(swap="symlink").activate(pki.old, "one")
    place = site(swap="rename")
    place.activate(pki.new, "two")
    assert link_tree(place.etc) == {}
    assert (place.live / "current" / "key.pem").read_bytes() == keys.to_pem(pki.old.key)
    place.activate(pki.old, "three")
    assert not place.live.exists()


# Back again


@WAYS
@pytest.mark.parametrize(
    "layout",
    [
        pytest.param({}, id="two files"),
        pytest.param(ONE_FILE, id="one"),
        pytest.param({"ca_file": "ca.pem"}, id="ca"),
    ],
)
def test_rollback_brings_the_old_files_back(site: MakeSite, pki: Pki, way: str, layout: dict[str, str]) -> None:
    place = site(swap=way, **layout)
    place.put(pki.old)
    before = place.view()
    place.activate(pki.new, "one")
    plan = place.keystore.plan_rollback("back")
    assert plan
    carry_out(plan)
    expected = place.view()
    assert {role: expected[role] for role, content in before.items() if content} == {
        role: content for role, content in before.items() if content
    }
    found = place.keystore.read()
    assert found
    assert found.certificate == pki.old.certificate


@WAYS
def test_after_a_first_enrollment_there_is_nothing_to_go_back_to(site: MakeSite, pki: Pki, way: str) -> None:
    place = site(swap=way)
    assert place.keystore.plan_rollback("back") is None
    place.activate(pki.new, "one")
    assert place.keystore.plan_rollback("back") is None


@WAYS
def test_previous_is_for_root_alone(site: MakeSite, pki: Pki, way: str) -> None:
    place = site(swap=way)
    place.put(pki.old)
    place.activate(pki.new, "one")
    previous = place.state / "previous"
    assert mode(previous) == 0o700
    assert {path.name: mode(path) for path in previous.iterdir()} == {"key.pem": 0o600, "certificate.pem": 0o600}


# When it cannot be done


@WAYS
def test_a_limit_on_file_sizes_while_staging(site: MakeSite, pki: Pki, way: str) -> None:
    """The kernel refuses the content itself (EFBIG), as it does on a full disk."""
    place = site(swap=way)
    place.put(pki.old)
    before, plan = place.view(), place.plan(pki.new, "one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(KeystoreError, match="File too large") as caught:
            swap.stage(plan)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.hint
    assert place.view() == before
    assert place.strays() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of a few pages, at the site's etc."""
    etc = tmp_path / "etc"
    etc.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "certagent-test", str(etc)]
    mounted = subprocess.run(mount, check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield etc
    subprocess.run(["umount", etc], check=True)


def test_a_full_disk_while_staging(site: MakeSite, pki: Pki, small_disk: Path) -> None:
    place = site()
    place.put(pki.old)
    (small_disk / "real-filler").write_bytes(b"x" * 4096)
    before = place.view()
    with pytest.raises(KeystoreError, match=f"{place.etc}.*: No space left on device") as caught:
        place.activate(pki.new, "one")
    assert "free some space" in caught.value.hint
    assert place.view() == before
    assert place.strays() == []


def test_a_read_only_directory(
    site: MakeSite, pki: Pki, without_rights: Callable[[], AbstractContextManager[None]]
) -> None:
    place = site()
    place.put(pki.old)
    plan = place.plan(pki.new, "one")
    place.etc.chmod(0o500)
    place.state.mkdir(mode=0o777)
    place.state.chmod(0o777)
    with without_rights(), pytest.raises(KeystoreError, match="Permission denied"):
        swap.stage(plan)


def test_a_staged_file_that_vanished_before_the_swap(site: MakeSite, pki: Pki) -> None:
    place = site()
    place.put(pki.old)
    before, plan = place.view(), place.plan(pki.new, "one")
    swap.stage(plan)
    Path(plan.record.changes[0].staged).unlink()
    with pytest.raises(swap.UndoneError, match="is gone") as caught:
        swap.finish(plan.record)
    assert caught.value.kind == "keystore"
    assert place.view() == before
    assert place.strays() == []


def test_a_staged_file_that_vanished_between_two_renames(site: MakeSite, pki: Pki) -> None:
    place = site()
    place.put(pki.old)
    before, plan = place.view(), place.plan(pki.new, "one")
    swap.stage(plan)
    first, second = plan.record.changes
    os.replace(first.staged, first.target)
    Path(second.staged).unlink()
    with pytest.raises(swap.UndoneError):
        swap.finish(plan.record)
    assert place.view() == before


def test_files_another_program_wrote_meanwhile_are_not_touched(site: MakeSite, pki: Pki) -> None:
    place = site()
    place.put(pki.old)
    plan = place.plan(pki.new, "one")
    swap.stage(plan)
    first, second = plan.record.changes
    os.replace(first.staged, first.target)
    Path(second.staged).unlink()
    Path(second.target).write_text("somebody's own")
    before = place.view()
    with pytest.raises(swap.UndoneError):
        swap.finish(plan.record)
    assert place.view() == before
    assert place.strays() == []


REPLACED = [
    pytest.param("web.key", lambda file: file.write_text("somebody's own"), id="the key"),
    pytest.param("web.pem", lambda file: file.write_text("somebody's own"), id="the certificate"),
    pytest.param("web.pem", lambda file: (file.unlink(), file.symlink_to("elsewhere.pem")), id="by a link"),
    pytest.param("web.pem", Path.unlink, id="it is gone"),
]


@WAYS
@pytest.mark.parametrize(("name", "replace"), REPLACED)
def test_what_somebody_replaced_since_the_look_is_kept(
    site: MakeSite, pki: Pki, *, way: str, name: str, replace: Callable[[Path], object]
) -> None:
    place = site(swap=way)
    place.put(pki.old)
    plan = place.plan(pki.new, "one")
    swap.stage(plan)
    replace(place.etc / name)
    before = place.view()
    for _ in range(2):  # `recover` does it again
        with pytest.raises(swap.UndoneError, match=r"was replaced by another program|was removed or changed|is gone"):
            swap.finish(plan.record)
        assert place.view() == before
    assert place.strays() == []


def test_a_journal_that_does_not_say_what_was_found_is_carried_out(site: MakeSite, pki: Pki) -> None:
    place = site()
    place.put(pki.old)
    plan = place.plan(pki.new, "one")
    swap.stage(plan)
    changes = tuple(msgspec.structs.replace(each, before=None) for each in plan.record.changes)
    swap.finish(msgspec.structs.replace(plan.record, changes=changes))
    found = place.keystore.read()
    assert found
    assert found.certificate == pki.new.certificate


def test_the_swap_loads_no_cryptography() -> None:
    code = "import sys, certagent.keystore.swap; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "msgspec" in loaded
    assert not {"cryptography", "asn1crypto"} & set(loaded)


def test_the_paths_to_be_watched(site: MakeSite) -> None:
    place: Site = site(ca_file="ca.pem")
    assert [path.name for path in place.keystore.watched()] == [*TWO_FILES.values(), "ca.pem"]


DH = "-----BEGIN DH PARAMETERS-----\nMAYCAQUCAQI=\n-----END DH PARAMETERS-----\n"


@WAYS
@pytest.mark.parametrize("layout", [{}, ONE_FILE], ids=["two files", "one file"])
def test_what_certagent_did_not_write_stays_in_the_file(
    site: MakeSite, pki: Pki, *, way: str, layout: dict[str, str]
) -> None:
    place = site(swap=way, **layout)
    place.put(pki.old)
    with (place.etc / "web.pem").open("a") as file:
        file.write(DH)
    place.activate(pki.new, "one")
    place.activate(pki.old, "two")
    assert (place.etc / "web.pem").read_text().count(DH) == 1
    found = place.keystore.read()
    assert found
    assert found.certificate == pki.old.certificate


@WAYS
def test_a_second_pair_in_the_file_stays_with_its_certificate(site: MakeSite, pki: Pki, *, way: str) -> None:
    place = site(swap=way, **ONE_FILE)
    place.put(pki.old)
    second = keys.to_pem(pki.rsa.key) + to_pem((pki.rsa.certificate,))
    with (place.etc / "web.pem").open("ab") as file:
        file.write(second)
    assert place.keystore.read_certificate() == pki.old.certificate
    for shadow, identity in (("one", pki.new), ("two", pki.old), ("three", pki.new)):
        place.activate(identity, shadow)
        found = place.keystore.read()
        assert found
        assert found.certificate == identity.certificate
        assert pki.rsa.certificate not in found.chain
        assert (place.etc / "web.pem").read_bytes().count(second) == 1


FORMS = [
    pytest.param(None, "pkcs8", "pkcs8", id="as it is: pkcs8"),
    pytest.param(None, "pkcs1", "pkcs1", id="as it is: pkcs1"),
    pytest.param("pkcs1", "pkcs8", "pkcs1", id="pkcs1 is configured"),
    pytest.param("pkcs8", "pkcs1", "pkcs8", id="pkcs8 is configured"),
]


@pytest.mark.parametrize("passphrase", [None, Secret(file="unused")], ids=["plain", "encrypted"])
@pytest.mark.parametrize(("configured", "there", "expected"), FORMS)
def test_the_key_keeps_its_form_unless_another_is_configured(
    site: MakeSite, pki: Pki, *, configured: str | None, there: KeyFormat, expected: str, passphrase: Secret | None
) -> None:
    place = site(key_format=configured, key_passphrase=passphrase)
    place.put(pki.old)
    (place.etc / "web.key").write_bytes(keys.to_pem(pki.old.key, None, there))
    place.activate(pki.new, "one")
    assert key_format((place.etc / "web.key").read_bytes()) == expected
    found = place.keystore.read()
    assert found
    assert found.certificate == pki.new.certificate
