"""Questions about paths: certificates put together from their parts, and what is asked of them.

Names come as words: `dns:a.example`, `ip:192.0.2.0/24`, `email:a@b.example`, `dir:CN=x`, `other:1.2.3`. They are
encoded here and not by cryptography, which refuses to make what a CA may send.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from asn1crypto import core, parser
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from certagent import certificate as facts
from certagent.keys import PrivateKey
from certagent.scep.asn1 import split, tlv
from certagent.trust.proof import Path, UnprovenError, prove

from .pki import DAY, NOW, Party, _usage, key

Digest = (
    hashes.SHA224
    | hashes.SHA256
    | hashes.SHA384
    | hashes.SHA512
    | hashes.SHA3_224
    | hashes.SHA3_256
    | hashes.SHA3_384
    | hashes.SHA3_512
)
SHA256 = hashes.SHA256()
Extension = tuple[x509.ExtensionType, bool]
SIGNS = ("key_cert_sign", "crl_sign")
SAN, CONSTRAINTS = x509.SubjectAlternativeName.oid, x509.NameConstraints.oid
BASIC, USAGE, PURPOSES = x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage
SKI, AKI = x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


def name(text: str) -> x509.Name:
    return x509.Name.from_rfc4514_string(text)


def usage(*words: str, critical: bool = False) -> Extension:
    return _usage(words), critical


def basic(ca: bool, path_length: int | None = None, *, critical: bool = True) -> Extension:
    return BASIC(ca, path_length), critical


def general(word: str) -> bytes:
    """A GeneralName in DER."""
    kind, _, value = word.partition(":")
    match kind:
        case "dns" | "email" | "uri":
            return tlv(value.encode(), {"email": 0x81, "dns": 0x82, "uri": 0x86}[kind])
        case "ip":
            if "/" not in value:
                return tlv(ipaddress.ip_address(value).packed, 0x87)
            network = ipaddress.ip_network(value)
            return tlv(network.network_address.packed + network.netmask.packed, 0x87)
        case "dir":
            return tlv(name(value).public_bytes(), 0xA4)
        case "other":
            return tlv(core.ObjectIdentifier(value).dump() + tlv(b"\x05\x00", 0xA0), 0xA0)
    raise AssertionError(word)


def san(*words: str, critical: bool = False) -> Extension:
    return x509.UnrecognizedExtension(SAN, tlv(b"".join(map(general, words)), 0x30)), critical


def constraints(permits: Sequence[str] = (), excludes: Sequence[str] = (), *, critical: bool = True) -> Extension:
    def trees(words: Sequence[str], tag: int) -> bytes:
        return tlv(b"".join(tlv(general(each), 0x30) for each in words), tag) if words else b""

    return x509.UnrecognizedExtension(CONSTRAINTS, tlv(trees(permits, 0xA0) + trees(excludes, 0xA1), 0x30)), critical


def made(
    subject: str,
    issuer: Party | None,
    *changes: Extension,
    own: PrivateKey | None = None,
    but: Sequence[type[x509.ExtensionType]] = (),
    says: str | None = None,
    begins: datetime = NOW - 9 * DAY,
    ends: datetime = NOW + 9 * DAY,
    serial: int | None = None,
    digest: Digest | None = SHA256,
    scheme: padding.PSS | None = None,
) -> Party:
    """A certificate with key identifiers and `changes`, where the last of a kind counts.

    `own`: its key, otherwise the subject's; `but`: extensions that it lacks; `says`: another name as the issuer's.
    """
    mine = own or key(subject)
    signer = issuer.key if issuer else mine
    default: list[Extension] = [(SKI.from_public_key(mine.public_key()), False)]
    if issuer:
        default.append((AKI.from_issuer_public_key(signer.public_key()), False))
    above = issuer.certificate.subject if issuer else name(subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(above if says is None else name(says))
        .public_key(mine.public_key())
        .serial_number(x509.random_serial_number() if serial is None else serial)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    left_out = [each.oid for each in but]
    for oid, (value, critical) in {each[0].oid: each for each in (*default, *changes)}.items():
        if oid not in left_out:
            builder = builder.add_extension(value, critical)
    return Party(builder.sign(signer, digest, rsa_padding=scheme), mine)


def root(*changes: Extension, subject: str = "CN=root", **fields: Any) -> Party:
    return made(subject, None, basic(True), usage(*SIGNS), *changes, **fields)


def sub(issuer: Party, *changes: Extension, subject: str = "CN=sub", **fields: Any) -> Party:
    return made(subject, issuer, basic(True), usage(*SIGNS), *changes, **fields)


def leaf(issuer: Party, *changes: Extension, subject: str = "CN=example.com", **fields: Any) -> Party:
    every = (usage("digital_signature"), san("dns:example.com"), *changes)
    return made(subject, issuer, *every, **fields)


FIELDS = ("version", "serial", "algorithm", "issuer", "validity", "subject", "key", "extensions")


def altered(one: Party, signer: Party, **fields: bytes) -> Party:
    """The certificate once more with other fields in DER, signed by `signer` (P-256) over SHA-256."""
    was = dict(zip(FIELDS, split(parser.parse(one.certificate.tbs_certificate_bytes)[4]), strict=True))
    now = {**was, **fields}
    changed = tlv(b"".join(now.values()), 0x30)
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    signature = signer.key.sign(changed, ec.ECDSA(hashes.SHA256()))
    der = tlv(changed + now["algorithm"] + tlv(b"\0" + signature, 0x03), 0x30)
    return Party(facts.load_der(der), one.key)


@dataclass(frozen=True)
class Question:
    """Whether `target` leads through some of `pool` to one of `anchors`; `issuer`: as a CA that is to issue."""

    target: Party
    pool: Sequence[Party] = ()
    anchors: Sequence[Party] = ()
    at: datetime = NOW
    accept: Sequence[str] = ()
    issuer: bool = False

    def asked(self, seed: int = 0) -> Path:
        """The answer of `prove`, with what lies about in an order of chance. Raises UnprovenError."""
        shuffled = random.Random(seed).sample
        pool = [each.certificate for each in shuffled(self.pool, len(self.pool))]
        anchors = [each.certificate for each in shuffled(self.anchors, len(self.anchors))]
        return prove(self.target.certificate, pool, anchors, self.at, accept=self.accept, issuer=self.issuer)

    def asked_in_vain(self) -> None:
        with pytest.raises(UnprovenError):
            self.asked()

    def answers(self) -> set[str]:
        """`proven`, or `refused: ` and why: what is said in several orders, where a path is the same path in all."""
        found: set[str] = set()
        paths: set[Path] = set()
        for seed in range(3 if len(self.pool) + len(self.anchors) > 1 else 1):
            try:
                paths.add(self.asked(seed))
                found.add("proven" if len(paths) == 1 else "proven in another way")
            except UnprovenError as error:
                told = error.hint and "\n" not in f"{error}{error.hint}"
                found.add(f"refused: {error.why}" if told else f"refused without words: {error}")
        return found


def asked(*line: Party, anchors: Sequence[Party] = (), also: Sequence[Party] = (), **fields: Any) -> Question:
    """A line from the top down, as RFC 5280 writes it: anchor, CAs, target. `also`: what else lies about."""
    first, *between, target = line
    return Question(target, (*between, *also), (first, *anchors), **fields)


def of_root(*changes: Extension, **fields: Any) -> Question:
    """Root and leaf; `changes` are the root's."""
    top = root(*changes, **fields)
    return asked(top, leaf(top))


def of_sub(*changes: Extension, **fields: Any) -> Question:
    """Root, sub CA and leaf; `changes` are the sub CA's."""
    top = root()
    middle = sub(top, *changes, **fields)
    return asked(top, middle, leaf(middle))
