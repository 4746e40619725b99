"""What is found in place: every way a key and its certificates are commonly written, and every way they are broken."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certagent import keys
from certagent.certificate import to_pem
from certagent.config.parts import Secret
from certagent.errors import KeystoreError
from certagent.keystore.base import Identity

from .conftest import MakeSite
from .pki import Pki
from .site import PASSPHRASE

ENCODINGS = [
    pytest.param("rsa", ["rsa", "-traditional"], id="PKCS#1"),
    pytest.param("rsa", ["pkcs8", "-topk8", "-nocrypt"], id="PKCS#8 RSA"),
    pytest.param("old", ["ec"], id="SEC 1"),
    pytest.param("old", ["pkcs8", "-topk8", "-nocrypt"], id="PKCS#8 EC"),
    pytest.param("rsa", ["rsa", "-traditional", "-aes256"], id="PKCS#1 encrypted"),
    pytest.param("old", ["ec", "-aes128"], id="SEC 1 encrypted"),
    pytest.param("rsa", ["pkcs8", "-topk8", "-v2", "aes-256-cbc"], id="PKCS#8 encrypted"),
]


def openssl(arguments: list[str], key: bytes) -> bytes:
    if not {"-nocrypt"} & set(arguments) and {"-aes256", "-aes128", "-v2"} & set(arguments):
        arguments = [*arguments, "-passout", f"pass:{PASSPHRASE.decode()}"]
    return subprocess.run(["openssl", *arguments], input=key, capture_output=True, check=True).stdout


@pytest.mark.parametrize("combined", [False, True], ids=["two files", "combined"])
@pytest.mark.parametrize(("who", "arguments"), ENCODINGS)
def test_keys_as_openssl_writes_them(site: MakeSite, pki: Pki, who: str, arguments: list[str], combined: bool) -> None:
    identity: Identity = getattr(pki, who)
    key = openssl(arguments, keys.to_pem(identity.key))
    place = site(key_passphrase=Secret(file="unused"), key_file="web.pem" if combined else "web.key")
    certificates = to_pem((identity.certificate, *identity.chain))
    (place.etc / "web.key").write_bytes(key)
    (place.etc / "web.pem").write_bytes(key + certificates if combined else certificates)

    found = place.keystore.read()

    assert found
    assert found.certificate == identity.certificate
    assert found.chain == identity.chain
    assert keys.match(found.key, identity.certificate.public_key())
    assert bool(place.secrets_read) == (b"ENCRYPTED" in key), "a secret is read only when it is needed"


ORDERS = [
    pytest.param("KLIR", id="key first"),
    pytest.param("LIRK", id="key last"),
    pytest.param("LKIR", id="key after the leaf, as HAProxy's users do"),
    pytest.param("RILK", id="root first"),
]


@pytest.mark.parametrize("order", ORDERS)
def test_a_combined_file_in_any_order(site: MakeSite, pki: Pki, order: str) -> None:
    blocks = {
        "K": keys.to_pem(pki.old.key),
        "L": b"subject=CN = web\n" + to_pem([pki.old.certificate]),
        "I": to_pem([pki.intermediate.certificate]),
        "R": to_pem([pki.root.certificate]),
    }
    place = site(key_file="web.pem")
    (place.etc / "web.pem").write_bytes(b"".join(blocks[each] for each in order))
    found = place.keystore.read()
    assert found
    assert found.certificate == place.keystore.read_certificate() == pki.old.certificate
    assert set(found.chain) == set(pki.old.chain)


def test_a_combined_file_that_holds_its_key_twice(site: MakeSite, pki: Pki) -> None:
    place = site(key_file="web.pem")
    key = keys.to_pem(pki.old.key)
    (place.etc / "web.pem").write_bytes(key + to_pem([pki.old.certificate]) + key)
    found = place.keystore.read()
    assert found
    assert found.certificate == place.keystore.read_certificate() == pki.old.certificate


def test_a_combined_file_whose_first_key_has_no_certificate(site: MakeSite, pki: Pki) -> None:
    """OpenSSL's readers take the first key, so the file serves nobody."""
    place = site(key_file="web.pem")
    blocks = keys.to_pem(pki.new.key), keys.to_pem(pki.old.key), to_pem([pki.old.certificate])
    (place.etc / "web.pem").write_bytes(b"".join(blocks))
    assert place.keystore.read_certificate() == pki.old.certificate
    with pytest.raises(KeystoreError, match="does not match the certificate"):
        place.keystore.read()


def test_the_chain_file_is_read_when_the_certificate_stands_alone(site: MakeSite, pki: Pki) -> None:
    place = site(chain_file="chain.pem", certificate_format="leaf")
    place.put(pki.old)
    (place.etc / "web.pem").write_bytes(to_pem([pki.old.certificate]))
    found = place.keystore.read()
    assert found
    assert found.chain == pki.old.chain


def test_the_certificate_is_read_without_the_key(site: MakeSite, pki: Pki) -> None:
    place = site()
    place.put(pki.old)
    (place.etc / "web.key").unlink()
    assert place.keystore.read_certificate() == pki.old.certificate


