"""Private keys: making, reading, writing, comparing. The one interface is `cryptography`'s own.

A token key subclasses `rsa.RSAPrivateKey` or `ec.EllipticCurvePrivateKey`, so nothing above this
module needs to know where a key lives.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from certagent import forms, pem_blocks
from certagent.config.values import KeyType
from certagent.errors import KeystoreError
from certagent.pem_blocks import KeyFormat

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_CURVES: dict[str, type[ec.EllipticCurve]] = {"p256": ec.SECP256R1, "p384": ec.SECP384R1}


def generate(key_type: KeyType) -> PrivateKey:
    """A new software key; RSA with the public exponent 65537."""
    family, _, size = key_type.value.partition(":")
    if family == "rsa":
        return rsa.generate_private_key(65537, int(size))
    return ec.generate_private_key(_CURVES[size]())


def load_private(pem: bytes, passphrase: bytes | None, where: str) -> PrivateKey:
    """Read a PEM key: PKCS#8 (plain or encrypted), PKCS#1, SEC 1. `where` names the file in errors.

    Other PEM blocks around the key (a combined file) are allowed. Raises KeystoreError.
    """
    block = pem_blocks.key_block(pem)
    if block is None or block.startswith(b"-----BEGIN OPENSSH"):
        expected = "expected a PEM block '-----BEGIN … PRIVATE KEY-----'"
        what, hint = forms.told(pem, where, otherwise=expected)
        raise KeystoreError(f"{where} holds no private key{what}", hint)
    encrypted = b"ENCRYPTED" in block
    if encrypted and passphrase is None:
        raise KeystoreError(f"the key in {where} is encrypted", "set key_passphrase in the keystore")
    try:
        # OpenSSL's check of an RSA key takes 40 ms at every load. A signature proves that a key works before the key is
        # put in place, and so does the match with its certificate.
        key = serialization.load_pem_private_key(
            block, passphrase if encrypted else None, unsafe_skip_rsa_key_validation=True
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's own text may quote what it tried; a wrong passphrase must not be echoed.
        if encrypted and (name := forms.unknown_encryption(block)):
            hint = (
                f"`openssl pkey -in {where} -aes256 -out NEW`, with `-provider legacy -provider default` for old ones"
            )
            raise KeystoreError(
                f"the key in {where} is encrypted with {name}, which certagent does not know", hint
            ) from None
        hint = "is key_passphrase the right one?" if encrypted else "is the file damaged?"
        raise KeystoreError(f"the key in {where} cannot be read", hint) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise KeystoreError(
            f"the key in {where} is neither an RSA nor an EC key",
            "make a new pair with `certagent enroll --force NAME`",
        )
    return key


def to_pem(key: PrivateKey, passphrase: bytes | None = None, form: KeyFormat = "pkcs8") -> bytes:
    """PEM, encrypted with AES-256 if a passphrase is given (pkcs8: PBES2; pkcs1: OpenSSL's DEK-Info)."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pkcs1, pkcs8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, pkcs8 if form == "pkcs8" else pkcs1, encryption)


def type_of(key: PublicKeyTypes) -> str:
    """The key type as the configuration writes it: `rsa:2048`, `ec:p256`; for other keys the library's word."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa:{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ec:{key.curve.name.replace('secp256r1', 'p256').replace('secp384r1', 'p384')}"
    return type(key).__name__.removesuffix("PublicKey").lower()


def public_bytes(key: PublicKeyTypes) -> bytes:
    """The DER SubjectPublicKeyInfo: equal for equal public keys."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def match(key: PrivateKey, public: PublicKeyTypes) -> bool:
    """Whether `public` is the public half of `key`."""
    return public_bytes(key.public_key()) == public_bytes(public)
