"""PKCS#12 (RFC 7292) as bytes: the entries of a file, and a file of entries. No files are touched here.

Written: AES-256 under PBKDF2 with HMAC-SHA-256, and a MAC over SHA-256, as OpenJDK 17 and OpenSSL 3 write and read
them. Also read: 3DES and RC2 with SHA-1, as older tools wrote them. Entries that are not ours keep their bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from asn1crypto import algos, cms, core, pkcs12
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import pkcs12 as library
from msgspec import Struct

from certagent import forms, keys, pbes2
from certagent.certificate import in_order, is_readable, load_der
from certagent.errors import KeystoreError
from certagent.keys import PrivateKey

ROUNDS = 20_000
_CONTENTS_LIMIT = 16
_RC2 = ("pkcs12_sha1_rc2_40", "pkcs12_sha1_rc2_128")
# What asn1crypto and cryptography raise for malformed bytes.
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
)


class Kind(StrEnum):
    """What an entry is. `trusted`: a certificate that Java counts among its trust anchors."""

    KEY = "key"
    CERTIFICATE = "certificate"
    TRUSTED = "trusted"
    OTHER = "other"


class Bag(Struct, frozen=True):
    """One entry. `raw` is its SafeBag as it stands in the file; a key in it is still encrypted."""

    kind: Kind
    raw: bytes
    name: str = ""
    local_id: bytes = b""
    certificate: x509.Certificate | None = None


class _OldError(Exception):
    """Encrypted with RC2, which only cryptography's own reader can decrypt."""


def load(content: bytes, password: bytes, where: str) -> tuple[Bag, ...]:
    """The entries of a file; `password` is UTF-8, `where` names the file in errors.

    Raises KeystoreError: a wrong password, damage, or an unknown form.
    """
    try:
        pfx = pkcs12.Pfx.load(content, strict=True)
        if pfx["auth_safe"]["content_type"].native != "data":
            raise KeystoreError(
                f"{where} is protected with a public key",
                "certagent reads only files that are protected with a password",
            )
        safe = pfx["auth_safe"]["content"].native
        right = _mac_fits(pfx["mac_data"], safe, password)
        contents = list(pkcs12.AuthenticatedSafe.load(safe))
        if len(contents) > _CONTENTS_LIMIT:
            raise ValueError
    except _UNREADABLE:
        raise _no_pkcs12(content, where) from None
    if not right:
        hint = "correct `password`; it may have been changed only in the file, or only in the configuration"
        raise KeystoreError(f"the password does not open {where}", hint)
    return _bags(contents, content, password, where)


def _no_pkcs12(content: bytes, where: str) -> KeystoreError:
    if b"-----BEGIN " in content:
        hint = f"set `type: pem`, or `openssl pkcs12 -export -in {where} -out NEW`"
        return KeystoreError(f"{where} is not a PKCS#12 file: it is PEM text", hint)
    form = forms.recognised(content, where)
    if form is None or form.is_pkcs12:
        hint = "restore the file, or move it away and certagent makes a new one"
        return KeystoreError(f"{where} is damaged, or not a PKCS#12 file", hint)
    return KeystoreError(f"{where} is not a PKCS#12 file: it is {form.what}", form.remedy)


def _not_decrypted(where: str, name: str) -> KeystoreError:
    hint = (
        "convert it once: `keytool -importkeystore -srckeystore OLD -destkeystore NEW -deststoretype PKCS12` writes AES"
    )
    if not name:
        return KeystoreError(f"{where} cannot be decrypted", f"correct `password`; or {hint}")
    return KeystoreError(f"{where} is encrypted with {name}, which certagent does not know", hint)


def opens(content: bytes, password: bytes, certificate: x509.Certificate | None = None) -> bool:
    """Whether OpenSSL's own reader opens a file with its password, and finds `certificate` in it if one is given."""
    try:
        found = library.load_pkcs12(content, password)
    except _UNREADABLE:
        return False
    every = [each.certificate for each in (*([found.cert] if found.cert else []), *found.additional_certs)]
    return certificate is None or certificate in every


