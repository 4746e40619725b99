"""A CA, its RA, a device and a stranger, and replies between them: honest ones, and ones put together by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from asn1crypto import cms, core, parser
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent.keys import PrivateKey
from certagent.scep import (
    Algorithms,
    PkiStatus,
    Reply,
    Signer,
    decode_reply,
    encode_reply,
    new_nonce,
    reply_attributes,
    self_signed,
)
from certagent.scep.asn1 import split, tlv
from certagent.scep.signed import assemble, signed_attributes, signed_data

NOW = datetime(2030, 1, 1, tzinfo=UTC)
STRONG = Algorithms("aes128-cbc", "sha256")
TRANSACTION = "0123456789abcdef"
NONCE = bytes(range(16))
EVERYTHING = ("sha1", "md5", "3des", "des")


def name(text: str) -> x509.Name:
    return x509.Name.from_rfc4514_string(text)


def issue(ca: Signer, subject: str, key: PrivateKey) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=90))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(ca.key, hashes.SHA256())
    )


@dataclass
class World:
    """Who there is; `attributes`, `reply` and `signed` are the honest message with what a case changes."""

    ca: Signer
    ra: Signer
    device: Signer
    stranger: Signer
    issued: x509.Certificate
    signers: list[x509.Certificate] = field(default_factory=list)

    @classmethod
    def of(cls, keys: list[PrivateKey]) -> World:
        ca = Signer(keys[0], self_signed(keys[0], name("CN=Test CA,O=Example"), NOW))
        ra = Signer(keys[1], issue(ca, "CN=Test RA,O=Example", keys[1]))
        device = Signer(keys[2], self_signed(keys[2], name("CN=device"), NOW))
        stranger = Signer(keys[3], self_signed(keys[3], name("CN=stranger"), NOW))
        issued = issue(ca, "CN=device", keys[2])
        return cls(ca, ra, device, stranger, issued, [ca.certificate, ra.certificate])

    def reply(self, status: PkiStatus = PkiStatus.SUCCESS, **changes: Any) -> bytes:
        """What an honest CA answers."""
        message: dict[str, Any] = {
            "status": status,
            "transaction_id": TRANSACTION,
            "recipient_nonce": NONCE,
            "sender_nonce": new_nonce(),
            "signer": self.ca,
            "recipient": self.device.certificate,
            "certificates": [self.issued],
            "algorithms": STRONG,
        }
        return encode_reply(**{**message, **changes})

    def content(self, **changes: Any) -> bytes:
        """The envelope of an honest SUCCESS."""
        content = cms.ContentInfo.load(self.reply(**changes))["content"]["encap_content_info"]["content"]
        return bytes(content)

    def signed(
        self,
        attributes: Mapping[str, core.Asn1Value | None] | None = None,
        *,
        content: bytes | None = b"",
        status: PkiStatus = PkiStatus.SUCCESS,
        signer: Signer | None = None,
        digest: str = "sha256",
    ) -> bytes:
        """An honest SignedData but for `attributes` (None takes one away) and `content` (b"": the envelope)."""
        content = self.content() if content == b"" and status == PkiStatus.SUCCESS else content
        chosen = signer or self.ca
        complete = {**self.attributes(status), **(attributes or {})}
        return signed_data(
            content, {oid: v for oid, v in complete.items() if v is not None}, chosen, digest, [chosen.certificate]
        )

    def assembled(self, attributes: cms.CMSAttributes | None, content: bytes | None = None) -> bytes:
        """A SignedData over exactly these signed attributes."""
        content = self.content() if content is None else content
        return assemble(content, attributes, self.ca, "sha256", [self.ca.certificate])

    def attributes(self, status: PkiStatus = PkiStatus.SUCCESS) -> Mapping[str, core.Asn1Value]:
        return reply_attributes(
            status=status, transaction_id=TRANSACTION, recipient_nonce=NONCE, sender_nonce=new_nonce()
        )

    def signed_attributes(self, content: bytes) -> list[cms.CMSAttribute]:
        return list(signed_attributes(content, self.attributes(), "sha256"))

    def decode(self, data: bytes, accept: Collection[str] = ()) -> Reply:
        return decode_reply(
            data,
            transaction_id=TRANSACTION,
            sender_nonce=NONCE,
            signers=self.signers,
            decrypter=self.device,
            accept=accept,
        )


def indefinite(element: bytes, *parts: bytes) -> bytes:
    """`element` as BER of indefinite length, with `parts` for its contents; an OCTET STRING in chunks of 100."""
    if not parts:
        octets = core.OctetString.load(element).native
        parts = tuple(tlv(octets[at : at + 100], 0x04) for at in range(0, len(octets), 100))
    return bytes((element[0] | 0x20, 0x80)) + b"".join(parts) + b"\0\0"


def parts(element: bytes) -> list[bytes]:
    """The elements inside a constructed one."""
    return split(parser.parse(element, strict=True)[4])
