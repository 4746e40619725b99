"""pkiMessage (RFC 8894 §3) on the CA's side: requests in, replies out. For the lab CA and the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from asn1crypto import core
from cryptography import x509
from msgspec import Struct

from certagent.config.values import KeyTransport
from certagent.errors import TrustError
from certagent.scep import asn1
from certagent.scep.algorithms import Algorithms, Signer
from certagent.scep.envelope import Envelope, enveloped_data
from certagent.scep.message import (
    FAIL_INFO,
    FAIL_INFO_TEXT,
    MESSAGE_TYPE,
    PKI_STATUS,
    RECIPIENT_NONCE,
    SENDER_NONCE,
    TRANSACTION_ID,
    FailInfo,
    MessageType,
    PkiStatus,
    number_of,
    octets_of,
    string_of,
)
from certagent.scep.signed import MESSAGE_CONTENT, SIGNING_TIME, degenerate, signed_data, signing_time_value, verify

_REQUEST = "the request"


class Request(Struct, frozen=True):
    """A request as a CA sees it, signed by `signer`, a certificate in the message: that proves possession and no more.

    `key_transport`: how its envelope was locked. An answer to an EC `signer` can only be locked with the password.
    `signing_time`: the signing time in the message. `beside`: the other certificates in it, perhaps the signer's chain.
    """

    message_type: MessageType
    transaction_id: str
    sender_nonce: bytes
    signer: x509.Certificate
    content: bytes
    algorithms: Algorithms
    key_transport: KeyTransport = "rsa"
    signing_time: datetime | None = None
    beside: tuple[x509.Certificate, ...] = ()


def decode_request(data: bytes, *, recipients: Sequence[Signer], password: bytes | None = None) -> Request:
    """Verify and open a request. Raises TrustError, and TransientError if it is not a message at all.

    An envelope is opened with the key of the one of `recipients` it is for, or with the `password` it is locked with.

    The signature is checked with the one certificate in the message that the signature names: this proves
    possession of its key; the CA decides whether the certificate means anything.
    """
    asn1.outer(data, _REQUEST)
    body = asn1.content_info(data, "signed_data", _REQUEST)
    certificates = asn1.certificates_of(body, _REQUEST)
    signed = verify(body, certificates, _REQUEST, content_types=MESSAGE_CONTENT)
    try:
        message_type = MessageType(number_of(signed, MESSAGE_TYPE))
    except ValueError:
        raise TrustError(f"{_REQUEST} has an unknown message type", "see RFC 8894 §3.2.1.2") from None
    transaction_id, nonce = string_of(signed, TRANSACTION_ID), octets_of(signed, SENDER_NONCE)
    if message_type == MessageType.CERT_REP or not transaction_id or not nonce or not signed.content:
        raise TrustError(f"{_REQUEST} lacks a transaction ID, a nonce or its content", "see RFC 8894 §3.2.1")
    envelope = Envelope.read(signed.content, "the request's envelope")
    return Request(
        message_type=message_type,
        transaction_id=transaction_id,
        sender_nonce=nonce,
        signer=signed.signer,
        content=envelope.open(recipients, password),
        algorithms=Algorithms(envelope.cipher.replace("-gcm", "-cbc"), signed.digest),  # usable in an answer
        key_transport=envelope.key_transport,
        signing_time=_moment(signed.attributes.get(SIGNING_TIME)),
        beside=tuple(each for each in certificates if each != signed.signer),
    )


def _moment(value: core.Asn1Value | None) -> datetime | None:
    """A signingTime; None if it is absent or malformed."""
    try:
        return value.native if isinstance(value, core.UTCTime | core.GeneralizedTime) else None
    except ValueError:
        return None


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
    key_transport: KeyTransport = "rsa",
    password: bytes | None = None,
    signing_time: datetime | None = None,
) -> bytes:
    """A DER CertRep (RFC 8894 §3.3.2). SUCCESS needs the certificates asked for, or the CRL (DER), and somebody
    to encrypt them to: the `recipient`, who is the request's signer, or whoever knows the `password`.
    XiPKI's client accepts no reply without a `signing_time`.
    """
    attributes = reply_attributes(
        status=status,
        transaction_id=transaction_id,
        recipient_nonce=recipient_nonce,
        sender_nonce=sender_nonce,
        fail_info=fail_info,
        fail_text=fail_text,
        signing_time=signing_time,
    )
    content = None
    if status == PkiStatus.SUCCESS:
        inner = degenerate(certificates, crl)
        content = enveloped_data(inner, recipient, algorithms.cipher, key_transport=key_transport, password=password)
    return signed_data(content, attributes, signer, algorithms.digest, [signer.certificate])


def reply_attributes(
    *,
    status: PkiStatus,
    transaction_id: str,
    recipient_nonce: bytes,
    sender_nonce: bytes,
    fail_info: FailInfo | None = None,
    fail_text: str | None = None,
    signing_time: datetime | None = None,
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
    if signing_time is not None:
        attributes[SIGNING_TIME] = signing_time_value(signing_time)
    return attributes