def _bags(contents: Sequence[cms.ContentInfo], content: bytes, password: bytes, where: str) -> tuple[Bag, ...]:
    bags: list[Bag] = []
    old = False
    for info in contents:
        try:
            bags.extend(_bag(each) for each in pkcs12.SafeContents.load(_opened(info, password)))
        except _OldError:
            old = True
        except _UNREADABLE:
            raise _not_decrypted(where, _encryption_of(info)) from None
    return (*bags, *_old_certificates(bags, content, password, where)) if old else tuple(bags)


def _encryption_of(info: cms.ContentInfo) -> str:
    """What a part is encrypted with, if this module cannot read it; empty if it can, or the part is not encrypted."""
    try:
        return forms.unknown_algorithm(info["content"]["encrypted_content_info"]["content_encryption_algorithm"])
    except _UNREADABLE:
        return ""


def _opened(info: cms.ContentInfo, password: bytes) -> bytes:
    """The SafeContents in a part of the file."""
    if info["content_type"].native == "data":
        return bytes(info["content"].native)
    encrypted = info["content"]["encrypted_content_info"]
    return _decrypt(encrypted["content_encryption_algorithm"], encrypted["encrypted_content"].native, password)


def _bag(bag: pkcs12.SafeBag) -> Bag:
    attributes = bag["bag_attributes"] if isinstance(bag["bag_attributes"], pkcs12.Attributes) else ()
    found = {each["type"].native: each["values"] for each in attributes}
    name = found["friendly_name"][0].native if "friendly_name" in found else ""
    local_id = found["local_key_id"][0].native if "local_key_id" in found else b""
    kind, certificate = Kind.OTHER, None
    match bag["bag_id"].native:
        case "pkcs8_shrouded_key_bag" | "key_bag":
            kind = Kind.KEY
        case "cert_bag" if bag["bag_value"]["cert_id"].native == "x509":
            certificate = _certificate(bytes(bag["bag_value"]["cert_value"]))
            kind = Kind.TRUSTED if "trusted_key_usage" in found else Kind.CERTIFICATE
    return Bag(kind, bag.dump(), name, local_id, certificate)


def _certificate(der: bytes) -> x509.Certificate:
    found = load_der(der)
    if not is_readable(found):
        raise ValueError
    return found


def _old_certificates(bags: Sequence[Bag], content: bytes, password: bytes, where: str) -> Iterable[Bag]:
    """The certificates of a file that encrypts them with RC2. The library reads them, but drops their attributes.

    So the file may hold nothing but a key's own chain: a mark of trust would be lost.
    """
    hint = "convert it once: `keytool -importkeystore -srckeystore OLD -destkeystore NEW -deststoretype PKCS12`"
    try:
        found = library.load_pkcs12(content, password)
    except _UNREADABLE:
        raise KeystoreError(
            f"{where} is encrypted with RC2, which certagent cannot read as it is used here", hint
        ) from None
    others = [each.certificate for each in found.additional_certs]
    if found.cert is None or sum(bag.kind is Kind.KEY for bag in bags) != 1:
        raise KeystoreError(f"{where} is encrypted with RC2 and does not hold exactly one key", hint)
    leaf, name = found.cert.certificate, (found.cert.friendly_name or b"").decode("utf-8", "replace")
    if set(others) - set(in_order(leaf, others)):
        raise KeystoreError(
            f"{where} is encrypted with RC2 and holds certificates that are not part of its chain", hint
        )
    [key] = (bag for bag in bags if bag.kind is Kind.KEY)
    return [certificate_bag(leaf, name, key.local_id), *map(certificate_bag, others)]


def private_key(bag: Bag, password: bytes, where: str) -> PrivateKey:
    """The key of an entry. Raises KeystoreError."""
    parsed = pkcs12.SafeBag.load(bag.raw)
    encrypted = password if parsed["bag_id"].native == "pkcs8_shrouded_key_bag" else None
    try:
        if encrypted is not None:
            _check_rounds(parsed["bag_value"]["encryption_algorithm"])
        der = parsed["bag_value"].untag().dump()
        try:
            key = serialization.load_der_private_key(der, encrypted)
        except ValueError:
            key = _ml_dsa_key(parsed["bag_value"], der, encrypted, where)
    except _UNREADABLE:
        if encrypted is not None and (name := forms.unknown_algorithm(parsed["bag_value"]["encryption_algorithm"])):
            raise _not_decrypted(where, name) from None
        raise KeystoreError(f"the private key in {where} cannot be read", "is the file damaged?") from None
    if not isinstance(key, PrivateKey):
        why = keys.no_signer(keys.type_of(key.public_key()))
        raise KeystoreError(f"the private key in {where} cannot be used: {why}", f"use {keys.KINDS}")
    return key


