"""ca_directory: one file for each trusted CA, as OpenSSL looks for them; and nothing of anybody else's."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from certagent import keys
from certagent.certificate import load_pem, to_pem
from certagent.config.key_types import KeyType
from certagent.errors import KeystoreError
from certagent.keystore import swap
from certagent.keystore.base import Identity

from .conftest import MakeSite
from .pki import Pki, certify
from .site import Site, carry_out

WAYS = pytest.mark.parametrize("way", ["rename", "symlink", "in-place"])


def ca(name: str) -> Identity:
    key = keys.generate(KeyType.EC_P256)
    return Identity(key, certify(name, key, None, ca=True, key_ids=True))


ONE, OTHER, SAME_NAME = ca("Corp CA 1"), ca("Corp CA 2"), ca("Corp CA 1")
A, B, C = (each.certificate for each in (ONE, OTHER, SAME_NAME))


@pytest.fixture
def host(site: MakeSite, pki: Pki) -> Site:
    """With a pair in place, and an empty directory."""
    place = site(ca_directory="cas")
    place.put(pki.old)
    (place.etc / "cas").mkdir()
    return place


def trust(place: Site, *trusted: x509.Certificate) -> bool:
    """Bring it up to date; whether there was anything to do."""
    plan = place.keystore.plan_trust("swap", trusted)
    if plan is not None:
        carry_out(plan)
    return plan is not None


def shown(place: Site) -> dict[str, str]:
    """Name of each file → of which CA it is."""
    words = {A: "A", B: "B", C: "C"}
    return {path.name: words[load_pem(path.read_bytes(), "")[0]] for path in place.cas() if path.is_file()}


def named(certificate: x509.Certificate, directory: Path) -> str:
    """HASH, as the openssl command has it."""
    file = directory / "named.pem"
    file.write_bytes(to_pem([certificate]))
    argv = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(file)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def names(place: Site) -> tuple[str, str]:
    return named(A, place.root), named(B, place.root)


CHANGES = [
    pytest.param([(A,)], {"a.0": "A"}, id="one"),
    pytest.param([(A, B)], {"a.0": "A", "b.0": "B"}, id="two names"),
    pytest.param([(A, C)], {"a.0": "A", "a.1": "C"}, id="one name twice, before and after a rollover"),
    pytest.param([(A,), (C, A)], {"a.0": "A", "a.1": "C"}, id="what lies well stays, whatever the order"),
    pytest.param([(A, B), (B,)], {"b.0": "B"}, id="one that is trusted no more goes"),
    pytest.param([(A, C), (C,)], {"a.0": "C"}, id="no number is left out, where OpenSSL would stop"),
    pytest.param([(A, A)], {"a.0": "A"}, id="one twice"),
]


@WAYS
@pytest.mark.parametrize(("steps", "expected"), CHANGES)
def test_what_it_holds(
    host: Site, way: str, steps: list[tuple[x509.Certificate, ...]], expected: dict[str, str]
) -> None:
    host.layout["swap"] = way
    for trusted in steps:
        assert trust(host, *trusted)
    a, b = names(host)
    assert shown(host) == {name.replace("a.", f"{a}.").replace("b.", f"{b}."): of for name, of in expected.items()}
    assert not trust(host, *steps[-1]), "nothing is left to do"
    assert not [path for path in host.cas() if path.is_symlink()]
    assert host.strays() == []


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("trusted", [(ONE,), (ONE, SAME_NAME), (ONE, OTHER), (SAME_NAME,)])
def test_openssl_finds_each_in_it_and_no_other(host: Site, trusted: tuple[Identity, ...]) -> None:
    trust(host, A, B, C)
    trust(host, *(each.certificate for each in trusted))
    for each in (ONE, OTHER, SAME_NAME):
        leaf = host.root / "leaf.pem"
        leaf.write_bytes(to_pem([certify("leaf", each.key, each, key_ids=True)]))
        command = ["openssl", "verify", "-no-CAfile", "-no-CAstore", "-CApath", str(host.etc / "cas"), str(leaf)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode == 0) == (each in trusted), done


@pytest.mark.needs("openssl")
def test_openssl_rehash_leaves_it_as_it_is(host: Site) -> None:
    """By a person who has a CA of his own in the same directory."""
    trust(host, A, C)
    before = shown(host)
    (host.etc / "cas/own.pem").write_bytes(to_pem([B]))
    subprocess.run(["openssl", "rehash", str(host.etc / "cas")], check=True, capture_output=True)
    assert shown(host) == before | {"own.pem": "B", f"{names(host)[1]}.0": "B"}
    assert not trust(host, A, C)
    trust(host, B)
    assert shown(host) == {"own.pem": "B", f"{names(host)[1]}.0": "B", f"{names(host)[1]}.1": "B"}


def a_file(path: Path) -> None:
    """The very certificate, but not by certagent."""
    path.write_bytes(to_pem([A]))


def a_link(path: Path) -> None:
    path.symlink_to("own.pem")


def a_directory(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def another_keystores(path: Path) -> None:
    path.write_bytes(b"# certagent keeps this file, along with /etc/ssl/other.key\n" + to_pem([A]))


@pytest.mark.parametrize("put", [a_file, a_link, a_directory, a_pipe, another_keystores])
def test_what_is_somebody_elses_is_neither_replaced_nor_removed(host: Site, put: Callable[[Path], None]) -> None:
    taken = host.etc / "cas" / f"{names(host)[0]}.0"
    put(taken)
    before = os.lstat(taken)
    for trusted, expected in [((A,), {".1": "A"}), ((A, C), {".1": "A", ".2": "C"}), ((C,), {".1": "C"}), ((B,), {})]:
        trust(host, *trusted)
        mine = {path.name[8:]: load_pem(path.read_bytes(), "")[0] for path in host.cas() if path != taken}
        assert {number: {A: "A", C: "C"}[of] for number, of in mine.items() if of != B} == expected
    assert os.path.samestat(os.lstat(taken), before)


@pytest.mark.needs("root")
@pytest.mark.parametrize("how", ["link", "symlink"])
def test_in_another_users_directory_nothing_of_roots_is_touched(host: Site, how: str) -> None:
    """Its owner leads our own names to what is root's, before and in the middle of a swap."""
    cas, treasure = host.etc / "cas", host.root / "treasure"
    os.chown(cas, 65534, 65534)
    treasure.write_bytes(b"# certagent keeps this file, along with %b\n" % os.fsencode(host.etc / "web.key"))
    treasure.chmod(0o600)
    before = treasure.read_bytes()
    trust(host, A, B)
    for name in names(host):
        (cas / f"{name}.0").unlink()
        getattr(os, how)(treasure, cas / f"{name}.0")
    assert trust(host, A, B)
    plan = host.keystore.plan_trust("swap", (C,))
    assert plan
    swap.stage(plan)
    for name in names(host):
        (cas / f"{name}.1").unlink()
        getattr(os, how)(treasure, cas / f"{name}.1")
    with contextlib.suppress(KeystoreError):
        swap.finish(plan.record)
    found = treasure.stat()
    assert (treasure.read_bytes(), found.st_mode & 0o777, found.st_uid) == (before, 0o600, os.geteuid())
    assert not [path for path in cas.iterdir() if path.stat().st_size == len(before) and not path.samefile(treasure)]


