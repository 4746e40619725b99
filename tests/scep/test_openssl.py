"""The openssl command line verifies and decrypts what we write, and we read what it writes."""

from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from certagent import keys
from certagent.certificate import to_pem
from certagent.scep import Algorithms, MessageType, Signer, encode_request

from .parts import NONCE, NOW, STRONG, TRANSACTION, World

pytestmark = pytest.mark.needs("openssl")


def openssl(*command: str | Path) -> bytes:
    return subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True).stdout


@pytest.fixture
def files(world: World, tmp_path: Path) -> Path:
    for who, party in (("ca", world.ca), ("device", world.device)):
        (tmp_path / f"{who}.pem").write_bytes(to_pem([party.certificate]))
        (tmp_path / f"{who}.key").write_bytes(keys.to_pem(party.key))
    return tmp_path


def request(world: World, algorithms: Algorithms, signing_time: datetime | None = None) -> bytes:
    return encode_request(
        MessageType.PKCS_REQ,
        b"the content",
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signer=world.device,
        recipient=world.ca.certificate,
        algorithms=algorithms,
        signing_time=signing_time,
    )


@pytest.mark.parametrize("algorithms", [STRONG, Algorithms("3des", "sha1"), Algorithms("aes256-cbc", "sha512")])
def test_openssl_reads_a_request(world: World, files: Path, algorithms: Algorithms) -> None:
    message, envelope = files / "message.der", files / "envelope.der"
    message.write_bytes(request(world, algorithms))
    believed = ("-CAfile", files / "device.pem", "-no_check_time", "-purpose", "any")
    openssl("cms", "-verify", "-inform", "DER", "-binary", "-in", message, *believed, "-out", envelope)
    who = ("-inkey", files / "ca.key", "-recip", files / "ca.pem")
    assert openssl("cms", "-decrypt", "-inform", "DER", "-binary", "-in", envelope, *who) == b"the content"


def test_openssl_reads_the_certificates_of_a_reply(world: World, files: Path) -> None:
    envelope = files / "envelope.der"
    envelope.write_bytes(world.content())
    who = ("-inkey", files / "device.key", "-recip", files / "device.pem")
    inner = files / "inner.der"
    inner.write_bytes(openssl("cms", "-decrypt", "-inform", "DER", "-binary", "-in", envelope, *who))
    shown = openssl("pkcs7", "-inform", "DER", "-in", inner, "-print_certs", "-noout")
    assert b"CN=device" in shown.replace(b" ", b"")  # OpenSSL 3.2 left the blanks out


def test_openssl_reads_when_a_request_was_signed(world: World, files: Path) -> None:
    message = files / "message.der"
    message.write_bytes(request(world, STRONG, NOW))
    shown = openssl("cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", message)
    assert b"UTCTIME:Jan  1 00:00:00 2030 GMT" in shown


@pytest.mark.parametrize("cipher", ["aes128", "aes256", "des3", "aes-128-gcm", "aes-256-gcm"])
@pytest.mark.parametrize(
    "how",
    [
        pytest.param((), id="DER"),
        pytest.param(("-stream",), id="BER"),
        pytest.param(("-keyid",), id="the recipient by its key"),
    ],
)
def test_we_open_openssl_envelopes(world: World, files: Path, cipher: str, how: tuple[str, ...]) -> None:
    inner, envelope = files / "inner.der", files / "envelope.der"
    openssl("crl2pkcs7", "-nocrl", "-certfile", files / "ca.pem", "-outform", "DER", "-out", inner)
    form = ("-binary", "-outform", "DER", *how)
    device = Signer(world.device.key, world.issued)
    there = World(world.ca, world.ra, device, world.stranger, world.issued, world.signers)
    (files / "device.pem").write_bytes(to_pem([world.issued]))  # the one with a key identifier
    openssl("cms", "-encrypt", f"-{cipher}", *form, "-in", inner, "-out", envelope, files / "device.pem")
    reply = there.decode(world.signed(content=envelope.read_bytes()), accept=["3des"])
    assert reply.certificates == (world.ca.certificate,)  # type: ignore[union-attr]
