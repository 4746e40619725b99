"""A lab CA that a test can turn bad, and a server that sends what no web server would."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from socket import socket
from typing import Any

from asn1crypto import cms, core
from cryptography import x509
from msgspec.structs import replace

from certagent.lab import Answer, Call, HttpAnswer, LabCA, LabServer, Settings, serve
from certagent.lab.server import _Handler
from certagent.scep import (
    PkiStatus,
    Request,
    Signer,
    degenerate,
    encode_reply,
    enveloped_data,
    new_nonce,
    reply_attributes,
)
from certagent.scep.signed import assemble, signed_attributes, signed_data
from tests.renewal.site import Clock
from tests.unit.pki import Party

REPLY, CA_CERTIFICATES, CAPABILITIES = "PKIOperation", "GetCACert", "GetCACaps"
Serve = Callable[[Call], HttpAnswer]


class Hostile(LabCA):
    """Honest until a fault is set; `behave` takes every fault away again."""

    def __init__(self, directory: Path, clock: Callable[[], datetime], settings: Settings | None = None) -> None:
        self.released = threading.Event()
        self.asked: list[str] = []
        self.heard: list[Request] = []
        self.sent: list[bytes] = []
        self.cast: dict[str, Party] = {}
        self.behave()
        super().__init__(directory, clock, settings)

    def behave(self) -> None:
        self.forge: Forge | None = None
        self.serving: dict[str, Serve] = {}
        self.offered: Sequence[x509.Certificate] | None = None
        self.words: Sequence[str] | None = None
        self.spelling: Callable[[Party], Party] | None = None

    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        made = super().issue(csr)
        return self.spelling(Party(made, self.issuer.key)).certificate if self.spelling else made

    def respond_http(self, call: Call) -> HttpAnswer:
        self.asked.append(call.operation)
        return self.serving.get(call.operation, self.honest)(call)

    def honest(self, call: Call) -> HttpAnswer:
        return super().respond_http(call)

    def reply(self, request: Request, answer: Answer) -> bytes:
        made = self.forge(Forger(self, request, answer)) if self.forge else super().reply(request, answer)
        self.heard.append(request)
        self.sent.append(made)
        return made

    def ca_certificates(self) -> Sequence[x509.Certificate]:
        return super().ca_certificates() if self.offered is None else self.offered

    def capabilities(self) -> Sequence[str]:
        return super().capabilities() if self.words is None else self.words

    @property
    def issuer(self) -> Party:
        return Party(self.generation.issuer.certificate, self.generation.issuer.key)


Fault = Callable[[Hostile], None]


@dataclass(frozen=True)
class Forger:
    """One request and the honest answer to it: what a dishonest reply is made from."""

    ca: Hostile
    request: Request
    answer: Answer

    @property
    def now(self) -> datetime:
        return self.ca.clock()

    @property
    def issued(self) -> x509.Certificate:
        assert self.answer.certificate is not None
        return self.answer.certificate

    def reply(self, status: PkiStatus = PkiStatus.SUCCESS, **changes: Any) -> bytes:
        """What an honest CA answers, but for `changes`."""
        message: dict[str, Any] = {
            "status": status,
            "transaction_id": self.request.transaction_id,
            "recipient_nonce": self.request.sender_nonce,
            "sender_nonce": new_nonce(),
            "signer": self.ca.generation.signer,
            "recipient": self.request.signer,
            "certificates": [self.issued],
            "algorithms": self.request.algorithms,
        }
        return encode_reply(**{**message, **changes})

    def attributes(self, status: PkiStatus = PkiStatus.SUCCESS) -> Mapping[str, core.Asn1Value]:
        return reply_attributes(
            status=status,
            transaction_id=self.request.transaction_id,
            recipient_nonce=self.request.sender_nonce,
            sender_nonce=new_nonce(),
        )

    def envelope(self, inside: bytes | None = None) -> bytes:
        """An envelope for the device around `inside`; without it, around what the CA issued."""
        return enveloped_data(
            degenerate([self.issued]) if inside is None else inside, self.request.signer, self.request.algorithms.cipher
        )

    def signed(
        self,
        changes: Mapping[str, core.Asn1Value | None] | None = None,
        *,
        content: bytes | None = b"",
        status: PkiStatus = PkiStatus.SUCCESS,
        signer: Signer | None = None,
        digest: str = "sha256",
    ) -> bytes:
        """An honest SignedData but for attributes (None takes one away) and `content` (b"": the envelope)."""
        content = self.envelope() if content == b"" else content
        chosen = signer or self.ca.generation.signer
        complete = {**self.attributes(status), **(changes or {})}
        return signed_data(
            content, {oid: v for oid, v in complete.items() if v is not None}, chosen, digest, [chosen.certificate]
        )

    def signed_attributes(self, content: bytes) -> list[cms.CMSAttribute]:
        return list(signed_attributes(content, self.attributes(), "sha256"))

    def assembled(self, attributes: cms.CMSAttributes | None, content: bytes, signer: Signer | None = None) -> bytes:
        """A SignedData over exactly these signed attributes."""
        chosen = signer or self.ca.generation.signer
        return assemble(content, attributes, chosen, "sha256", [chosen.certificate])


Forge = Callable[[Forger], bytes]


def replying(forge: Forge) -> Fault:
    """The CA issues, and answers with what `forge` makes of it."""

    def fault(ca: Hostile) -> None:
        ca.forge = forge

    return fault


def serving(operation: str, change: Callable[[Hostile, HttpAnswer], HttpAnswer]) -> Fault:
    """The web server, or what stands before it, makes something else of the CA's answer."""

    def fault(ca: Hostile) -> None:
        ca.serving[operation] = lambda call: change(ca, ca.honest(call))

    return fault


def body(operation: str, change: Callable[[bytes], bytes], **fields: Any) -> Fault:
    """Another body, under an honest head unless `fields` say otherwise."""
    return serving(operation, lambda _, honest: replace(honest, body=change(honest.body), **fields))


def offering(certificates: Callable[[Hostile], Sequence[x509.Certificate]]) -> Fault:
    """GetCACert answers with other certificates."""

    def fault(ca: Hostile) -> None:
        ca.offered = certificates(ca)

    return fault


# ── a server that does not speak proper HTTP ──


class Raw(HttpAnswer, frozen=True):
    """An answer that is written by hand, and the connection closed after it."""

    write: Callable[[socket], None]


class _RawHandler(_Handler):
    def _send(self, answer: HttpAnswer, operation: str) -> None:
        if isinstance(answer, Raw):
            self.close_connection = True
            answer.write(self.connection)
        else:
            super()._send(answer, operation)


def raw(write: Callable[[socket, bytes, Hostile], None], operation: str = REPLY) -> Fault:
    """`write` gets the connection, and the honest body."""

    def change(ca: Hostile, honest: HttpAnswer) -> HttpAnswer:
        return Raw(200, "", b"", "raw", lambda connection: write(connection, honest.body, ca))

    return serving(operation, change)


def start_hostile(directory: Path, clock: Clock, settings: Settings) -> LabServer:
    server = serve(Hostile(directory, clock, settings))
    server._http.RequestHandlerClass = _RawHandler
    server._http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is expected
    return server
