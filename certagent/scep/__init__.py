"""SCEP, the Simple Certificate Enrolment Protocol (RFC 8894, and draft-nourse-scep-11 for servers that still use it).

    Client                one URL, or several of one CA: get_capabilities, get_ca_certificates,
                          get_next_ca_certificates, pki_operation
    build_csr             the CSR: subject, names, extensions, challenge password
    encode_request        CSR, poll or query → a signed and encrypted pkiMessage, as bytes
    decode_reply          bytes → Issued | Pending | Rejected, verified in every way that the protocol allows
    read_ca_certificates, read_next_ca, Capabilities.parse      the other answers, from bytes

An enrollment is: capabilities and CA certificates; the caller decides which of these to trust; a key, a CSR,
`self_signed`, `encode_request`; `pki_operation`; `decode_reply`. A renewal signs with the certificate in place
instead. `issuer_and_subject` (CertPoll) polls for a pending request, and `issuer_and_serial` gets earlier certificates
and CRLs (GetCert, GetCRL).

Messages are plain bytes, so that they can be stored before they are sent. Nothing here stores anything, reads a
clock, or decides about trust: `signers`, `accept` and the time are arguments. Only `Client` and `Transport` do I/O.
Keys are `cryptography`'s, wherever they are kept. Every error is one of certagent.errors, with a hint.
BER is read, DER is written. The server's side, for labs and tests: decode_request, encode_reply, encode_next_ca.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from certagent.scep.algorithms import Algorithms, Signer
from certagent.scep.ca_certificates import read_ca_certificates
from certagent.scep.capabilities import Capabilities
from certagent.scep.client import Client
from certagent.scep.envelope import NEEDS_RSA, enveloped_data
from certagent.scep.message import (
    FailInfo,
    Issued,
    MessageType,
    Pending,
    PkiStatus,
    Rejected,
    Reply,
    decode_reply,
    encode_request,
    sign_again,
)
from certagent.scep.next_ca import NextCA, encode_next_ca, read_next_ca
from certagent.scep.request import (
    build_csr,
    certificate_template,
    csr_challenge,
    issuer_and_serial,
    issuer_and_subject,
    kept_extensions,
    new_nonce,
    new_transaction_id,
    parse_issuer_and_serial,
    parse_issuer_and_subject,
    random_transaction_id,
    same_name,
    self_signed,
)
from certagent.scep.server import Request, decode_request, encode_reply, reply_attributes
from certagent.scep.signed import degenerate, signed_data

if TYPE_CHECKING:
    from certagent.scep.transport import Answer, Transport, Witness

__all__ = [
    "NEEDS_RSA",
    "Algorithms",
    "Answer",
    "Capabilities",
    "Client",
    "FailInfo",
    "Issued",
    "MessageType",
    "NextCA",
    "Pending",
    "PkiStatus",
    "Rejected",
    "Reply",
    "Request",
    "Signer",
    "Transport",
    "Witness",
    "build_csr",
    "certificate_template",
    "csr_challenge",
    "decode_reply",
    "decode_request",
    "degenerate",
    "encode_next_ca",
    "encode_reply",
    "encode_request",
    "enveloped_data",
    "issuer_and_serial",
    "issuer_and_subject",
    "kept_extensions",
    "new_nonce",
    "new_transaction_id",
    "parse_issuer_and_serial",
    "parse_issuer_and_subject",
    "random_transaction_id",
    "read_ca_certificates",
    "read_next_ca",
    "reply_attributes",
    "same_name",
    "self_signed",
    "sign_again",
    "signed_data",
]


def __getattr__(name: str) -> object:
    """Load HTTP only when it is used: it would be a third of what a worker with nothing to do loads."""
    if name not in ("Answer", "Transport", "Witness"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from certagent.scep import transport  # noqa: PLC0415

    return getattr(transport, name)
