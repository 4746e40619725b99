"""Answers to GetCACert and GetCACaps, and HTTP, that no honest CA gives."""

from __future__ import annotations

import contextlib
import gzip
import struct
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from socket import SO_LINGER, SOL_SOCKET, socket
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from certagent import certificate as facts
from certagent.certificate import to_der
from certagent.lab import Call, HttpAnswer
from certagent.lab.http import decode_message
from certagent.scep import degenerate
from tests.hostile.lab import CA_CERTIFICATES, REPLY, Fault, Hostile, body, offering, raw, serving
from tests.unit.pki import CMC_RA, Party, key, party, remade, rsa_key
from tests.waiting import PATIENCE

DAY = timedelta(days=1)


# ── GetCACert ──


def one_each(make: Callable[[Hostile], Party]) -> Callable[[Hostile], Party]:
    """The same certificate in the configuration and in what the CA says."""
    return lambda ca: ca.cast.setdefault(make.__name__, make(ca))


def _stranger(ca: Hostile, name: str) -> Party:
    return party(name, with_key=rsa_key("namesake"), ca=True, start=ca.clock() - DAY, end=ca.clock() + 900 * DAY)


@one_each
def stranger_ca(ca: Hostile) -> Party:
    return _stranger(ca, "CN=another CA")


def another_ca(ca: Hostile) -> Sequence[x509.Certificate]:
    return [stranger_ca(ca).certificate]


def namesake_ca(ca: Hostile) -> Sequence[x509.Certificate]:
    return [_stranger(ca, ca.issuer.certificate.subject.rfc4514_string()).certificate]


def _ra(ca: Hostile, issuer: Party, *, days: float = 90, start: float = -1, **changes: Any) -> x509.Certificate:
    usage = ("digital_signature", "key_encipherment")
    now = ca.clock()
    made = party(
        "CN=RA",
        issuer,
        with_key=rsa_key("old RA"),
        start=now + start * DAY,
        end=now + days * DAY,
        **{"usage": usage, "purposes": (CMC_RA,), **changes},
    )
    return made.certificate


def ra_of_another_ca(ca: Hostile) -> Sequence[x509.Certificate]:
    return [_ra(ca, stranger_ca(ca)), ca.issuer.certificate]


def ra_of_a_namesake(ca: Hostile) -> Sequence[x509.Certificate]:
    return [_ra(ca, Party(ca.issuer.certificate, rsa_key("namesake"))), ca.issuer.certificate]


def sibling_as_ra(ca: Hostile) -> Sequence[x509.Certificate]:
    return [_ra(ca, ca.issuer, purposes=(Purpose.SERVER_AUTH, Purpose.CLIENT_AUTH)), ca.issuer.certificate]


def expired_ra(ca: Hostile) -> Sequence[x509.Certificate]:
    return [_ra(ca, ca.issuer, start=-9, days=-1), ca.issuer.certificate]


def ra_of_tomorrow(ca: Hostile) -> Sequence[x509.Certificate]:
    return [_ra(ca, ca.issuer, start=1, days=9), ca.issuer.certificate]


def weak_ra(ca: Hostile) -> Sequence[x509.Certificate]:
    made = Party(_ra(ca, ca.issuer), rsa_key("old RA"))
    return [remade(made, ca.issuer, digest="sha1").certificate, ca.issuer.certificate]


@one_each
def expired_ca(ca: Hostile) -> Party:
    return party("CN=old CA", with_key=rsa_key("old CA"), ca=True, start=ca.clock() - 9 * DAY, end=ca.clock() - DAY)


@one_each
def ca_of_tomorrow(ca: Hostile) -> Party:
    return party("CN=new CA", with_key=rsa_key("new CA"), ca=True, start=ca.clock() + DAY, end=ca.clock() + 9 * DAY)


@one_each
def leaf_as_ca(ca: Hostile) -> Party:
    """Another device of this CA, whose fingerprint somebody configured."""
    return party("CN=leaf", ca.issuer, with_key=rsa_key("old CA"), start=ca.clock() - DAY, end=ca.clock() + DAY)


def pinned(*parties: Callable[[Hostile], Party]) -> Callable[[Hostile], str]:
    """Configuration: the fingerprints of these, and of no other."""
    return lambda ca: f"fingerprint: [{', '.join(str(facts.fingerprint(one(ca).certificate)) for one in parties)}]"