def test_two_keystores_share_one(site: MakeSite, pki: Pki, host: Site) -> None:
    other = site(ca_directory="cas", key_file="other.key", certificate_file="other.pem")
    other.put(pki.old)
    trust(host, A)
    trust(other, A, B)
    assert sorted(shown(host).values()) == ["A", "A", "B"]
    trust(host, C)
    assert sorted(shown(host).values()) == ["A", "B", "C"]
    assert not trust(other, A, B)


@pytest.mark.parametrize("how", ["lost", "emptied", "changed", "added to"])
def test_a_file_that_was_spoilt_is_written_again(host: Site, how: str) -> None:
    trust(host, A)
    [file] = host.cas()
    watched = host.keystore.watched()
    assert file in watched
    assert host.etc / "cas" in watched
    content = file.read_bytes()
    if how == "lost":
        file.unlink()
    elif how == "changed":
        file.write_bytes(content.replace(to_pem([A]), to_pem([B])))
    elif how == "emptied":
        file.write_bytes(content.partition(b"\n")[0] + b"\n")
    else:
        file.unlink()
        file.write_bytes(content + b"# more\n")
    assert trust(host, A)
    assert file.read_bytes() == content


@WAYS
def test_an_activation_brings_it_with_the_pair(host: Site, pki: Pki, way: str) -> None:
    host.layout["swap"] = way
    trust(host, A)
    plan = host.plan(pki.new, "one")
    assert plan.changes_ca
    carry_out(plan)
    [file] = host.cas()
    assert load_pem(file.read_bytes(), "") == pki.trusted
    assert file.stat().st_mode & 0o777 == 0o644
    assert host.strays() == []
    found = host.keystore.read()
    assert found
    assert found.certificate == pki.new.certificate


def test_what_another_program_puts_there_meanwhile_is_kept(host: Site) -> None:
    trust(host, A)
    plan = host.keystore.plan_trust("swap", (A, B))
    assert plan
    swap.stage(plan)
    taken = host.etc / "cas" / f"{names(host)[1]}.0"
    taken.write_bytes(b"somebody's")
    with pytest.raises(swap.UndoneError, match="was replaced by another program"):
        swap.finish(plan.record)
    assert taken.read_bytes() == b"somebody's"
    assert trust(host, A, B)
    assert sorted(path.name[9:] for path in host.cas()) == ["0", "0", "1"]
    assert host.strays() == []


def test_a_directory_that_is_missing_is_told(host: Site) -> None:
    (host.etc / "cas").rmdir()
    with pytest.raises(KeystoreError, match="cas does not exist"):
        host.keystore.check_targets()
    with pytest.raises(KeystoreError, match="cas"):
        trust(host, A)


@pytest.mark.parametrize("more", [{"ca_file": "ca.pem"}, {"ca_directory": "cas"}])
def test_what_links_lead_to_stays_while_they_do(site: MakeSite, pki: Pki, more: dict[str, str]) -> None:
    """The definition is changed from `symlink` to `rename`, and CAs are asked for: the pair is still behind links."""
    before = site(swap="symlink")
    before.put(pki.rsa)
    before.activate(pki.old, "one")
    after = site(swap="rename", **more)
    (after.etc / "cas").mkdir()
    trust(after, A)
    found = after.keystore.read()
    assert found
    assert found.certificate == pki.old.certificate