def _ml_dsa_key(value: Any, der: bytes, password: bytes | None, where: str) -> PrivateKey:
    """The key as OpenSSL writes it, with its expanded form. Raises KeystoreError without a seed, else ValueError."""
    if password is not None:
        der = _decrypt(value["encryption_algorithm"], value["encrypted_data"].native, password)
    if (key := keys.ml_dsa_key(der, where)) is None:
        raise ValueError
    return key


def entry(key: PrivateKey, certificates: Sequence[x509.Certificate], name: str, password: bytes) -> tuple[Bag, ...]:
    """The bags of an identity: its key, the certificate of that key (if there is one yet), the chain above it."""
    local_id = certificates[0].fingerprint(hashes.SHA256()) if certificates else b""
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    algorithm, encrypted = _encrypt(plain, password)
    shrouded = {"encryption_algorithm": algorithm, "encrypted_data": encrypted}
    raw = _raw("pkcs8_shrouded_key_bag", shrouded, name, local_id)
    leaf = [certificate_bag(each, name, local_id) for each in certificates[:1]]
    return (Bag(Kind.KEY, raw, name, local_id), *leaf, *map(certificate_bag, certificates[1:]))


def certificate_bag(certificate: x509.Certificate, name: str = "", local_id: bytes = b"") -> Bag:
    der = certificate.public_bytes(serialization.Encoding.DER)
    raw = _raw("cert_bag", {"cert_id": "x509", "cert_value": core.ParsableOctetString(der)}, name, local_id)
    return Bag(Kind.CERTIFICATE, raw, name, local_id, certificate)


def _raw(bag_id: str, value: dict[str, Any], name: str, local_id: bytes) -> bytes:
    attributes: list[dict[str, Any]] = []
    if name:
        attributes.append({"type": "friendly_name", "values": [name]})
    if local_id:
        attributes.append({"type": "local_key_id", "values": [local_id]})
    bag: dict[str, Any] = {"bag_id": bag_id, "bag_value": value}
    if attributes:
        bag["bag_attributes"] = attributes
    return bytes(pkcs12.SafeBag(bag).dump())


def dump(bags: Iterable[Bag], password: bytes) -> bytes:
    """A file of these entries. Encrypted keys stay outside; one encrypted part holds the rest, as others do it."""
    parsed = [pkcs12.SafeBag.load(bag.raw) for bag in bags]
    shrouded = [bag for bag in parsed if bag["bag_id"].native == "pkcs8_shrouded_key_bag"]
    rest = [bag for bag in parsed if bag["bag_id"].native != "pkcs8_shrouded_key_bag"]
    contents = []
    if rest:
        algorithm, encrypted = _encrypt(pkcs12.SafeContents(rest).dump(), password)
        info = {
            "content_type": "data",
            "content_encryption_algorithm": algorithm,
            "encrypted_content": encrypted,
        }
        contents.append(
            {"content_type": "encrypted_data", "content": {"version": "v0", "encrypted_content_info": info}}
        )
    contents.append({"content_type": "data", "content": pkcs12.SafeContents(shrouded).dump()})
    safe = pkcs12.AuthenticatedSafe([cms.ContentInfo(each) for each in contents]).dump()
    salt = os.urandom(16)
    digest = {"digest_algorithm": {"algorithm": "sha256"}, "digest": _mac("sha256", safe, password, salt, ROUNDS)}
    pfx = {
        "version": "v3",
        "auth_safe": {"content_type": "data", "content": safe},
        "mac_data": {"mac": digest, "mac_salt": salt, "iterations": ROUNDS},
    }
    return bytes(pkcs12.Pfx(pfx).dump())


