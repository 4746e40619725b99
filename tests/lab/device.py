"""A lab CA on loopback, and a device that speaks SCEP to it through the project's own codecs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent.config.values import KeyTransport
from certagent.keys import PrivateKey
from certagent.lab import LabCA, LabServer, Settings, serve
from certagent.scep import (
    Algorithms,
    Client,
    Issued,
    MessageType,
    Pending,
    Rejected,
    Signer,
    build_csr,
    decode_reply,
    encode_request,
    issuer_and_subject,
    new_nonce,
    random_transaction_id,
    self_signed,
)
from tests.waiting import PATIENCE

CHALLENGE = "open sesame"
START = datetime(2030, 1, 1, 12, 0, 0, 700_000, tzinfo=UTC)
AES = Algorithms("aes128-cbc", "sha256")


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, time: timedelta) -> None:
        self.now += time


@dataclass
class Lab:
    """A running lab: what a test holds. `restart` is a new process as far as the directory can tell."""

    directory: Path
    clock: Clock
    settings: Settings
    kind: type[LabCA]
    stack: ExitStack
    other_key: PrivateKey  # nobody's the lab knows
    ca: LabCA = field(init=False)
    server: LabServer = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.ca = self.kind(self.directory, self.clock, self.settings)
        self.server = self.stack.enter_context(serve(self.ca))

    def restart(self) -> None:
        self.server.stop()
        self.start()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def trusted(self) -> list[x509.Certificate]:
        return [self.ca.generation.signer.certificate]


MakeLab = Callable[..., Lab]


@dataclass
class Device:
    """A client with a key. Each `enroll` or `renew` is one transaction unless given another's ID."""

    lab: Lab
    key: PrivateKey
    name: str = "CN=device"
    san: tuple[x509.GeneralName, ...] = ()
    challenge: str | None = CHALLENGE
    algorithms: Algorithms = AES
    post: bool = True
    transport: rsa.RSAPrivateKey | None = None  # for an EC key, which can receive no envelope
    key_transport: KeyTransport = "rsa"

    @property
    def subject(self) -> x509.Name:
        return x509.Name.from_rfc4514_string(self.name)

    def csr(self) -> bytes:
        san = x509.SubjectAlternativeName(self.san) if self.san else None
        return build_csr(self.key, self.subject, san=san, challenge=self.challenge)

    def self_signed(self) -> Signer:
        key = self.transport or self.key
        return Signer(key, self_signed(key, self.subject, self.lab.clock()))

    def enroll(self, transaction_id: str | None = None) -> Issued | Pending | Rejected:
        return self.send(MessageType.PKCS_REQ, self.csr(), self.self_signed(), transaction_id)

    def renew(
        self, old: Signer, kind: MessageType = MessageType.RENEWAL_REQ, transaction_id: str | None = None
    ) -> Issued | Pending | Rejected:
        return self.send(kind, self.csr(), old, transaction_id)

    def poll(self, transaction_id: str, signer: Signer | None = None) -> Issued | Pending | Rejected:
        content = issuer_and_subject(self.lab.ca.generation.issuer.certificate.subject, self.subject)
        return self.send(MessageType.CERT_POLL, content, signer or self.self_signed(), transaction_id)

    def send(
        self, kind: MessageType, content: bytes, signer: Signer, transaction_id: str | None = None
    ) -> Issued | Pending | Rejected:
        transaction_id, nonce = transaction_id or random_transaction_id(), new_nonce()
        message = encode_request(
            kind,
            content,
            transaction_id=transaction_id,
            sender_nonce=nonce,
            signer=signer,
            recipient=self.lab.ca.generation.recipient.certificate,
            algorithms=self.algorithms,
            key_transport=self.key_transport,
            password=CHALLENGE.encode(),
        )
        client = Client(self.lab.url, timeout=timedelta(seconds=PATIENCE))
        return decode_reply(
            client.pki_operation(message, post=self.post),
            transaction_id=transaction_id,
            sender_nonce=nonce,
            signers=self.lab.trusted,
            decrypter=signer,
            accept=("sha1", "3des", "des"),
            message_type=kind,
            password=CHALLENGE.encode(),
        )


def certificate(reply: Issued | Pending | Rejected) -> x509.Certificate:
    """The one certificate of a reply that must be SUCCESS."""
    assert isinstance(reply, Issued), reply
    (only,) = reply.certificates
    return only
