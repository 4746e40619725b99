"""The lab CA's HTTP requests and responses, without a socket (`server` has those)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from certagent.lab.generation import Generation
from certagent.scep import degenerate, encode_next_ca


class Call(Struct, frozen=True):
    """One HTTP request. `message`: for a GET, the query's `message` (text); for a POST, the body."""

    operation: str
    message: str | bytes


class HttpAnswer(Struct, frozen=True):
    """One HTTP response. `note` is what the log says about it."""

    status: int
    content_type: str
    body: bytes
    note: str


def ca_certificate_answer(certificates: Sequence[x509.Certificate]) -> HttpAnswer:
    """The answer to GetCACert: a single certificate, or several in a degenerate PKCS#7."""
    if len(certificates) == 1:
        body = certificates[0].public_bytes(Encoding.DER)
        return HttpAnswer(200, "application/x-x509-ca-cert", body, "the CA certificate")
    body = degenerate(certificates)
    return HttpAnswer(200, "application/x-x509-ca-ra-cert", body, f"{len(certificates)} certificates")


def next_ca_answer(current: Generation, following: Generation | None, now: datetime, *, flat: bool) -> HttpAnswer:
    """The answer to GetNextCACert: the next CA, signed by the current one; 404 if there is none.

    Clients can read both forms: jscep and sscep check this Content-Type, XiPKI also the signing time.
    """
    if following is None:
        return HttpAnswer(404, "text/plain", b"there is no next CA yet\n", "no next CA yet")
    body = encode_next_ca(following.certificates, current.issuer, nested=not flat, signing_time=now)
    note = f"the next CA, from {following.begins:%Y-%m-%dT%H:%M:%SZ}"
    return HttpAnswer(200, "application/x-x509-next-ca-cert", body, note)


def decode_message(message: str | bytes) -> bytes:
    """The SCEP message of a call; in a GET it is base64 (RFC 8894 §4.1). Returns nothing if it cannot be decoded."""
    if isinstance(message, bytes):
        return message
    try:
        # A "+" that was not percent-encoded arrives as a space; some clients add line breaks.
        return base64.b64decode("".join(message.replace(" ", "+").split()), validate=True)
    except ValueError:
        return b""
