"""What a request holds: the CSR, the self-signed certificate of a first request, IDs and nonces."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta

from asn1crypto import core, csr
from asn1crypto import x509 as asn1_x509
from asn1crypto.keys import PublicKeyInfo
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent.keys import PrivateKey, PublicKey, public_bytes
from certagent.scep import asn1
from certagent.scep.message import NONCE_SIZE
from certagent.scep.signed import sign

_CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105 -- an OID
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,./:=?-]*")
# A self-signed certificate serves one transaction: backdated for clocks behind ours (some CAs compare),
# long enough for any poll_limit a person would set.
_BACKDATED = timedelta(days=1)
_LIFETIME = timedelta(days=366)


def build_csr(
    key: PrivateKey,
    subject: x509.Name,
    *,
    san: x509.SubjectAlternativeName | None,
    challenge: str | None,
    digest: str = "sha256",
) -> bytes:
    """A DER PKCS#10 request, signed by `key` wherever it lives.

    An empty `subject` with a `san` is allowed, and marks the names critical (RFC 5280 §4.2.1.6).
    `challenge` becomes a challengePassword: PrintableString where its characters allow, else UTF8String.
    """
    attributes = []
    if challenge is not None:
        text = "printable_string" if _PRINTABLE.fullmatch(challenge) else "utf8_string"
        password = asn1_x509.DirectoryString(name=text, value=_STRINGS[text](challenge))
        attributes.append({"type": _CHALLENGE_PASSWORD, "values": [password]})
    if san is not None:
        extension = {"extn_id": "subject_alt_name", "critical": not list(subject), "extn_value": _octets(san)}
        attributes.append({"type": "extension_request", "values": [[extension]]})
    info = csr.CertificationRequestInfo(
        {
            "version": "v1",
            "subject": asn1_x509.Name.load(subject.public_bytes()),
            "subject_pk_info": PublicKeyInfo.load(public_bytes(key.public_key())),
            "attributes": attributes,
        }
    )
    family = "rsa" if isinstance(key, rsa.RSAPrivateKey) else "ecdsa"
    request = {
        "certification_request_info": info,
        "signature_algorithm": {"algorithm": f"{digest}_{family}"},
        "signature": sign(key, info.dump(), digest),
    }
    return bytes(csr.CertificationRequest(request).dump())


_STRINGS = {"printable_string": core.PrintableString, "utf8_string": core.UTF8String}


def _octets(san: x509.SubjectAlternativeName) -> core.ParsableOctetString:
    return core.ParsableOctetString(san.public_bytes())


def csr_challenge(request: bytes) -> str | None:
    """The challengePassword in a DER PKCS#10 request; None if there is none. Raises TrustError."""
    with asn1.parsing("the request"):
        info = csr.CertificationRequest.load(request, strict=True)["certification_request_info"]
        for attribute in info["attributes"]:
            if attribute["type"].dotted == _CHALLENGE_PASSWORD:
                return str(attribute["values"][0].native)
    return None


def self_signed(key: PrivateKey, subject: x509.Name, now: datetime) -> x509.Certificate:
    """The certificate that signs a first request and that its reply is encrypted to (RFC 8894 §2.3).

    It carries the subject asked for; with an empty one, which RFC 5280 forbids an issuer, a placeholder.
    """
    name = subject if list(subject) else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "SCEP request")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def issuer_and_subject(issuer: x509.Name, subject: x509.Name) -> bytes:
    """The DER content of a CertPoll: the CA's subject and the CSR's (RFC 8894 §3.3.3)."""
    return asn1.tlv(issuer.public_bytes() + subject.public_bytes(), tag=0x30)


def parse_issuer_and_subject(data: bytes) -> tuple[bytes, bytes]:
    """The two DER names of a CertPoll, to be compared with `Name.public_bytes()`. Raises TrustError."""
    with asn1.parsing("the poll"):
        names = core.SequenceOf.load(data, spec=asn1_x509.Name, strict=True)
        if len(names) != 2:
            raise ValueError
        return bytes(names[0].dump()), bytes(names[1].dump())


def new_transaction_id(public_key: PublicKey) -> str:
    """SHA-256 of the DER public key in hex: the same for every try and poll with one key (RFC 8894 §3.2.1.1)."""
    return hashlib.sha256(public_bytes(public_key)).hexdigest()


def random_transaction_id() -> str:
    """For requests that are about no key of their own, and for `rekey: never`."""
    return secrets.token_hex(32)


def new_nonce() -> bytes:
    return secrets.token_bytes(NONCE_SIZE)
