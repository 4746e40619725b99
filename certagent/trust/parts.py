"""What a path is made of: a few facts of a certificate, read from its DER and bounded before anything is computed.

Not by cryptography, which reads all of a certificate's extensions or none, and not every name that OpenSSL and others
use: asn1crypto reads the few fields that are needed, each by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import ClassVar

from asn1crypto import algos, core
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from msgspec import Struct

from certagent.scep.asn1 import contents, measure, split
from certagent.text import one_line

_MAX_CERTIFICATE = 64 * 1024
_MAX_NAME = 8 * 1024
_NO_NAME = b"\x30\x00"

_RSA, _ECDSA, _NIST = "1.2.840.113549.1.1", "1.2.840.10045.4", "2.16.840.1.101.3.4.3"
_PSS = f"{_RSA}.10"
_DIGESTS = {
    f"{_RSA}.4": "md5",
    f"{_RSA}.5": "sha1",
    "1.3.14.3.2.29": "sha1",
    f"{_RSA}.14": "sha224",
    f"{_RSA}.11": "sha256",
    f"{_RSA}.12": "sha384",
    f"{_RSA}.13": "sha512",
    f"{_ECDSA}.1": "sha1",
    f"{_ECDSA}.3.1": "sha224",
    f"{_ECDSA}.3.2": "sha256",
    f"{_ECDSA}.3.3": "sha384",
    f"{_ECDSA}.3.4": "sha512",
    **{f"{_NIST}.{number}": f"sha3-{bits}" for number, bits in zip(range(9, 13), (224, 256, 384, 512), strict=True)},
    **{f"{_NIST}.{number}": f"sha3-{bits}" for number, bits in zip(range(13, 17), (224, 256, 384, 512), strict=True)},
    "1.3.101.112": "eddsa",
    "1.3.101.113": "eddsa",
    **dict.fromkeys((f"{_NIST}.17", f"{_NIST}.18", f"{_NIST}.19"), "ml-dsa"),  # RFC 9881; not the pre-hashed form
}
# Keys that asn1crypto has no names for, as `key_type` writes them: ML-DSA, ML-KEM (RFC 9935).
_KEYS = {
    **{f"{_NIST}.{number}": f"ml-dsa:{size}" for number, size in ((17, 44), (18, 65), (19, 87))},
    **{f"2.16.840.1.101.3.4.4.{number}": f"ml-kem:{size}" for number, size in ((1, 512), (2, 768), (3, 1024))},
}
_HASHES = {
    "1.3.14.3.2.26": "sha1",
    "1.2.840.113549.2.5": "md5",
    **{f"2.16.840.1.101.3.4.2.{n}": w for n, w in ((1, "sha256"), (2, "sha384"), (3, "sha512"), (4, "sha224"))},
    **{
        f"2.16.840.1.101.3.4.2.{n}": w for n, w in ((7, "sha3-224"), (8, "sha3-256"), (9, "sha3-384"), (10, "sha3-512"))
    },
}
_SHORT = {
    f"2.5.4.{number}": word
    for number, word in ((3, "CN"), (6, "C"), (7, "L"), (8, "ST"), (9, "STREET"), (10, "O"), (11, "OU"))
}


class Parts(Struct, frozen=True):
    """`subject`, `issuer`, `key`: DER. `ca` None: without basicConstraints. `digest` empty: unknown.

    `key_algorithm`: the OID of the key. `key_kind`: `rsa`, a curve's name, `ed25519`, `ml-dsa:65` …; bits and exponent
    are set only for RSA keys. `usage` None: without key usage.
    """

    der: bytes
    subject: bytes
    issuer: bytes
    comparable_subject: str
    comparable_issuer: str
    begins: datetime
    ends: datetime
    key: bytes
    key_algorithm: str
    key_kind: str
    key_bits: int
    exponent: int
    digest: str
    version: int
    ca: bool | None
    path_length: int | None
    usage: frozenset[str] | None

    @property
    def name(self) -> str:
        """The subject, for people: one printable line."""
        return _name(asn1_x509.Name.load(self.subject))

    @property
    def identity(self) -> tuple[bytes, bytes]:
        """A CA is identified by its name and its key."""
        return (self.subject, self.key)

    @property
    def may_sign(self) -> bool:
        return self.usage is None or "key_cert_sign" in self.usage

    @property
    def is_old_root(self) -> bool:
        """An old-style root without basicConstraints: X.509 v1, or one that only its key usage makes a CA."""
        signs = self.usage is not None and "key_cert_sign" in self.usage
        return self.subject == self.issuer and (self.version == 1 or signs) and self.ca is None

    def may_be_named(self, below: Parts) -> bool:
        """Whether its name is the name of the other's issuer; case and blanks do not count (RFC 5280 §7.1).

        A CA has a name (§4.1.2.6): an empty issuer name matches no CA.
        """
        if self.subject == below.issuer:
            return self.subject != _NO_NAME
        return bool(self.comparable_subject) and self.comparable_subject == below.comparable_issuer


@lru_cache(maxsize=512)
def read_parts(der: bytes) -> Parts | None:
    """None if it is malformed, far too large, or not understood."""
    try:
        if len(der) > _MAX_CERTIFICATE or measure(der) != len(der):
            return None
        return _read(der)
    except Exception:  # noqa: BLE001  # asn1crypto decodes late and raises anything; the certificate counts as missing
        return None


def _read(der: bytes) -> Parts | None:
    body, algorithm, signature = split(contents(der))
    fields = split(contents(body))
    version = fields.pop(0) if fields[0][0] == _VERSION else None
    serial, inner, issuer, validity, subject, key, *more = fields
    _check_tags((body, algorithm, signature, serial, inner, issuer, validity, subject, key), _TAGS)
    if max(len(subject), len(issuer)) > _MAX_NAME:
        return None
    extensions = _extensions(more)
    if len(extensions) != len(dict(extensions)):
        return None  # RFC 5280 §4.2: which of two should count?
    constraints, usage = dict(extensions).get(_BASIC_CONSTRAINTS), dict(extensions).get(_KEY_USAGE)
    ca, path_length = _basic(constraints) if constraints is not None else (None, None)
    begins, ends = split(contents(validity))
    name, kind, bits, exponent = _key(key)
    return Parts(
        der=der,
        subject=subject,
        issuer=issuer,
        comparable_subject=_comparable(subject),
        comparable_issuer=_comparable(issuer),
        begins=asn1_x509.Time.load(begins).native,
        ends=asn1_x509.Time.load(ends).native,
        key=key,
        key_algorithm=name,
        key_kind=kind,
        key_bits=bits,
        exponent=exponent,
        digest=_digest(algorithm),
        version=int(core.Integer.load(contents(version))) + 1 if version is not None else 1,
        ca=ca,
        path_length=path_length,
        usage=_usage(usage) if usage is not None else None,
    )


# RFC 5280 §4.1: the tags of a certificate's parts and of their fields, in order.
_VERSION, _UNIQUE_IDS, _EXTENSIONS = 0xA0, (0x81, 0x82), 0xA3
_TAGS = b"\x30\x30\x03\x02\x30\x30\x30\x30\x30"
_BASIC_CONSTRAINTS, _KEY_USAGE = b"\x06\x03\x55\x1d\x13", b"\x06\x03\x55\x1d\x0f"


def _check_tags(elements: Sequence[bytes], tags: bytes) -> None:
    """Raises ValueError."""
    if bytes([element[0] for element in elements]) != tags:
        raise ValueError("not the fields of a certificate")


def _extensions(fields: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The encoded OID and the value of each, from the fields behind the key. Raises ValueError."""
    fields = [each for each in fields if each[0] not in _UNIQUE_IDS]
    if not fields:
        return []
    [explicit] = fields
    [every] = split(contents(explicit))
    _check_tags((explicit, every), bytes((_EXTENSIONS, 0x30)))
    found = []
    for each in split(contents(every)):
        oid, *critical, value = split(contents(each))
        _check_tags((each, oid, *critical, value), b"\x30\x06\x01\x04" if critical else b"\x30\x06\x04")
        found.append((oid, contents(value)))
    return found


