"""Which blocks of a PEM file are certagent's, and how a key in it is written."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from certagent import keys
from certagent.config.key_types import KeyType
from certagent.pem_blocks import KeyFormat, key_format, other_blocks

RSA, EC = keys.generate(KeyType.RSA_2048), keys.generate(KeyType.EC_P256)
CURVE = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
DH = b"-----BEGIN DH PARAMETERS-----\nMAYCAQUCAQI=\n-----END DH PARAMETERS-----\n"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("passphrase", [None, b"secret"], ids=["plain", "encrypted"])
@pytest.mark.parametrize("form", ["pkcs1", "pkcs8"])
@pytest.mark.parametrize("key", [RSA, EC], ids=["rsa", "ec"])
def test_a_key_is_written_and_recognised_in_either_form(
    key: keys.PrivateKey, form: KeyFormat, passphrase: bytes | None
) -> None:
    content = keys.to_pem(key, passphrase, form)
    assert key_format(CERTIFICATE + content) == form
    assert (b"ENCRYPTED" in content) == (passphrase is not None)
    assert keys.match(keys.load_private(content, passphrase, "here"), key.public_key())


FILES = [
    pytest.param(b"", b"", id="empty"),
    pytest.param(b"no PEM at all", b"", id="no PEM"),
    pytest.param(CERTIFICATE + keys.to_pem(RSA), b"", id="ours alone"),
    pytest.param(DH + CERTIFICATE + keys.to_pem(RSA), DH, id="DH parameters before"),
    pytest.param(CERTIFICATE + keys.to_pem(RSA) + DH.rstrip(), DH, id="and after, without a last line end"),
    pytest.param(keys.to_pem(RSA) + CERTIFICATE + keys.to_pem(EC), keys.to_pem(EC), id="a second key"),
    pytest.param(keys.to_pem(RSA) + CERTIFICATE + keys.to_pem(RSA).rstrip(), b"", id="the key twice"),
    pytest.param(CURVE + keys.to_pem(EC, None, "pkcs1"), b"", id="the curve of the key"),
    pytest.param(b"subject=CN = web\n" + CERTIFICATE + b"# mine\n" + DH, DH, id="words between"),
    pytest.param(CERTIFICATE + b"-----BEGIN DH PARAMETERS-----\nMAYC", b"", id="cut short"),
    pytest.param(b"-----BEGIN DH PARAMETERS-----\nMAYC" + DH, DH, id="cut short, then whole"),
    pytest.param(b"-----BEGIN A-----\n" * 50_000 + DH, DH, id="beginnings without an end"),
    pytest.param(DH.replace(b"\n", b"\r\n"), DH.replace(b"\n", b"\r\n"), id="Windows line ends"),
    pytest.param(b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n", None, id="a CRL"),
]


@pytest.mark.parametrize(("content", "kept"), FILES)
def test_what_is_not_certagents(content: bytes, kept: bytes | None) -> None:
    assert other_blocks(content) == (content if kept is None else kept)


@given(st.lists(st.sampled_from([DH, CURVE, CERTIFICATE, keys.to_pem(RSA), b"text\n", b"-----BEGIN ", b"-----END X"])))
def test_what_is_kept_is_kept_again(parts: list[bytes]) -> None:
    kept = other_blocks(b"".join(parts))
    assert kept.count(b"-----BEGIN DH") <= parts.count(DH)
    assert other_blocks(CERTIFICATE + keys.to_pem(RSA) + kept) == kept


def test_a_traditional_key_is_what_openssl_writes() -> None:
    content = RSA.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    assert keys.to_pem(RSA, None, "pkcs1") == content
    assert isinstance(EC, ec.EllipticCurvePrivateKey)
