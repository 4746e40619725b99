"""Private keys: making, reading, writing, comparing. The one interface is `cryptography`'s own.

A token key subclasses `rsa.RSAPrivateKey` or `ec.EllipticCurvePrivateKey`, so nothing above this
module needs to know where a key lives. RSA keys sign and decrypt; all others only sign. EdDSA and ML-DSA are used in
their pure form, which hashes by itself: whoever signs with them names no digest (RFC 8410, RFC 9881).
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable
from typing import TypeVar

from asn1crypto.keys import EncryptedPrivateKeyInfo
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from certagent import forms, pbes2, pem_blocks
from certagent.config.key_types import KeyType
from certagent.errors import KeystoreError
from certagent.pem_blocks import KeyFormat

MLDSAPrivateKey = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey
MLDSAPublicKey = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey
PurePrivateKey = ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey | MLDSAPrivateKey
PurePublicKey = ed25519.Ed25519PublicKey | ed448.Ed448PublicKey | MLDSAPublicKey
"""Keys whose signatures are over the message itself, not over a digest that is named beside it."""
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | PurePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | PurePublicKey
Digest = TypeVar("Digest", bound=hashes.HashAlgorithm)
KINDS = "an RSA, EC, Ed25519, Ed448 or ML-DSA key"

_CURVES: dict[str, type[ec.EllipticCurve]] = {"p256": ec.SECP256R1, "p384": ec.SECP384R1}
_PURE: dict[KeyType, Callable[[], PurePrivateKey]] = {
    KeyType.ED25519: ed25519.Ed25519PrivateKey.generate,
    KeyType.ED448: ed448.Ed448PrivateKey.generate,
    KeyType.ML_DSA_44: mldsa.MLDSA44PrivateKey.generate,
    KeyType.ML_DSA_65: mldsa.MLDSA65PrivateKey.generate,
    KeyType.ML_DSA_87: mldsa.MLDSA87PrivateKey.generate,
}
PURE_OIDS: dict[str, str] = {
    KeyType.ED25519: "1.3.101.112",
    KeyType.ED448: "1.3.101.113",
    KeyType.ML_DSA_44: "2.16.840.1.101.3.4.3.17",
    KeyType.ML_DSA_65: "2.16.840.1.101.3.4.3.18",
    KeyType.ML_DSA_87: "2.16.840.1.101.3.4.3.19",
}
"""One OID names such a key and its signatures (RFC 8410 §3, RFC 9881 §2); by the words of `type_of`."""
# The last number of 2.16.840.1.101.3.4.3.x (RFC 9881 §2).
_FROM_SEED: dict[int, Callable[[bytes], MLDSAPrivateKey]] = {
    17: mldsa.MLDSA44PrivateKey.from_seed_bytes,
    18: mldsa.MLDSA65PrivateKey.from_seed_bytes,
    19: mldsa.MLDSA87PrivateKey.from_seed_bytes,
}
# PKCS#8 of an ML-DSA key as OpenSSL writes it: its seed and the expanded key, or the expanded key alone (RFC 9881 §6).
# cryptography reads and writes the seed alone.
_ML_DSA = rb"\x30\x82..\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03([\x11-\x13])\x04\x82.."
_WITH_SEED = re.compile(_ML_DSA + rb"\x30\x82..\x04\x20(.{32})\x04\x82", re.DOTALL)
_EXPANDED = re.compile(_ML_DSA + rb"\x04\x82", re.DOTALL)


def generate(key_type: KeyType) -> PrivateKey:
    """A new software key; RSA with the public exponent 65537."""
    size = key_type.value.partition(":")[2]
    if key_type.family == "rsa":
        return rsa.generate_private_key(65537, int(size))
    if key_type.family == "ec":
        return ec.generate_private_key(_CURVES[size]())
    return _PURE[key_type]()


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
    if not encrypted and (found := ml_dsa_key(_der_of(block), where)) is not None:
        return found
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
        if encrypted and (found := ml_dsa_key(_decrypted(block, passphrase or b""), where)) is not None:
            return found
        hint = "is key_passphrase the right one?" if encrypted else "is the file damaged?"
        raise KeystoreError(f"the key in {where} cannot be read", hint) from None
    if not isinstance(key, PrivateKey):
        raise KeystoreError(
            f"the key in {where} cannot be used: {no_signer(type_of(key.public_key()))}",
            "make a new pair with `certagent enroll --force NAME`",
        )
    return key


def no_signer(kind: str) -> str:
    """Why a key of a kind that is not ours (a word of `type_of`) gets no certificate."""
    if kind.startswith(("mlkem", "x25519", "x448")):
        return f"it is a key that cannot sign ({kind}), and a certificate is requested with a signature of its key"
    return f"it is not {KINDS}"


def ml_dsa_key(der: bytes, where: str) -> MLDSAPrivateKey | None:
    """An ML-DSA key in decrypted PKCS#8 with its expanded form, as OpenSSL writes it; None if it is anything else.

    The expanded form is not looked at: the seed makes the key. Raises KeystoreError if the seed is missing.
    """
    if (both := _WITH_SEED.match(der)) is not None:
        return _FROM_SEED[both[1][0]](both[2])
    if _EXPANDED.match(der) is not None:
        hint = "make a new pair with `certagent enroll --force NAME`"
        raise KeystoreError(f"the ML-DSA key in {where} has lost its seed, without which it cannot be used", hint)
    return None


def _decrypted(block: bytes, passphrase: bytes) -> bytes:
    """What is in an encrypted PKCS#8 block; empty if it cannot be decrypted."""
    try:
        info = EncryptedPrivateKeyInfo.load(_der_of(block), strict=True)
        return pbes2.decrypt(info["encryption_algorithm"], info["encrypted_data"].native, passphrase)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return b""