MISSING = [
    pytest.param({}, [], id="nothing"),
    pytest.param({}, ["web.key"], id="a key without a certificate"),
    pytest.param({"key_file": "web.pem"}, ["web.pem"], id="a combined file with a key only"),
]


@pytest.mark.parametrize(("layout", "files"), MISSING)
def test_no_identity_yet(site: MakeSite, pki: Pki, layout: dict[str, str], files: list[str]) -> None:
    place = site(**layout)
    for name in files:
        (place.etc / name).write_bytes(keys.to_pem(pki.old.key))
    assert place.keystore.read() is None
    assert place.keystore.read_certificate() is None


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def act(etc: Path) -> None:
        (etc / name).write_bytes(content)

    return act


def _instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def act(etc: Path) -> None:
        (etc / name).unlink()
        make(etc / name)

    return act


def _other_key(etc: Path) -> None:
    (etc / "web.key").write_bytes((etc / "other.key").read_bytes())


def _encrypted_key(etc: Path) -> None:
    key = (etc / "web.key").read_bytes()
    (etc / "web.key").write_bytes(openssl(["pkcs8", "-topk8", "-v2", "aes-256-cbc"], key))


BROKEN = [
    pytest.param(_instead("web.key", lambda path: None), "web.key", "put the key back", id="certificate without key"),
    pytest.param(_other_key, "web.key", "matching", id="key and certificate do not match"),
    pytest.param(_write("web.key", b"\x00garbage"), "web.key", "PRIVATE KEY", id="garbage for a key"),
    pytest.param(_write("web.key", b""), "web.key", "restore it", id="an empty key file"),
    pytest.param(_write("web.pem", b"<html>"), "web.pem", "fetch the file itself", id="garbage for a certificate"),
    pytest.param(_write("web.pem", b""), "web.pem", "restore it", id="an empty certificate file"),
    pytest.param(
        _write("web.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        "web.pem",
        "damaged",
        id="a certificate that is none",
    ),
    pytest.param(_encrypted_key, "web.key", "key_passphrase", id="an encrypted key without a passphrase"),
    pytest.param(_write("web.key", b"x" * (1 << 20) + b"y"), "web.key", "correct the path", id="too large a file"),
    pytest.param(_instead("web.key", Path.mkdir), "web.key", "correct the path", id="a directory for a key"),
    pytest.param(_instead("web.pem", Path.mkdir), "web.pem", "correct the path", id="a directory for a certificate"),
    pytest.param(_instead("web.key", os.mkfifo), "web.key", "correct the path", id="a named pipe"),
    pytest.param(
        _instead("web.key", lambda path: path.symlink_to(path)), "web.key", "fix the links", id="a link to itself"
    ),
]


@pytest.mark.parametrize(("damage", "named", "hint"), BROKEN)
def test_what_is_broken_is_named(
    site: MakeSite, pki: Pki, damage: Callable[[Path], None], named: str, hint: str
) -> None:
    place = site()
    place.put(pki.old)
    (place.etc / "other.key").write_bytes(keys.to_pem(pki.new.key))
    damage(place.etc)
    with pytest.raises(KeystoreError) as caught:
        place.keystore.read()
    assert str(place.etc / named) in str(caught.value)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value) + caught.value.hint


def test_a_key_nobody_can_read(
    site: MakeSite, pki: Pki, without_rights: Callable[[], AbstractContextManager[None]]
) -> None:
    place = site()
    place.put(pki.old)
    (place.etc / "web.key").chmod(0)
    with without_rights(), pytest.raises(KeystoreError, match=r"cannot read .*: Permission denied") as caught:
        place.keystore.read()
    assert "root" in caught.value.hint


def test_a_wrong_passphrase_is_not_told(site: MakeSite, pki: Pki) -> None:
    place = site(key_passphrase=Secret(file="unused"))
    place.put(pki.old)
    (place.etc / "web.key").write_bytes(keys.to_pem(pki.old.key, b"another"))
    with pytest.raises(KeystoreError) as caught:
        place.keystore.read()
    assert PASSPHRASE.decode() not in str(caught.value) + caught.value.hint


_LABELS = (b"BEGIN CERTIFICATE", b"END CERTIFICATE", b"BEGIN PRIVATE KEY", b"END PRIVATE KEY")
_PIECES = st.sampled_from([*(b"-----%s-----\n" % label for label in _LABELS), b"MIIB\n", b"\xff"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(key=st.lists(_PIECES | st.binary(max_size=20)), certificate=st.lists(_PIECES | st.binary(max_size=20)))
def test_no_content_raises_anything_but_our_own_error(
    site: MakeSite, key: list[bytes], certificate: list[bytes]
) -> None:
    place = site()
    (place.etc / "web.key").write_bytes(b"".join(key))
    (place.etc / "web.pem").write_bytes(b"".join(certificate))
    with pytest.raises(KeystoreError):
        place.keystore.read()
