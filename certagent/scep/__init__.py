"""SCEP (RFC 8894): messages and how they travel. Trust is decided elsewhere and handed in."""

from certagent.scep.algorithms import Algorithms, Signer
from certagent.scep.authority import read_ca_certificates
from certagent.scep.capabilities import Capabilities
from certagent.scep.client import Client
from certagent.scep.envelope import enveloped_data
from certagent.scep.message import (
    FailInfo,
    Issued,
    MessageType,
    Pending,
    PkiStatus,
    Rejected,
    Reply,
    Request,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    reply_attributes,
)
from certagent.scep.request import (
    build_csr,
    csr_challenge,
    issuer_and_subject,
    new_nonce,
    new_transaction_id,
    parse_issuer_and_subject,
    random_transaction_id,
    self_signed,
)
from certagent.scep.signed import degenerate, signed_data
from certagent.scep.transport import Transport

__all__ = [
    "Algorithms",
    "Capabilities",
    "Client",
    "FailInfo",
    "Issued",
    "MessageType",
    "Pending",
    "PkiStatus",
    "Rejected",
    "Reply",
    "Request",
    "Signer",
    "Transport",
    "build_csr",
    "csr_challenge",
    "decode_reply",
    "decode_request",
    "degenerate",
    "encode_reply",
    "encode_request",
    "enveloped_data",
    "issuer_and_subject",
    "new_nonce",
    "new_transaction_id",
    "parse_issuer_and_subject",
    "random_transaction_id",
    "read_ca_certificates",
    "reply_attributes",
    "self_signed",
    "signed_data",
]