def _der_of(block: bytes) -> bytes:
    """The bytes of a PEM block without headers; empty if they cannot be decoded."""
    try:
        return a2b_base64(b"".join(block.strip().splitlines()[1:-1]))
    except ValueError:
        return b""


def to_pem(key: PrivateKey, passphrase: bytes | None = None, form: KeyFormat = "pkcs8") -> bytes:
    """PEM, encrypted with AES-256 if a passphrase is given (pkcs8: PBES2; pkcs1: OpenSSL's DEK-Info).

    An ML-DSA key is written as its seed, which is the whole key (RFC 9881 §6).
    """
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pkcs1, pkcs8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, pkcs8 if form == "pkcs8" else pkcs1, encryption)


def has_pkcs1(key: PrivateKey) -> bool:
    """Whether such a key has a form from before PKCS#8, which `to_pem` calls `pkcs1`."""
    return isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)


def type_of(key: PublicKeyTypes) -> str:
    """The key type as the configuration writes it: `rsa:2048`, `ec:p256`; for other keys the library's word."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa:{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ec:{key.curve.name.replace('secp256r1', 'p256').replace('secp384r1', 'p384')}"
    word = type(key).__name__.removesuffix("PublicKey").lower()
    return word.replace("mldsa", "ml-dsa:")


def family_of(kind: str) -> str:
    """The family of a key type, for people: `RSA`, `EC`, `Ed25519`, `Ed448`, `ML-DSA`."""
    family = kind.partition(":")[0]
    return {"ed25519": "Ed25519", "ed448": "Ed448"}.get(family, family.upper())


def sign(key: PrivateKey, data: bytes, digest: hashes.HashAlgorithm) -> bytes:
    """A signature over `data`: RSA PKCS#1 v1.5 or ECDSA over this digest; EdDSA or ML-DSA, which need none."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), digest)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(digest))
    return key.sign(data)


def verify(public: PublicKeyTypes, signature: bytes, data: bytes, digest: hashes.HashAlgorithm) -> bool:
    """Whether `sign` made this signature. Raises cryptography's UnsupportedAlgorithm for a curve it does not know."""
    try:
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, data, padding.PKCS1v15(), digest)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, data, ec.ECDSA(digest))
        elif isinstance(public, PurePublicKey):
            public.verify(signature, data)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def digest_for(key: PrivateKey, digest: Digest) -> Digest | None:
    """The digest that cryptography's builders take to sign with this key; None: its signature has none."""
    return None if isinstance(key, PurePrivateKey) else digest


def public_bytes(key: PublicKeyTypes) -> bytes:
    """The DER SubjectPublicKeyInfo: equal for equal public keys."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def match(key: PrivateKey, public: PublicKeyTypes) -> bool:
    """Whether `public` is the public half of `key`."""
    return public_bytes(key.public_key()) == public_bytes(public)
