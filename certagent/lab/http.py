"""What the lab CA gets and gives over HTTP, without a socket (`server` has those)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.lab.generation import Generation
from certagent.scep import degenerate, encode_next_ca


@dataclass(frozen=True)
class Call:
    """One HTTP request. `message`: the query's `message` of a GET (text), or the body of a POST."""

    operation: str
    message: str | bytes


@dataclass(frozen=True)
class HttpAnswer:
    """One HTTP response. `note` is what the log says about it."""

    status: int
    content_type: str
    body: bytes
    note: str


def ca_certificate_answer(certificates: Sequence[x509.Certificate]) -> HttpAnswer:
    """To GetCACert: a bare certificate, or several in a degenerate PKCS#7."""
    if len(certificates) == 1:
        body = certificates[0].public_bytes(Encoding.DER)
        return HttpAnswer(200, "application/x-x509-ca-cert", body, "the CA certificate")
    body = degenerate(certificates)
    return HttpAnswer(200, "application/x-x509-ca-ra-cert", body, f"{len(certificates)} certificates")


def next_ca_answer(current: Generation, following: Generation | None, now: datetime, *, flat: bool) -> HttpAnswer:
    """To GetNextCACert: the next CA under the signature of the current one; 404 while there is none.

    In either form as clients read it: jscep and sscep look at this Content-Type, XiPKI at the signing time as well.
    """
    if following is None:
        return HttpAnswer(404, "text/plain", b"there is no next CA yet\n", "no next CA yet")
    body = encode_next_ca(following.certificates, current.issuer, nested=not flat, signing_time=now)
    note = f"the next CA, from {following.begins:%Y-%m-%dT%H:%M:%SZ}"
    return HttpAnswer(200, "application/x-x509-next-ca-cert", body, note)


def decode_message(message: str | bytes) -> bytes:
    """The SCEP message of a call; of a GET, base64 (RFC 8894 §4.1). Nothing sensible: nothing."""
    if isinstance(message, bytes):
        return message
    try:
        # A "+" that was not percent-encoded arrives as a space; some clients break lines.
        return base64.b64decode("".join(message.replace(" ", "+").split()), validate=True)
    except ValueError:
        return b""