def honest_ca(ca: Hostile) -> Party:
    return ca.issuer


def only(*parties: Callable[[Hostile], Party]) -> Fault:
    """GetCACert offers these."""
    return offering(lambda ca: [one(ca).certificate for one in parties])


def intermediate_without_ca(ca: Hostile) -> Sequence[x509.Certificate]:
    """The pinned CA is not sent, but a device of it that issues certificates."""
    leaf = leaf_as_ca(ca)
    return [leaf.certificate, _ra(ca, leaf)]


@cache
def _thousands(count: int, issuer: x509.Name) -> bytes:
    """Certificates that all claim to be CAs of this name; their signatures are nonsense."""
    one, start = key("many"), x509.random_serial_number() >> 40
    made = party("CN=many", ca=True).certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer)
        .public_key(one.public_key())
        .not_valid_before(made.not_valid_before_utc)
        .not_valid_after(made.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return degenerate([builder.serial_number(start + at).sign(one, hashes.SHA256()) for at in range(count)])


def thousands(count: int) -> Fault:
    def change(ca: Hostile, honest: HttpAnswer) -> HttpAnswer:
        return HttpAnswer(200, honest.content_type, _thousands(count, ca.issuer.certificate.subject), "many")

    return serving(CA_CERTIFICATES, change)


def broken_ca(ca: Hostile, honest: HttpAnswer) -> HttpAnswer:
    der = to_der(ca.issuer.certificate)
    subject = ca.issuer.certificate.subject.public_bytes()
    return HttpAnswer(200, honest.content_type, der.replace(subject, bytes(len(subject))), "broken")


# ── HTTP ──


def http(status: int, text: bytes, operation: str = REPLY) -> Fault:
    return serving(operation, lambda _ca, _honest: HttpAnswer(status, "text/html", text, "fault"))


def echo(ca: Hostile) -> None:
    """The request itself comes back."""

    def answer(call: Call) -> HttpAnswer:
        return HttpAnswer(200, "", decode_message(call.message), "echo")

    ca.serving[REPLY] = answer


def truncated(operation: str = REPLY) -> Fault:
    return body(operation, lambda whole: whole[: len(whole) // 2])


def head(status: str, **fields: object) -> bytes:
    fields.setdefault("Connection", "close")
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def wire(data: Callable[[bytes], bytes], operation: str = REPLY) -> Fault:
    """Exactly these bytes, made from the honest body; then the end of the connection."""

    def write(connection: socket, honest: bytes, _ca: Hostile) -> None:
        with contextlib.suppress(OSError):  # the client hangs up when it has seen enough
            connection.sendall(data(honest))

    return raw(write, operation)


def redirect(location: str) -> Fault:
    return wire(lambda _: head("302 Found", Location=location, Content_Length=0))


def reset(connection: socket, honest: bytes, _ca: Hostile) -> None:
    """Half an answer, and then no orderly end."""
    connection.sendall(head("200 OK", Content_Length=len(honest)) + honest[: len(honest) // 2])
    connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def drip(connection: socket, honest: bytes, ca: Hostile) -> None:
    """A byte now and then: every single read is in time."""
    connection.sendall(head("200 OK", Content_Length=len(honest)))
    with contextlib.suppress(OSError):
        for at in range(len(honest)):
            if ca.released.wait(0.1):
                return
            connection.sendall(honest[at : at + 1])


def silence(_connection: socket, _honest: bytes, ca: Hostile) -> None:
    ca.released.wait(PATIENCE)


def endless(connection: socket, _honest: bytes, ca: Hostile) -> None:
    """No Content-Length, and no end."""
    with contextlib.suppress(OSError):
        connection.sendall(head("200 OK"))
        while not ca.released.is_set():
            connection.sendall(b"\x30" * 65536)


def bomb(_: bytes) -> bytes:
    """100 MB of zeros in 100 KB, though only plain bytes were asked for."""
    packed = gzip.compress(bytes(100 << 20), 9)
    return head("200 OK", Content_Encoding="gzip", Content_Length=len(packed)) + packed


def chunked(data: bytes) -> bytes:
    return head("200 OK", Transfer_Encoding="chunked") + data
