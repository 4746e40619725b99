"""pkiMessage (RFC 8894 §3): requests and replies, from both sides. Who may sign is told, not decided here."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from asn1crypto import core
from cryptography import x509

from certagent.errors import TrustError
from certagent.scep import asn1
from certagent.scep.algorithms import Algorithms, Signer, refuse_weak
from certagent.scep.envelope import Envelope, enveloped_data
from certagent.scep.signed import Signed, degenerate, signed_data, verify
from certagent.scep.text import one_line

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
_REQUEST = "the request"
_MIXED_UP = "it answers another request, or somebody replays an old answer; nothing of it was used"


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
    FailInfo.BAD_ALG: ("badAlg", "the CA does not know, or does not allow, an algorithm of the request"),
    FailInfo.BAD_MESSAGE_CHECK: ("badMessageCheck", "the CA could not verify or decrypt the request"),
    FailInfo.BAD_REQUEST: ("badRequest", "the CA does not allow this request: challenge, names, or its policy"),
    FailInfo.BAD_TIME: ("badTime", "the request's signing time is too far from the CA's clock"),
    FailInfo.BAD_CERT_ID: ("badCertId", "the CA knows no certificate that fits the request"),
}


@dataclass(frozen=True)
class Issued:
    """SUCCESS: what the CA sent, in its order, and whose signature vouches for it. Which is ours is not said here."""

    certificates: tuple[x509.Certificate, ...]
    signer: x509.Certificate


@dataclass(frozen=True)
class Pending:
    """PENDING: a person or a process at the CA has yet to decide."""


@dataclass(frozen=True)
class Rejected:
    """FAILURE. `fail_info` None: the CA gave none, or none of the RFC's; `text` its own words, one line, or empty."""

    fail_info: FailInfo | None
    text: str


Reply = Issued | Pending | Rejected


@dataclass(frozen=True)
class Request:
    """A request as a CA sees it: signed by `signer`, which came with it and so proves possession and no more."""

    message_type: MessageType
    transaction_id: str
    sender_nonce: bytes
    signer: x509.Certificate
    content: bytes
    algorithms: Algorithms


# ── the client's side ─────────────────────────────────────────────────────────────────────────────


def encode_request(
    message_type: MessageType,
    content: bytes,
    *,
    transaction_id: str,
    sender_nonce: bytes,
    signer: Signer,
    recipient: x509.Certificate,
    algorithms: Algorithms,
) -> bytes:
    """A DER pkiMessage: `content` (a DER CSR, IssuerAndSubject …) enveloped to `recipient` and signed.

    Raises TrustError if `recipient` cannot receive an envelope.
    """
    attributes = {
        MESSAGE_TYPE: core.PrintableString(str(int(message_type))),
        TRANSACTION_ID: core.PrintableString(transaction_id),
        SENDER_NONCE: core.OctetString(sender_nonce),
    }
    envelope = enveloped_data(content, recipient, algorithms.cipher)
    return signed_data(envelope, attributes, signer, algorithms.digest, [signer.certificate])


def decode_reply(
    data: bytes,
    *,
    transaction_id: str,
    sender_nonce: bytes,
    signers: Sequence[x509.Certificate],
    decrypter: Signer,
    accept: Collection[str],
) -> Reply:
    """Verify and read a CertRep; nothing of it is believed before its signature is.

    `signers` are the only certificates a signature is believed from, never one the message brings.
    `accept` names the weak algorithms (sha1, md5, 3des, des) still believed. Raises TransientError for
    what is no SCEP message at all, TrustError for one that cannot be believed.
    """
    asn1.outer(data, _REPLY)
    signed = verify(asn1.content_info(data, "signed_data", _REPLY), signers, _REPLY)
    _check_transaction(signed, transaction_id, sender_nonce)
    status = _number(signed, PKI_STATUS)
    if status == PkiStatus.SUCCESS:
        return _issued(signed, decrypter, accept)
    refuse_weak([signed.digest], accept)
    if status == PkiStatus.PENDING:
        return Pending()
    if status == PkiStatus.FAILURE:
        return _rejected(signed)
    raise TrustError(f"{_REPLY} has no known status ({status})", "only SUCCESS, FAILURE and PENDING exist in SCEP")


def _check_transaction(signed: Signed, transaction_id: str, sender_nonce: bytes) -> None:
    kind = _number(signed, MESSAGE_TYPE)
    if kind != MessageType.CERT_REP:
        raise TrustError(f"{_REPLY} is no reply: message type {kind}", _MIXED_UP)
    if _string(signed, TRANSACTION_ID) != transaction_id:
        raise TrustError(f"{_REPLY} is for another transaction", _MIXED_UP)
    nonce = _octets(signed, RECIPIENT_NONCE)
    if len(nonce) != NONCE_SIZE or not hmac.compare_digest(nonce, sender_nonce):
        raise TrustError(f"{_REPLY} does not repeat the request's nonce", _MIXED_UP)


