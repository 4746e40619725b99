"""The forms in which servers send an answer, byte by byte as those servers make it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from asn1crypto import cms, core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certagent.scep import Signer
from certagent.scep.asn1 import issuer_and_serial, tlv
from certagent.scep.signed import CONTENT_TYPE, assemble, signed_attributes, signed_data

from .parts import indefinite, parts

Attributes = Mapping[str, core.Asn1Value]
Order = Callable[[list[bytes]], list[bytes]]

AES128_GCM, AES256_GCM = "2.16.840.1.101.3.4.1.6", "2.16.840.1.101.3.4.1.46"
OID, INTEGER, OCTETS = core.ObjectIdentifier, core.Integer, core.OctetString
_DATA, _ENVELOPED, _AUTH_ENVELOPED = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.3", "1.2.840.113549.1.9.16.1.23"


# ── who signs, and over what ──────────────────────────────────────────────────────────────────────


def xipki(envelope: bytes, attributes: Attributes, signer: Signer) -> bytes:
    """BouncyCastle's CMSSignedDataGenerator around a CMSEnvelopedData: eContentType and attribute name the envelope."""
    return signed_data(envelope, attributes, signer, "sha256", [signer.certificate], content_type="enveloped_data")


def streamed(data: bytes) -> bytes:
    """The same as BouncyCastle streams it: BER of indefinite length."""
    oid, explicit = parts(data)
    version, digests, encapsulated, *rest = parts(*parts(explicit))
    kind, content = parts(encapsulated)
    encapsulated = indefinite(encapsulated, kind, indefinite(content, indefinite(*parts(content))))
    return indefinite(b"\x30", oid, indefinite(explicit, indefinite(b"\x30", version, digests, encapsulated, *rest)))


def typed(envelope: bytes, attributes: Attributes, signer: Signer, stated: str | None) -> bytes:
    """An envelope by its eContentType; the signed attribute says something else, or nothing."""
    every = signed_attributes(envelope, attributes, "sha256", stated or "data")
    kept = cms.CMSAttributes([each for each in every if stated or each["type"].dotted != CONTENT_TYPE])
    return assemble(envelope, kept, signer, "sha256", [signer.certificate], content_type="enveloped_data")


def in_order(
    envelope: bytes, attributes: Sequence[cms.CMSAttribute], signer: Signer, *, sent: Order, signed: Order
) -> bytes:
    """Signed attributes that are sent in one order and signed in another."""
    encoded = [bytes(each.dump()) for each in attributes]
    covered, shown = (b"".join(order(encoded)) for order in (signed, sent))
    made = assemble(envelope, cms.CMSAttributes.load(tlv(covered)), signer, "sha256", [signer.certificate])
    assert made.count(covered) == 1
    return made.replace(covered, shown)


def backwards(encoded: list[bytes]) -> list[bytes]:
    return sorted(encoded, reverse=True)


def shuffled(encoded: list[bytes]) -> list[bytes]:
    one, *rest = sorted(encoded)
    return [*rest, one]


# ── for whom ──────────────────────────────────────────────────────────────────────────────────────


def named(envelope: bytes, name: cms.RecipientIdentifier) -> bytes:
    """An envelope, but for what it calls its recipient."""
    info = cms.ContentInfo.load(envelope)
    info["content"]["recipient_infos"][0].chosen["rid"] = name
    return bytes(info.dump(force=True))


def by_number(certificate: x509.Certificate, issuer: asn1_x509.Name | None = None) -> cms.RecipientIdentifier:
    number = cms.IssuerAndSerialNumber.load(issuer_and_serial(certificate))
    if issuer is not None:
        number["issuer"] = issuer
    return cms.RecipientIdentifier("issuer_and_serial_number", number)


def by_key(certificate: x509.Certificate, digest: bytes | None = None) -> cms.RecipientIdentifier:
    digest = digest or x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
    return cms.RecipientIdentifier("subject_key_identifier", digest)


def common_name(kind: str, text: str) -> asn1_x509.Name:
    value = asn1_x509.DirectoryString(name=kind, value=text)
    spelled = asn1_x509.NameTypeAndValue({"type": "common_name", "value": value})
    names = asn1_x509.RDNSequence([asn1_x509.RelativeDistinguishedName([spelled])])
    return asn1_x509.Name(name="", value=names)


# ── under which cipher ────────────────────────────────────────────────────────────────────────────


def standard(nonce: bytes, size: int = 16) -> bytes:
    """GCMParameters of RFC 5084."""
    return tlv(OCTETS(nonce).dump() + INTEGER(size).dump(), 0x30)


def short(nonce: bytes) -> bytes:
    """The same with the size left out, which then is 12."""
    return tlv(OCTETS(nonce).dump(), 0x30)


def as_go(nonce: bytes) -> bytes:
    """As the pkcs7 libraries of Go marshal it: a SEQUENCE in one that says it is primitive, and the nonce under [4]."""
    return tlv(tlv(tlv(nonce, 0x84) + INTEGER(16).dump(), 0x30), 0x10)


@dataclass(frozen=True)
class Gcm:
    """Makes envelopes in GCM. `apart`: AuthEnvelopedData, its tag by itself, with `beside` under it."""

    parameters: Callable[[bytes], bytes] = standard
    oid: str = AES128_GCM
    size: int = 16
    apart: bool = False
    beside: bytes = b""
    spoil: Callable[[bytes], bytes] = bytes

    def __call__(self, inside: bytes, recipient: x509.Certificate) -> bytes:
        key = secrets.token_bytes(32 if self.oid == AES256_GCM else 16)
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(key).encrypt(nonce, inside, self.beside)
        sealed = self.spoil(sealed[: len(sealed) - 16 + self.size])
        octets, tag = (sealed[: -self.size], sealed[-self.size :]) if self.apart else (sealed, b"")
        algorithm = tlv(OID(self.oid).dump() + self.parameters(nonce), 0x30)
        inner = tlv(OID(_DATA).dump() + algorithm + tlv(octets, 0x80), 0x30)
        attributes = b"\xa1" + self.beside[1:] if self.beside else b""
        rest = attributes + OCTETS(tag).dump() if self.apart else b""
        body = tlv(INTEGER(0).dump() + tlv(_key_for(recipient, key), 0x31) + inner + rest, 0x30)
        return tlv(OID(_AUTH_ENVELOPED if self.apart else _ENVELOPED).dump() + tlv(body, 0xA0), 0x30)


def _key_for(recipient: x509.Certificate, key: bytes) -> bytes:
    public = recipient.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    info = {
        "version": "v0",
        "rid": by_number(recipient),
        "key_encryption_algorithm": {"algorithm": "rsaes_pkcs1v15"},
        "encrypted_key": public.encrypt(key, padding.PKCS1v15()),
    }
    return bytes(cms.KeyTransRecipientInfo(info).dump())
