"""A CA, a device and a stranger for one process, and what they sign of whatever a fuzzer makes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from certagent.certificate import to_der
from certagent.keys import public_bytes
from certagent.lab import issuing
from certagent.scep import Signer, build_csr
from certagent.scep.asn1 import tlv
from certagent.trust.fitness import Asked
from certagent.trust.rules import Believed
from tests.unit.pki import CMC_RA, NOW, Party, party, rsa_key

DAY = timedelta(days=1)
SUBJECT = x509.Name.from_rfc4514_string("CN=web.example.net,O=Example")
NAMES = x509.SubjectAlternativeName([x509.DNSName("web.example.net")])
NONCE = bytes(range(16))
EVERYTHING = ("sha1", "md5", "3des", "des")
TRANSACTION = "0123456789abcdef"
_SHA256_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
_SHA256 = bytes.fromhex("300b0609608648016503040201")
_RSA = bytes.fromhex("300d06092a864886f70d0101010500")
_DATA = bytes.fromhex("06092a864886f70d010701")
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")


@dataclass(frozen=True)
class Parties:
    """`issued`: what an honest CA gives the device."""

    ca: Party
    ra: Party
    device: Party
    issued: x509.Certificate

    @property
    def signer(self) -> Signer:
        return Signer(self.ca.key, self.ca.certificate)

    @property
    def decrypter(self) -> Signer:
        return Signer(self.device.key, self.device.certificate)

    @property
    def believed(self) -> Believed:
        return Believed(self.ca.certificate, (), (self.ca.certificate,), self.ca.certificate)

    @property
    def asked(self) -> Asked:
        return Asked(public_bytes(self.device.key.public_key()), SUBJECT, frozenset({"dns:web.example.net"}))

    def csr(self) -> bytes:
        return build_csr(self.device.key, SUBJECT, san=NAMES, challenge="secret")


@cache
def parties() -> Parties:
    made = issuing.ca_certificate(rsa_key("CA"), NOW - DAY, 900 * DAY, recipient=True)
    ca = Party(made, rsa_key("CA"))
    ra = party("CN=RA", ca, with_key=rsa_key("RA"), usage=("digital_signature",), purposes=(CMC_RA,))
    device = party("CN=web.example.net,O=Example", with_key=rsa_key("device"))
    issued = party("CN=web.example.net,O=Example", ca, with_key=rsa_key("device"), san=NAMES, purposes=())
    return Parties(ca, ra, device, issued.certificate)


def pkcs1(content: bytes, by: Party) -> bytes:
    key = by.key
    return key.sign(content, padding.PKCS1v15(), hashes.SHA256())  # type: ignore[call-arg,arg-type]  # an RSA key


def with_signature(content: bytes, by: Party) -> bytes:
    """`content` as the first of the three parts that certificates, CRLs and CSRs are made of."""
    return tlv(content + _SHA256_RSA + tlv(b"\0" + pkcs1(content, by), 0x03), 0x30)


def first_part(signed: bytes) -> bytes:
    """What the signature of a certificate, CRL or CSR covers."""
    header = 2 + (signed[1] & 0x7F if signed[1] & 0x80 else 0)
    inner = 2 + (signed[header + 1] & 0x7F if signed[header + 1] & 0x80 else 0)
    size = signed[header + 1] if inner == 2 else int.from_bytes(signed[header + 2 : header + inner], "big")
    return signed[header : header + inner + size]


def signed_data(attributes: bytes, content: bytes) -> bytes:
    """A SignedData over `content` whose signed attributes have these contents, right or wrong, in DER by hand."""
    ca = parties().ca
    body = ca.certificate.subject.public_bytes() + tlv(ca.certificate.serial_number.to_bytes(20, "big"), 0x02)
    info = [
        b"\x02\x01\x01",
        tlv(body, 0x30),
        _SHA256,
        tlv(attributes, 0xA0),
        _RSA,
        tlv(pkcs1(tlv(attributes), ca), 0x04),
    ]
    data = [
        b"\x02\x01\x01",
        tlv(_SHA256),
        tlv(_DATA + tlv(tlv(content, 0x04), 0xA0), 0x30),
        tlv(to_der(ca.certificate), 0xA0),
        tlv(tlv(b"".join(info), 0x30)),
    ]
    return tlv(_SIGNED_DATA + tlv(tlv(b"".join(data), 0x30), 0xA0), 0x30)
