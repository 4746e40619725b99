"""Private keys in every form they are found in."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, mlkem, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import crypto

from certagent import keys
from certagent.certificate import to_pem
from certagent.config.key_types import KeyType
from certagent.errors import KeystoreError

from .pki import as_openssl_writes, key, party, rsa_key

PASSPHRASE = b"correct horse"
PLAIN = NoEncryption()
LOCKED = BestAvailableEncryption(PASSPHRASE)


CHEAP = [each for each in KeyType if each not in (KeyType.RSA_3072, KeyType.RSA_4096)]
PURE = [each for each in CHEAP if each.family not in ("rsa", "ec")]


@pytest.mark.parametrize("key_type", CHEAP)
def test_a_new_key_is_of_its_type_and_signs(key_type: KeyType) -> None:
    made, other = keys.generate(key_type), keys.generate(key_type)
    assert keys.type_of(made.public_key()) == key_type
    signature = keys.sign(made, b"text", SHA256())
    assert keys.verify(made.public_key(), signature, b"text", SHA256())
    assert not keys.verify(made.public_key(), signature, b"texT", SHA256())
    assert not keys.verify(other.public_key(), signature, b"text", SHA256())


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


@pytest.mark.parametrize("key_type", PURE)
def test_a_key_is_read_as_openssl_writes_it(key_type: KeyType) -> None:
    """An ML-DSA key with its expanded form beside the seed, which cryptography does not read."""
    own = keys.generate(key_type)
    for passphrase in (None, PASSPHRASE):
        text = as_openssl_writes(own, passphrase=passphrase)
        assert (len(text) > 2000) == (key_type.family == "ml-dsa")
        assert keys.match(keys.load_private(text, passphrase, "web.key"), own.public_key())


@pytest.mark.parametrize("key_type", PURE)
def test_openssl_reads_what_is_written(key_type: KeyType) -> None:
    own = keys.generate(key_type)
    loaded = crypto.load_privatekey(crypto.FILETYPE_PEM, keys.to_pem(own))
    assert crypto.dump_publickey(crypto.FILETYPE_ASN1, loaded) == keys.public_bytes(own.public_key())


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
            mlkem.MLKEM768PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, PLAIN),
            None,
            "cannot be used: it is a key that cannot sign (mlkem768)",
            "enroll --force NAME",
            id="ML-KEM",
        ),
        pytest.param(
            x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, PLAIN),
            None,
            "it is a key that cannot sign (x25519)",
            "enroll --force NAME",
            id="X25519",
        ),
        pytest.param(
            dsa.generate_private_key(1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, PLAIN),
            None,
            "it is not an RSA, EC, Ed25519, Ed448 or ML-DSA key",
            "enroll --force NAME",
            id="DSA",
        ),
        pytest.param(
            as_openssl_writes(keys.generate(KeyType.ML_DSA_44), seed=False),
            None,
            "has lost its seed",
            "enroll --force NAME",
            id="ML-DSA, expanded only",
        ),
        pytest.param(
            as_openssl_writes(keys.generate(KeyType.ML_DSA_44), passphrase=PASSPHRASE),
            b"another",
            "cannot be read",
            "right one",
            id="ML-DSA, another passphrase",
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


@pytest.mark.parametrize("key_type", CHEAP)
def test_what_is_written_is_read(key_type: KeyType) -> None:
    own = key("device", key_type)
    assert b"BEGIN PRIVATE KEY" in keys.to_pem(own)
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in keys.to_pem(own, PASSPHRASE)
    assert keys.match(keys.load_private(keys.to_pem(own, PASSPHRASE), PASSPHRASE, "x"), own.public_key())


def test_keys_match_their_own_public_half_only() -> None:
    several = [key("device"), key("another"), rsa_key("device"), rsa_key("another"), key("x", KeyType.EC_P384)]
    several += [key(f"{number}", kind) for kind in PURE for number in range(2)]
    for one in several:
        assert [keys.match(one, other.public_key()) for other in several].count(True) == 1
