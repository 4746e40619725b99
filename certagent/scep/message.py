"""pkiMessage (RFC 8894 §3) on the client's side: requests out, replies in. The caller says who may sign."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence
from datetime import datetime
from enum import IntEnum

from asn1crypto import core
from cryptography import x509
from msgspec import Struct

from certagent.config.values import KeyTransport
from certagent.errors import TrustError
from certagent.scep import asn1
from certagent.scep.algorithms import Algorithms, Signer, refuse_weak
from certagent.scep.envelope import Envelope, enveloped_data
from certagent.scep.signed import (
    MESSAGE_CONTENT,
    SIGNING_TIME,
    Signed,
    read_degenerate,
    signed_data,
    signing_time_value,
    verify,
)
from certagent.text import one_line

NONCE_SIZE = 16

# RFC 8894 §3.2.1 and §3.3.2.2: the signed attributes.
MESSAGE_TYPE = "2.16.840.1.113733.1.9.2"
PKI_STATUS = "2.16.840.1.113733.1.9.3"
FAIL_INFO = "2.16.840.1.113733.1.9.4"
SENDER_NONCE = "2.16.840.1.113733.1.9.5"
RECIPIENT_NONCE = "2.16.840.1.113733.1.9.6"
TRANSACTION_ID = "2.16.840.1.113733.1.9.7"
FAIL_INFO_TEXT = "1.3.6.1.5.5.7.24.1"

_REPLY = "the CA's reply"
_KEPT = "the request that was kept"
_MIXED_UP = "it answers another request, or somebody is replaying an old answer; it was not used"


class MessageType(IntEnum):
    CERT_REP = 3
    RENEWAL_REQ = 17
    PKCS_REQ = 19
    CERT_POLL = 20
    GET_CERT = 21
    GET_CRL = 22


class PkiStatus(IntEnum):
    SUCCESS = 0
    FAILURE = 2
    PENDING = 3


class FailInfo(IntEnum):
    """Why a CA refused (RFC 8894 §3.2.1.4.5)."""

    BAD_ALG = 0
    BAD_MESSAGE_CHECK = 1
    BAD_REQUEST = 2
    BAD_TIME = 3
    BAD_CERT_ID = 4

    @property
    def word(self) -> str:
        """The RFC's spelling, e.g. `badRequest`."""
        return _FAIL_WORDS[self][0]

    @property
    def meaning(self) -> str:
        """A sentence for people."""
        return _FAIL_WORDS[self][1]


_FAIL_WORDS = {
    FailInfo.BAD_ALG: ("badAlg", "the CA does not support, or does not allow, an algorithm of the request"),
    FailInfo.BAD_MESSAGE_CHECK: ("badMessageCheck", "the CA could not verify or decrypt the request"),
    FailInfo.BAD_REQUEST: ("badRequest", "the CA does not allow this request: challenge, names, or its policy"),
    FailInfo.BAD_TIME: ("badTime", "the request's signing time is too far from the CA's clock"),
    FailInfo.BAD_CERT_ID: ("badCertId", "the CA has no certificate that matches the request"),
}


class Issued(Struct, frozen=True):
    """SUCCESS: what the CA sent, in its order, and whose signature proves it.

    This does not say which of the certificates is the one asked for, nor whether a CRL is the CA's: that has its
    own signature (`certificate.crl_issued_by`).
    """

    certificates: tuple[x509.Certificate, ...]
    signer: x509.Certificate
    revocations: tuple[x509.CertificateRevocationList, ...] = ()


class Pending(Struct, frozen=True):
    """PENDING: a person or a process at the CA still has to decide."""


class Rejected(Struct, frozen=True):
    """FAILURE. `fail_info` None: no value, or none of the RFC's; `text`: the CA's own words in one line, or empty."""

    fail_info: FailInfo | None
    text: str


Reply = Issued | Pending | Rejected


def encode_request(
    message_type: MessageType,
    content: bytes,
    *,
    transaction_id: str,
    sender_nonce: bytes,
    signer: Signer,
    recipient: x509.Certificate | None,
    algorithms: Algorithms,
    key_transport: KeyTransport = "rsa",
    password: bytes | None = None,
    signing_time: datetime | None = None,
) -> bytes:
    """A DER pkiMessage (RFC 8894 §3.1): `content` in an envelope, signed with RSA or ECDSA, as `signer`'s key requires.

    `content` is a DER CSR, or the result of `issuer_and_subject` or `issuer_and_serial`. The envelope is for
    `recipient` by RSA PKCS#1 v1.5 (`rsa`) or RSA-OAEP with SHA-256 (`oaep`); or for whoever knows the `password`,
    which is the challenge password's bytes, and then `recipient` does not matter. `signing_time` None: the message
    does not say when it was signed.
    Raises TrustError if `recipient` cannot receive an envelope.
    """
    attributes = _request_attributes(message_type, transaction_id, sender_nonce, signing_time)
    envelope = enveloped_data(content, recipient, algorithms.cipher, key_transport=key_transport, password=password)
    return signed_data(envelope, attributes, signer, algorithms.digest, [signer.certificate, *signer.chain])