def _issued(signed: Signed, decrypter: Signer, accept: Collection[str]) -> Issued:
    if not signed.content:
        raise TrustError(f"{_REPLY} says SUCCESS and carries nothing", "the CA is at fault; see its log")
    what = "the CA's envelope"
    envelope = Envelope.read(signed.content, what)
    refuse_weak([signed.digest, envelope.cipher], accept)
    content = envelope.open([decrypter])
    what = "the content of the CA's envelope"
    inner = asn1.content_info(content, "signed_data", what)
    with asn1.parsing(what):
        if len(inner["signer_infos"]):
            raise TrustError(f"{what} is signed once more", "certificates come in a SignedData without signers")
    certificates = asn1.certificates_of(inner, what)
    if not certificates:
        raise TrustError(f"{_REPLY} says SUCCESS and holds no certificate", "the CA is at fault; see its log")
    return Issued(certificates, signed.signer)


def _rejected(signed: Signed) -> Rejected:
    text = one_line(_string(signed, FAIL_INFO_TEXT))
    number = _number(signed, FAIL_INFO)
    try:
        return Rejected(FailInfo(number), text)
    except ValueError:
        # Dogtag uses 5 to 12 for reasons of its own.
        return Rejected(None, text or (f"failInfo {number}" if number >= 0 else ""))


# ── the server's side, for the lab CA and the tests ───────────────────────────────────────────────


def decode_request(data: bytes, *, recipients: Sequence[Signer]) -> Request:
    """Verify and open a request. Raises TrustError, and TransientError for what is no message at all.

    The signature is checked with the one certificate in the message that the signature names: this proves
    possession of its key; whether the certificate means anything is for the CA to decide.
    """
    asn1.outer(data, _REQUEST)
    body = asn1.content_info(data, "signed_data", _REQUEST)
    signed = verify(body, asn1.certificates_of(body, _REQUEST), _REQUEST)
    try:
        message_type = MessageType(_number(signed, MESSAGE_TYPE))
    except ValueError:
        raise TrustError(f"{_REQUEST} has an unknown message type", "see RFC 8894 §3.2.1.2") from None
    transaction_id, nonce = _string(signed, TRANSACTION_ID), _octets(signed, SENDER_NONCE)
    if message_type == MessageType.CERT_REP or not transaction_id or not nonce or not signed.content:
        raise TrustError(f"{_REQUEST} lacks a transaction ID, a nonce or its content", "see RFC 8894 §3.2.1")
    envelope = Envelope.read(signed.content, "the request's envelope")
    return Request(
        message_type=message_type,
        transaction_id=transaction_id,
        sender_nonce=nonce,
        signer=signed.signer,
        content=envelope.open(recipients),
        algorithms=Algorithms(envelope.cipher, signed.digest),
    )


def encode_reply(
    *,
    status: PkiStatus,
    transaction_id: str,
    recipient_nonce: bytes,
    sender_nonce: bytes,
    signer: Signer,
    recipient: x509.Certificate | None,
    certificates: Sequence[x509.Certificate] = (),
    crl: bytes | None = None,
    fail_info: FailInfo | None = None,
    fail_text: str | None = None,
    algorithms: Algorithms,
) -> bytes:
    """A DER CertRep. SUCCESS needs the `recipient` (the request's signer) and what was issued."""
    attributes = reply_attributes(
        status=status,
        transaction_id=transaction_id,
        recipient_nonce=recipient_nonce,
        sender_nonce=sender_nonce,
        fail_info=fail_info,
        fail_text=fail_text,
    )
    content = None
    if status == PkiStatus.SUCCESS and recipient is not None:
        content = enveloped_data(degenerate(certificates, crl), recipient, algorithms.cipher)
    return signed_data(content, attributes, signer, algorithms.digest, [signer.certificate])


def reply_attributes(
    *,
    status: PkiStatus,
    transaction_id: str,
    recipient_nonce: bytes,
    sender_nonce: bytes,
    fail_info: FailInfo | None = None,
    fail_text: str | None = None,
) -> Mapping[str, core.Asn1Value]:
    """The signed attributes of a CertRep (RFC 8894 §3.3.2)."""
    attributes: dict[str, core.Asn1Value] = {
        MESSAGE_TYPE: core.PrintableString(str(int(MessageType.CERT_REP))),
        PKI_STATUS: core.PrintableString(str(int(status))),
        TRANSACTION_ID: core.PrintableString(transaction_id),
        RECIPIENT_NONCE: core.OctetString(recipient_nonce),
        SENDER_NONCE: core.OctetString(sender_nonce),
    }
    if fail_info is not None:
        attributes[FAIL_INFO] = core.PrintableString(str(int(fail_info)))
    if fail_text is not None:
        attributes[FAIL_INFO_TEXT] = core.UTF8String(fail_text)
    return attributes


# ── attribute values ──────────────────────────────────────────────────────────────────────────────


def _string(signed: Signed, oid: str) -> str:
    """A string attribute, of whatever string type; empty if it is absent or none."""
    value = signed.attributes.get(oid)
    try:
        return str(value.native) if isinstance(value, core.AbstractString) else ""
    except ValueError:  # not the characters its type promises
        return ""


def _number(signed: Signed, oid: str) -> int:
    """A number written as decimal digits in a string; -1 if it is absent or something else."""
    text = _string(signed, oid)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else -1


def _octets(signed: Signed, oid: str) -> bytes:
    value = signed.attributes.get(oid)
    return bytes(value) if isinstance(value, core.OctetString) else b""
