"""Private keys in every form they are found in."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from certagent import keys
from certagent.certificate import to_pem
from certagent.config.values import KeyType
from certagent.errors import KeystoreError

from .pki import key, party, rsa_key

PASSPHRASE = b"correct horse"
PLAIN = NoEncryption()
LOCKED = BestAvailableEncryption(PASSPHRASE)


@pytest.mark.parametrize(
    ("key_type", "size"),
    [
        pytest.param(KeyType.RSA_2048, 2048, id="rsa:2048"),
        pytest.param(KeyType.EC_P256, 256, id="ec:p256"),
        pytest.param(KeyType.EC_P384, 384, id="ec:p384"),
    ],
)
def test_new_keys(key_type: KeyType, size: int) -> None:
    made = keys.generate(key_type)
    assert made.key_size == size
    assert isinstance(made, rsa.RSAPrivateKey if key_type.value.startswith("rsa") else ec.EllipticCurvePrivateKey)


@pytest.mark.parametrize("family", ["rsa", "ec"])
@pytest.mark.parametrize(
    ("form", "encryption", "passphrase"),
    [
        pytest.param(PrivateFormat.PKCS8, PLAIN, None, id="PKCS8"),
        pytest.param(PrivateFormat.PKCS8, PLAIN, PASSPHRASE, id="PKCS8, a passphrase nobody needs"),
        pytest.param(PrivateFormat.PKCS8, LOCKED, PASSPHRASE, id="PKCS8, encrypted"),
        pytest.param(PrivateFormat.TraditionalOpenSSL, PLAIN, None, id="traditional"),
        pytest.param(PrivateFormat.TraditionalOpenSSL, LOCKED, PASSPHRASE, id="traditional, encrypted"),
    ],
)
@pytest.mark.parametrize("around", ["alone", "after certificates", "before one", "with CR LF", "with words around"])
def test_every_form_is_read(
    family: str,
    form: PrivateFormat,
    encryption: serialization.KeySerializationEncryption,
    passphrase: bytes | None,
    around: str,
) -> None:
    own = rsa_key("device") if family == "rsa" else key("device")
    pem = own.private_bytes(Encoding.PEM, form, encryption)
    certificate = to_pem([party("x").certificate])
    text = {
        "alone": pem,
        "after certificates": certificate + certificate + pem,
        "before one": pem + certificate,
        "with CR LF": pem.replace(b"\n", b"\r\n"),
        "with words around": b"Bag Attributes\n    friendlyName: x\n" + pem + b"the end",
    }[around]
    assert keys.match(keys.load_private(text, passphrase, "web.key"), own.public_key())


def test_parameters_before_an_ec_key() -> None:
    """As `openssl ecparam -genkey` writes it."""
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    pem = key("device").private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, PLAIN)
    assert keys.match(keys.load_private(parameters + pem, None, "x"), key("device").public_key())


PEM = keys.to_pem(key("device"))


@pytest.mark.parametrize(
    ("pem", "passphrase", "message", "hint"),
    [
        pytest.param(b"", None, "web.key holds no private key", "restore it", id="empty"),
        pytest.param(b"\x30\x82", None, "web.key holds no private key", "BEGIN", id="DER"),
        pytest.param(
            to_pem([party("x").certificate]), None, "holds no private key", "swapped", id="a certificate only"
        ),
        pytest.param(PEM[:-20], None, "holds no private key", "restore", id="cut short"),
        pytest.param(PEM.replace(b"M", b"N", 5), None, "cannot be read", "damaged", id="damaged"),
        pytest.param(keys.to_pem(key("device"), b"x"), None, "is encrypted", "key_passphrase", id="encrypted"),
        pytest.param(keys.to_pem(key("device"), b"x"), b"y", "cannot be read", "right one", id="another passphrase"),
        pytest.param(keys.to_pem(key("device"), b"x"), b"", "cannot be read", "right one", id="an empty passphrase"),
        pytest.param(
            ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, PLAIN),
            None,
            "neither an RSA nor an EC key",
            "enroll --force NAME",
            id="Ed25519",
        ),
        pytest.param(
            ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, PLAIN),
            None,
            "holds no private key: it is a key in OpenSSH's own format",
            "ssh-keygen",
            id="OpenSSH",
        ),
    ],
)
def test_what_is_no_key_of_ours(pem: bytes, passphrase: bytes | None, message: str, hint: str) -> None:
    with pytest.raises(KeystoreError) as caught:
        keys.load_private(pem, passphrase, "web.key")
    assert message in str(caught.value)
    assert hint in caught.value.hint


@given(st.data())
def test_whatever_the_bytes_no_foreign_error(data: st.DataObject) -> None:
    text = bytearray(data.draw(st.sampled_from([PEM, keys.to_pem(rsa_key("device")), PEM + PEM])))
    for _ in range(data.draw(st.integers(0, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(text)))
    for pem in (bytes(text), bytes(text[:cut]), data.draw(st.binary()), b"-----BEGIN PRIVATE KEY-----"):
        with contextlib.suppress(KeystoreError):
            keys.load_private(pem, data.draw(st.none() | st.binary()), "x")


@pytest.mark.parametrize("family", ["rsa", "ec"])
def test_what_is_written_is_read(family: str) -> None:
    own = rsa_key("device") if family == "rsa" else key("device")
    assert b"BEGIN PRIVATE KEY" in keys.to_pem(own)
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in keys.to_pem(own, PASSPHRASE)
    assert keys.match(keys.load_private(keys.to_pem(own, PASSPHRASE), PASSPHRASE, "x"), own.public_key())


def test_keys_match_their_own_public_half_only() -> None:
    several = [key("device"), key("another"), rsa_key("device"), rsa_key("another"), key("x", KeyType.EC_P384)]
    for one in several:
        assert [keys.match(one, other.public_key()) for other in several].count(True) == 1