class _KeyHead(core.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    """A SubjectPublicKeyInfo of any kind: asn1crypto's own takes only keys that it knows."""

    _fields: ClassVar = [("algorithm", asn1_keys.PublicKeyAlgorithm), ("public_key", core.BitString)]


@lru_cache(maxsize=32)  # of CAs, and of keys that are kept
def _key(der: bytes) -> tuple[str, str, int, int]:
    """Algorithm, kind, bits and exponent, as in Parts."""
    algorithm = _KeyHead.load(der)["algorithm"]["algorithm"]
    if algorithm.dotted in _KEYS:
        return algorithm.dotted, _KEYS[algorithm.dotted], 0, 0
    info = asn1_x509.PublicKeyInfo.load(der)
    if algorithm.native in {"rsa", "rsassa_pss"}:
        numbers = info["public_key"].parsed
        bits = max(0, int(numbers["modulus"])).bit_length()
        return algorithm.dotted, "rsa", bits, int(numbers["public_exponent"])
    if algorithm.native == "ec":
        curve = info["algorithm"]["parameters"]
        return algorithm.dotted, (str(curve.native) if curve.name == "named" else "an unnamed curve"), 0, 0
    return algorithm.dotted, str(algorithm.native), 0, 0


@lru_cache(maxsize=32)  # a CA writes the same into all its certificates
def _basic(der: bytes) -> tuple[bool, int | None]:
    """BasicConstraints: whether it is a CA, and its path length."""
    basic = asn1_x509.BasicConstraints.load(der)
    limit = basic["path_len_constraint"].native
    return bool(basic["ca"].native), int(limit) if limit is not None else None


@lru_cache(maxsize=32)
def _usage(der: bytes) -> frozenset[str]:
    return frozenset(asn1_x509.KeyUsage.load(der).native)


@lru_cache(maxsize=32)
def _digest(der: bytes) -> str:
    algorithm = algos.SignedDigestAlgorithm.load(der)
    oid = algorithm["algorithm"].dotted
    if oid == _PSS:
        return _HASHES.get(algorithm["parameters"]["hash_algorithm"]["algorithm"].dotted, "")
    return _DIGESTS.get(oid, "")


@lru_cache(maxsize=32)  # a CA's name is in each of its certificates, a device's in each of its own
def _comparable(der: bytes) -> str:
    """The same text for all names that OpenSSL treats as equal; it only guides the search for a path."""
    try:
        name = asn1_x509.Name.load(der)
        pairs = [sorted(f"{each['type'].dotted}={each['value'].native}" for each in part) for part in name.chosen]
        return "".join(repr(pairs).casefold().split())
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""  # then only names with exactly the same bytes are equal


def _name(name: asn1_x509.Name) -> str:
    try:
        pairs = [each for part in reversed(list(name.chosen)) for each in part]
        words = [f"{_SHORT.get(each['type'].dotted, each['type'].native)}={each['value'].native}" for each in pairs]
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"#{name.dump().hex()[:64]}"
    return one_line(",".join(words), 120) or "(no name)"