def sign_again(
    request: bytes,
    message_type: MessageType,
    *,
    transaction_id: str,
    sender_nonce: bytes,
    signer: Signer,
    digest: str,
    signing_time: datetime | None = None,
) -> bytes:
    """The request again: the same envelope, with the CSR in it, byte for byte, under a new signature.

    So a stored request is enough, and need not hold a secret. `request` comes from `encode_request`. Raises TrustError.
    """
    body = asn1.content_info(request, "signed_data", _KEPT)
    with asn1.parsing(_KEPT):
        envelope = asn1.encapsulated(body)
    attributes = _request_attributes(message_type, transaction_id, sender_nonce, signing_time)
    return signed_data(envelope, attributes, signer, digest, [signer.certificate, *signer.chain])


def _request_attributes(
    message_type: MessageType, transaction_id: str, sender_nonce: bytes, signing_time: datetime | None
) -> dict[str, core.Asn1Value]:
    attributes: dict[str, core.Asn1Value] = {
        MESSAGE_TYPE: core.PrintableString(str(int(message_type))),
        TRANSACTION_ID: core.PrintableString(transaction_id),
        SENDER_NONCE: core.OctetString(sender_nonce),
    }
    if signing_time is not None:
        attributes[SIGNING_TIME] = signing_time_value(signing_time)
    return attributes


def decode_reply(
    data: bytes,
    *,
    transaction_id: str,
    sender_nonce: bytes,
    signers: Sequence[x509.Certificate],
    decrypter: Signer,
    accept: Collection[str],
    message_type: MessageType = MessageType.PKCS_REQ,
    password: bytes | None = None,
) -> Reply:
    """Verify and read a CertRep (RFC 8894 §3.3.2); nothing in it is used before its signature is verified.

    Only certificates in `signers` may sign it, never one that the message brings.
    `accept` names the weak algorithms (sha1, md5, 3des, des) still accepted. `message_type` is the request's: a
    GetCRL needs a CRL, everything else a certificate. An envelope is opened with the `decrypter`'s RSA key, or
    with the `password` if it is locked with one. Raises TransientError if it is not a SCEP message at all,
    TrustError if it cannot be trusted.
    """
    asn1.outer(data, _REPLY)
    signed = verify(asn1.content_info(data, "signed_data", _REPLY), signers, _REPLY, content_types=MESSAGE_CONTENT)
    _check_transaction(signed, transaction_id, sender_nonce)
    status = number_of(signed, PKI_STATUS)
    if status == PkiStatus.SUCCESS:
        envelope = _envelope(signed, accept, decrypter.chain)
        return _issued(signed, message_type, envelope.open([decrypter], password))
    refuse_weak([signed.digest], accept)
    if status == PkiStatus.PENDING:
        return Pending()
    if status == PkiStatus.FAILURE:
        return _rejected(signed)
    raise TrustError(f"{_REPLY} has an unknown status ({status})", "SCEP has only SUCCESS, FAILURE and PENDING")


def _check_transaction(signed: Signed, transaction_id: str, sender_nonce: bytes) -> None:
    kind = number_of(signed, MESSAGE_TYPE)
    if kind != MessageType.CERT_REP:
        raise TrustError(f"{_REPLY} is not a reply: message type {kind}", _MIXED_UP)
    if string_of(signed, TRANSACTION_ID) != transaction_id:
        raise TrustError(f"{_REPLY} belongs to another transaction", _MIXED_UP)
    nonce = octets_of(signed, RECIPIENT_NONCE)
    if len(nonce) != NONCE_SIZE or not hmac.compare_digest(nonce, sender_nonce):
        raise TrustError(f"{_REPLY} does not repeat the request's nonce", _MIXED_UP)


def _envelope(signed: Signed, accept: Collection[str], beside: Sequence[x509.Certificate]) -> Envelope:
    if not signed.content:
        raise TrustError(f"{_REPLY} says SUCCESS but is empty", "this is the CA's fault; check its log")
    envelope = Envelope.read(signed.content, "the CA's envelope", beside)
    refuse_weak([signed.digest, *envelope.ciphers], accept)
    return envelope


def _issued(signed: Signed, message_type: MessageType, content: bytes) -> Issued:
    certificates, revocations = read_degenerate(content, "the content of the CA's envelope")
    found, wanted = (revocations, "CRL") if message_type == MessageType.GET_CRL else (certificates, "certificate")
    if not found:
        raise TrustError(f"{_REPLY} says SUCCESS but holds no {wanted}", "this is the CA's fault; check its log")
    return Issued(certificates, signed.signer, revocations)


def _rejected(signed: Signed) -> Rejected:
    text = one_line(string_of(signed, FAIL_INFO_TEXT))
    number = number_of(signed, FAIL_INFO)
    try:
        return Rejected(FailInfo(number), text)
    except ValueError:
        # Dogtag gives 5 to 12 its own meanings.
        return Rejected(None, text or (f"failInfo {number}" if number >= 0 else ""))


# ── attribute values ──────────────────────────────────────────────────────────────────────────────


def string_of(signed: Signed, oid: str) -> str:
    """A string attribute, of any string type; empty if it is absent or not a string."""
    value = signed.attributes.get(oid)
    try:
        return str(value.native) if isinstance(value, core.AbstractString) else ""
    except ValueError:  # characters that its type does not allow
        return ""


def number_of(signed: Signed, oid: str) -> int:
    """A number written as decimal digits in a string; -1 if it is absent or anything else."""
    text = string_of(signed, oid)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else -1


def octets_of(signed: Signed, oid: str) -> bytes:
    value = signed.attributes.get(oid)
    return bytes(value) if isinstance(value, core.OctetString) else b""
