"""Keys that only sign, between certagent and this host's openssl: what either writes the other reads.

OpenSSL 3.5 (Debian 13) can all of it; an older one has no ML-DSA, and no EdDSA in CMS, so those rows are skipped.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from asn1crypto import core
from cryptography import x509

from certagent import keys
from certagent.certificate import to_pem
from certagent.cli.check_openssl import _ALGORITHMS
from certagent.config.key_types import KeyType
from certagent.keystore import pkcs12_codec
from certagent.scep import Signer, asn1, build_csr, self_signed, signed_data
from certagent.scep.message import TRANSACTION_ID
from certagent.scep.signed import verify

from .parts import NOW, name

pytestmark = pytest.mark.needs("openssl")


def openssl(*command: str | Path) -> bytes:
    return subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True).stdout


@pytest.fixture(params=list(_ALGORITHMS))
def signer(request: pytest.FixtureRequest, tmp_path: Path) -> Signer:
    """A key of this kind with its certificate, also in `c.pem` and `k.pem`."""
    kind: KeyType = request.param
    can = subprocess.run(["openssl", "genpkey", "-algorithm", _ALGORITHMS[kind][0]], capture_output=True, check=False)
    if can.returncode:
        pytest.skip(f"not on this Debian: its openssl has no {kind}")
    key = keys.generate(kind)
    made = Signer(key, self_signed(key, name("CN=web"), NOW))
    (tmp_path / "c.pem").write_bytes(to_pem([made.certificate]))
    (tmp_path / "k.pem").write_bytes(keys.to_pem(key))
    return made


def message_of_openssl(directory: Path, digest: str) -> bytes:
    (directory / "text").write_bytes(b"text")
    who = ("-signer", directory / "c.pem", "-inkey", directory / "k.pem", "-md", digest)
    try:
        return openssl("cms", "-sign", "-binary", "-nodetach", "-in", directory / "text", *who, "-outform", "DER")
    except subprocess.CalledProcessError:
        pytest.skip("not on this Debian: its openssl signs no messages with such a key")


def test_it_reads_key_and_request(signer: Signer, tmp_path: Path) -> None:
    (tmp_path / "csr").write_bytes(build_csr(signer.key, name("CN=web"), san=None, challenge="x"))
    openssl("req", "-verify", "-inform", "DER", "-in", tmp_path / "csr", "-noout")
    public = openssl("pkey", "-in", tmp_path / "k.pem", "-pubout", "-outform", "DER")
    assert public == keys.public_bytes(signer.key.public_key())


def test_it_verifies_a_message(signer: Signer, tmp_path: Path) -> None:
    if keys.type_of(signer.key.public_key()) == KeyType.ED448:
        pytest.skip("no OpenSSL knows the digest that RFC 8419 wants with Ed448")
    message_of_openssl(tmp_path, "sha512")  # or else it can verify none either
    attributes = {TRANSACTION_ID: core.PrintableString("4711")}
    (tmp_path / "m").write_bytes(signed_data(b"text", attributes, signer, "sha256", [signer.certificate]))
    assert openssl("cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", tmp_path / "m") == b"text"


@pytest.mark.parametrize("digest", ["sha256", "sha512", "shake256"])
def test_its_messages_are_verified(signer: Signer, tmp_path: Path, digest: str) -> None:
    inner = asn1.content_info(message_of_openssl(tmp_path, digest), "signed_data", "it")
    assert verify(inner, [signer.certificate], "it").content == b"text"


def test_it_reads_a_pkcs12_file(signer: Signer, tmp_path: Path) -> None:
    bags = pkcs12_codec.entry(signer.key, [signer.certificate], "web", b"secret")
    (tmp_path / "p12").write_bytes(pkcs12_codec.dump(bags, b"secret"))
    shown = openssl("pkcs12", "-in", tmp_path / "p12", "-passin", "pass:secret", "-nodes")
    assert keys.match(keys.load_private(shown, None, "it"), signer.key.public_key())
    assert x509.load_pem_x509_certificate(shown) == signer.certificate


def test_its_pkcs12_files_are_read(signer: Signer, tmp_path: Path) -> None:
    pair = ("-inkey", tmp_path / "k.pem", "-in", tmp_path / "c.pem", "-passout", "pass:secret")
    made = openssl("pkcs12", "-export", *pair)
    [bag] = (each for each in pkcs12_codec.load(made, b"secret", "it") if each.kind is pkcs12_codec.Kind.KEY)
    assert keys.match(pkcs12_codec.private_key(bag, b"secret", "it"), signer.key.public_key())
