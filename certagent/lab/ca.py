"""The lab CA: what it answers, and why. A test makes a misbehaving one by overriding a method.

    respond_http     one HTTP exchange → capabilities | ca_certificates | next_ca | pki_operation
    pki_operation    SCEP message in, reply out: decide → reply
    decide           by message type; enroll → authenticate → issue

Nothing here opens a socket (`server` does) or looks at a wall clock (`clock` is an argument).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certagent import keys
from certagent.errors import CertagentError, RejectedError
from certagent.lab import checks, issuing
from certagent.lab.generation import Generation, Settings
from certagent.lab.rollover import Line, ShadowRequest, open_request
from certagent.lab.store import Record, Store, Waiting, is_keepable
from certagent.scep import (
    Algorithms,
    FailInfo,
    MessageType,
    PkiStatus,
    Request,
    Signer,
    csr_challenge,
    degenerate,
    encode_next_ca,
    encode_reply,
    new_nonce,
    parse_issuer_and_serial,
    parse_issuer_and_subject,
)

ENROLLMENT, RENEWAL, ROLLOVER = "enrollment", "renewal", "rollover"
_FAIL_INFO = {fail_info.word: fail_info for fail_info in FailInfo}


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


@dataclass(frozen=True)
class Answer:
    """What a SCEP request gets: SUCCESS with a certificate or a CRL, PENDING, or FAILURE."""

    status: PkiStatus
    certificate: x509.Certificate | None = None
    crl: x509.CertificateRevocationList | None = None
    fail_info: FailInfo | None = None
    fail_text: str | None = None


class LabCA:
    """A SCEP CA in a directory. Safe to call from several threads; one process at a time."""

    def __init__(self, directory: Path, clock: Callable[[], datetime], settings: Settings | None = None) -> None:
        """Open the CA in `directory`, or make one. Raises ConfigError or StateError."""
        self.clock = clock
        self.settings = settings or Settings()
        self.store = Store(directory)
        self.store.create()
        self.line = Line(self.store, self.settings, clock())
        self.crl_url: str | None = None  # where a server of this CA answers with its CRL
        self.challenge = self.settings.challenge or self.store.challenge()
        self._lock = threading.Lock()
        self._issued: list[Record] = []
        self._by_transaction: dict[str, Record] = {}
        self._by_fingerprint: dict[bytes, Record] = {}
        for record in self.store.all_issued():
            self._remember(record)
        self._forget_interrupted()

    @property
    def generation(self) -> Generation:
        """The CA at work."""
        return self.line.current

    @property
    def following(self) -> Generation | None:
        """The next CA, once it is announced."""
        return self.line.following

    def issued(self) -> Sequence[Record]:
        """Every certificate ever issued, oldest first."""
        with self._lock:
            return tuple(self._issued)

    # What a client asks, from the outside in.

    def respond_http(self, call: Call) -> HttpAnswer:
        with self._lock:
            self.line.turn(self.clock())
        match call.operation:
            case "GetCACaps":
                text = "\n".join(self.capabilities()) + "\n"
                return HttpAnswer(200, "text/plain", text.encode(), text.replace("\n", " ").strip())
            case "GetCACert":
                return self._ca_certificate_answer()
            case "GetNextCACert" if self.settings.rollover is not None:
                return self.next_ca()
            case "PKIOperation":
                return self.pki_operation(decode_message(call.message))
            case _:
                # RFC 8894 §3.5.1: what is not advertised is not understood.
                return HttpAnswer(400, "text/plain", b"unknown operation\n", "unknown operation")

    def capabilities(self) -> Sequence[str]:
        """The words of GetCACaps: what `decide` really takes, and nothing else."""
        weak = [word for name, word in (("3des", "DES3"), ("sha1", "SHA-1")) if name in self.settings.accept]
        next_ca = ["GetNextCACert"] if self.settings.rollover is not None else []
        return ("AES", "POSTPKIOperation", "Renewal", "SHA-256", "SHA-512", "SCEPStandard", *next_ca, *weak)

    def ca_certificates(self) -> Sequence[x509.Certificate]:
        """What GetCACert returns: the CA's certificate, with those of its RA and its root if it has them."""
        return self.generation.certificates

    def next_ca(self) -> HttpAnswer:
        """What GetNextCACert returns: the next CA under the signature of the one at work; 404 while there is none."""
        if self.following is None:
            return HttpAnswer(404, "text/plain", b"there is no next CA yet\n", "no next CA yet")
        flat = self.settings.flat_next_ca
        body = encode_next_ca(self.following.certificates, self.generation.issuer, nested=not flat)
        kind = "application/x-x509-ca-ra-cert" if flat else "application/x-x509-next-ca-cert"
        return HttpAnswer(200, kind, body, f"the next CA, from {self.following.begins:%Y-%m-%dT%H:%M:%SZ}")

    def crl(self) -> x509.CertificateRevocationList:
        """Which of its certificates are no longer good, as of now."""
        return issuing.revocation_list(
            self.store.revoked(), self.generation.issuer, self.clock(), pss=self.settings.pss
        )

    def pki_operation(self, message: bytes) -> HttpAnswer:
        """A SCEP message → the reply. What cannot be opened gets no reply, since nobody is known to reply to."""
        try:
            request = open_request(message, self.generation, self.following, self.challenge.encode())
        except CertagentError as error:
            return HttpAnswer(400, "text/plain", f"{error}\n".encode(), f"not understood: {error}")
        try:
            answer = self.decide(request)
        except RejectedError as error:
            answer = Answer(PkiStatus.FAILURE, fail_info=_FAIL_INFO[error.fail_info], fail_text=str(error))
        body = self.reply(request, answer)
        return HttpAnswer(200, "application/x-pki-message", body, _note(request, answer))

    def decide(self, request: Request) -> Answer:
        """What becomes of a request. Raises RejectedError for FAILURE."""
        checks.algorithms(request, self.settings.accept)
        match request.message_type:
            case MessageType.PKCS_REQ | MessageType.RENEWAL_REQ:
                return self._enroll(request)
            case MessageType.CERT_POLL:
                return self._poll(request)
            case MessageType.GET_CERT | MessageType.GET_CRL:
                return self._query(request)
            case _:
                raise RejectedError("not a message for a CA", fail_info="badRequest")

    def authenticate(self, request: Request, csr: x509.CertificateSigningRequest) -> str:
        """Who asks may ask for this: returns ENROLLMENT, RENEWAL or ROLLOVER, or raises RejectedError.

        Signed by a self-signed certificate: the challenge password counts. Signed by a certificate issued
        here: that counts, under either message type, for its own subject and no more names than it has.
        """
        if (record := self._by_fingerprint.get(_fingerprint(request.signer))) is not None:
            grace = self.line.grace_for(record.not_after)
            checks.renewal(csr, record.certificate, self.clock() - grace)
            if record.serial in self.store.revoked():
                raise RejectedError("the signing certificate was revoked", fail_info="badRequest")
            return ROLLOVER if isinstance(request, ShadowRequest) else RENEWAL
        if not checks.is_self_signed(request.signer):
            raise RejectedError("the signing certificate was not issued by this CA", fail_info="badMessageCheck")
        if request.message_type == MessageType.RENEWAL_REQ:
            raise RejectedError("a renewal is signed with the certificate it renews", fail_info="badMessageCheck")
        try:
            challenge = csr_challenge(request.content) or ""
        except CertagentError as error:
            raise RejectedError(str(error), fail_info="badRequest") from None
        if not hmac.compare_digest(challenge.encode(), self.challenge.encode()):
            raise RejectedError("the challenge password is missing or wrong", fail_info="badRequest")
        return ENROLLMENT

    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        """The certificate for a request that passed."""
        return self._leaf(csr, self.generation, self.clock())

    def issue_shadow(self, csr: x509.CertificateSigningRequest, following: Generation) -> x509.Certificate:
        """The certificate under the next CA for a request that passed; it begins when that CA does."""
        return self._leaf(csr, following, following.begins)

    def _leaf(self, csr: x509.CertificateSigningRequest, generation: Generation, begins: datetime) -> x509.Certificate:
        lifetime, pss = self.settings.lifetime, self.settings.pss
        return issuing.leaf_certificate(csr, generation.issuer, begins, lifetime, crl_url=self.crl_url, pss=pss)

    def reply_signer(self, request: Request) -> Signer:
        """Who signs the reply: the CA at work or its RA, whoever the request was enveloped to."""
        return self.generation.signer

    def reply(self, request: Request, answer: Answer) -> bytes:
        """The CertRep message, in the algorithms the request was made with, enveloped to its signer or as it was."""
        refused = answer.fail_info == FailInfo.BAD_ALG
        return encode_reply(
            status=answer.status,
            transaction_id=request.transaction_id,
            recipient_nonce=request.sender_nonce,
            sender_nonce=new_nonce(),
            signer=self.reply_signer(request),
            recipient=request.signer,
            certificates=[answer.certificate] if answer.certificate else [],
            crl=answer.crl.public_bytes(Encoding.DER) if answer.crl is not None else None,
            fail_info=answer.fail_info,
            fail_text=answer.fail_text,
            algorithms=Algorithms("aes128-cbc", "sha256") if refused else request.algorithms,
            key_transport=request.key_transport,
            password=self.challenge.encode(),
        )

    def _query(self, request: Request) -> Answer:
        """GetCert and GetCRL, RFC 8894 §3.3.4. Both are public, so anybody may ask."""
        try:
            issuer, serial = parse_issuer_and_serial(request.content)
        except CertagentError as error:
            raise RejectedError(str(error), fail_info="badRequest") from None
        if issuer != self.generation.issuer.certificate.subject.public_bytes():
            raise RejectedError("that is another CA's", fail_info="badCertId")
        if request.message_type == MessageType.GET_CRL:
            return Answer(PkiStatus.SUCCESS, crl=self.crl())
        found = next((record for record in self.issued() if record.serial == serial), None)
        if found is None:
            raise RejectedError("no certificate with this serial number was issued", fail_info="badCertId")
        return Answer(PkiStatus.SUCCESS, found.certificate)

    # Transactions. Their rule: one ID and one key get one certificate, however often the request comes.

    def _enroll(self, request: Request) -> Answer:
        csr = checks.read_csr(request.content)
        if not is_keepable(request.transaction_id):
            raise RejectedError("the transaction ID is empty or too long", fail_info="badRequest")
        with self._lock:
            known = self._by_transaction.get(request.transaction_id)
            # A client that derives the ID from a key it keeps reuses the ID to renew what it got under it.
            if known is not None and request.signer != known.certificate:
                checks.same_key(csr, known.certificate)
                return Answer(PkiStatus.SUCCESS, known.certificate)
            waiting = self.store.waiting(request.transaction_id)
            if waiting is not None:
                checks.same_key(csr, waiting.csr)
                return self._settle(waiting)
            kind = self.authenticate(request, csr)
            waiting = Waiting(request.transaction_id, kind, _requester(request.signer), csr)
            if self.settings.manual:
                self.store.put_waiting(waiting)
                return Answer(PkiStatus.PENDING)
            return self._issue(waiting)

    def _poll(self, request: Request) -> Answer:
        """CertPoll, RFC 8894 §3.3.3: by transaction ID, and by whoever made the request."""
        try:
            issuer, subject = parse_issuer_and_subject(request.content)
        except CertagentError as error:
            raise RejectedError(str(error), fail_info="badRequest") from None
        with self._lock:
            known = self._by_transaction.get(request.transaction_id)
            found = self.store.waiting(request.transaction_id) or known
            if found is None:
                raise RejectedError("no such transaction", fail_info="badCertId")
            asked = found.csr.subject if isinstance(found, Waiting) else found.certificate.subject
            ahead = self.following if isinstance(request, ShadowRequest) else None
            names = (ahead or self.generation).issuer.certificate.subject.public_bytes(), asked.public_bytes()
            if (issuer, subject) != names:
                raise RejectedError("the issuer or the subject is not the transaction's", fail_info="badRequest")
            if found.requester != _requester(request.signer):
                raise RejectedError("polled with another key than requested with", fail_info="badMessageCheck")
            if isinstance(found, Record):
                return Answer(PkiStatus.SUCCESS, found.certificate)
            return self._settle(found)

    def _settle(self, waiting: Waiting) -> Answer:
        if waiting.decision == "rejected":
            raise RejectedError("a person rejected the request", fail_info="badRequest")
        return self._issue(waiting) if waiting.decision == "approved" else Answer(PkiStatus.PENDING)

    def _issue(self, waiting: Waiting) -> Answer:
        if self.clock() >= self.generation.issuer.certificate.not_valid_after_utc:
            raise RejectedError("this CA has expired", fail_info="badRequest")
        try:
            # What was asked of the next CA is the business of the CA at work, once that is the same.
            ahead = self.following if waiting.kind == ROLLOVER else None
            certificate = self.issue_shadow(waiting.csr, ahead) if ahead else self.issue(waiting.csr)
        except ValueError:
            # `cryptography` reads some names that it will not write.
            raise RejectedError("the names in the request cannot be certified", fail_info="badRequest") from None
        record = Record(waiting.transaction_id, waiting.kind, waiting.requester, certificate)
        self.store.put_issued(record)
        self._remember(record)
        return Answer(PkiStatus.SUCCESS, certificate)

    def _remember(self, record: Record) -> None:
        self._issued.append(record)
        self._by_transaction[record.transaction_id] = record
        self._by_fingerprint[_fingerprint(record.certificate)] = record

    def _forget_interrupted(self) -> None:
        """Remove requests that were issued, but whose removal a power cut prevented."""
        for waiting in self.store.all_waiting():
            known = self._by_transaction.get(waiting.transaction_id)
            issued = known is not None and (known.kind, known.requester) == (waiting.kind, waiting.requester)
            if issued and waiting.decision == "approved":
                self.store.remove_waiting(waiting.transaction_id)

    def _ca_certificate_answer(self) -> HttpAnswer:
        certificates = self.ca_certificates()
        if len(certificates) == 1:
            body = certificates[0].public_bytes(Encoding.DER)
            return HttpAnswer(200, "application/x-x509-ca-cert", body, "the CA certificate")
        body = degenerate(certificates)
        return HttpAnswer(200, "application/x-x509-ca-ra-cert", body, f"{len(certificates)} certificates")


def decode_message(message: str | bytes) -> bytes:
    """The SCEP message of a call; of a GET, base64 (RFC 8894 §4.1). Nothing sensible: nothing."""
    if isinstance(message, bytes):
        return message
    try:
        # A "+" that was not percent-encoded arrives as a space; some clients break lines.
        return base64.b64decode("".join(message.replace(" ", "+").split()), validate=True)
    except ValueError:
        return b""


def _fingerprint(certificate: x509.Certificate) -> bytes:
    return certificate.fingerprint(hashes.SHA256())


def _requester(signer: x509.Certificate) -> str:
    return hashlib.sha256(keys.public_bytes(signer.public_key())).hexdigest()


def _note(request: Request, answer: Answer) -> str:
    """One line for the log: message type, subject, result."""
    result = answer.status.name
    if answer.certificate is not None:
        result += f" serial {answer.certificate.serial_number:x}"
    if answer.fail_info is not None:
        result += f" {answer.fail_info.word}: {answer.fail_text}"
    signer = request.signer.subject.rfc4514_string()
    return f"{request.message_type.name} by {signer} in {request.transaction_id}: {result}"