def _mac_fits(data: Any, safe: bytes, password: bytes) -> bool:
    """Whether the MAC over the whole file is right; a file without a MAC is accepted."""
    if isinstance(data, core.Void):
        return True
    digest = data["mac"]["digest_algorithm"]["algorithm"].native
    rounds = data["iterations"].native
    if digest not in pbes2.DIGESTS or not 0 < rounds <= pbes2.ROUNDS_LIMIT:
        raise ValueError
    wanted = _mac(digest, safe, password, data["mac_salt"].native, rounds)
    return hmac.compare_digest(wanted, data["mac"]["digest"].native)


def _mac(digest: str, safe: bytes, password: bytes, salt: bytes, rounds: int) -> bytes:
    key = _derive(digest, password, salt, purpose=3, rounds=rounds, length=hashlib.new(digest).digest_size)
    return hmac.digest(key, safe, digest)


def _derive(digest: str, password: bytes, salt: bytes, *, purpose: int, rounds: int, length: int) -> bytes:
    """RFC 7292, appendix B.2: PKCS#12's own key derivation. `purpose`: 1 a key, 2 an IV, 3 a MAC key."""
    size = hashlib.new(digest).block_size
    text = password.decode().encode("utf-16-be") + b"\0\0"

    def filled(part: bytes) -> bytes:
        whole = -(-len(part) // size) * size
        return (part * (whole // len(part) + 1))[:whole] if part else b""

    state = filled(salt) + filled(text)
    found = b""
    while len(found) < length:
        block = bytes([purpose]) * size + state
        for _ in range(rounds):
            block = hashlib.new(digest, block).digest()
        found += block
        added = int.from_bytes((block * size)[:size], "big") + 1
        state = b"".join(
            ((int.from_bytes(state[at : at + size], "big") + added) % (1 << 8 * size)).to_bytes(size, "big")
            for at in range(0, len(state), size)
        )
    return found[:length]


def _check_rounds(algorithm: algos.EncryptionAlgorithm) -> int:
    """The number of key derivation rounds. Raises ValueError for a number that would take too long."""
    if algorithm["algorithm"].native == "pbes2":
        return pbes2.rounds_of(algorithm)
    rounds = algorithm["parameters"]["iterations"].native
    if not isinstance(rounds, int) or not 0 < rounds <= pbes2.ROUNDS_LIMIT:
        raise ValueError
    return rounds


def _decrypt(algorithm: algos.EncryptionAlgorithm, data: bytes, password: bytes) -> bytes:
    word = algorithm["algorithm"].native
    if word in _RC2:
        _check_rounds(algorithm)
        raise _OldError
    rounds = _check_rounds(algorithm)
    if word == "pbes2":
        return pbes2.decrypt(algorithm, data, password)
    if word != "pkcs12_sha1_tripledes_3key":
        raise ValueError
    salt = algorithm["parameters"]["salt"].native
    cipher = TripleDES(_derive("sha1", password, salt, purpose=1, rounds=rounds, length=24))
    vector = _derive("sha1", password, salt, purpose=2, rounds=rounds, length=8)
    decryptor, unpadder = Cipher(cipher, modes.CBC(vector)).decryptor(), PKCS7(cipher.block_size).unpadder()
    padded = decryptor.update(data) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def _encrypt(plain: bytes, password: bytes) -> tuple[dict[str, Any], bytes]:
    """The algorithm as asn1crypto takes it, and the ciphertext."""
    salt, vector = os.urandom(16), os.urandom(16)
    padder = PKCS7(128).padder()
    encryptor = Cipher(
        AES(PBKDF2HMAC(hashes.SHA256(), 32, salt, ROUNDS).derive(password)), modes.CBC(vector)
    ).encryptor()
    encrypted = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    derivation = {
        "salt": algos.Pbkdf2Salt("specified", core.OctetString(salt)),
        "iteration_count": ROUNDS,
        "key_length": 32,
        "prf": {"algorithm": "sha256", "parameters": core.Null()},
    }
    parameters = {
        "key_derivation_func": {"algorithm": "pbkdf2", "parameters": derivation},
        "encryption_scheme": {"algorithm": "aes256_cbc", "parameters": vector},
    }
    return {"algorithm": "pbes2", "parameters": parameters}, encrypted
