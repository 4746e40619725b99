"""The lab CA: what it answers, and why. A test makes a misbehaving CA by overriding a method.

    respond_http     one HTTP exchange → capabilities | ca_certificates | next_ca | pki_operation
    pki_operation    SCEP message in, reply out: decide → reply
    decide           by message type; transactions.enroll → authenticate → issue

Nothing here opens a socket (`server` does) or looks at a wall clock (`clock` is an argument).
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.errors import CertagentError, RejectedError
from certagent.lab import checks, issuing
from certagent.lab.generation import Generation, Settings
from certagent.lab.http import Call, HttpAnswer, ca_certificate_answer, decode_message, next_ca_answer
from certagent.lab.issued import Issued
from certagent.lab.rollover import Generations, ShadowRequest, open_request
from certagent.lab.store import Record, Store
from certagent.lab.transactions import ENROLLMENT, INTRODUCTION, RENEWAL, ROLLOVER, Answer, Transactions
from certagent.scep import (
    Algorithms,
    FailInfo,
    MessageType,
    PkiStatus,
    Request,
    Signer,
    csr_challenge,
    encode_reply,
    new_nonce,
    parse_issuer_and_serial,
    same_name,
)

_FAIL_INFO = {fail_info.word: fail_info for fail_info in FailInfo}


class LabCA:
    """A SCEP CA in a directory. Safe to call from several threads; one process at a time."""

    def __init__(self, directory: Path, clock: Callable[[], datetime], settings: Settings | None = None) -> None:
        """Open the CA in `directory`, or make one. Raises ConfigError or StateError."""
        self.clock = clock
        self.settings = settings or Settings()
        self.store = Store(directory)
        self.store.create()
        self.generations = Generations(self.store, self.settings, clock())
        self.crl_url: str | None = None  # where a server of this CA serves its CRL
        self.challenge = self.settings.challenge or self.store.challenge()
        self._lock = threading.Lock()
        self._issued = Issued(self.store)
        self._transactions = Transactions(self, self.store, self._issued, self._lock)

    @property
    def generation(self) -> Generation:
        """The current CA."""
        return self.generations.current

    @property
    def following(self) -> Generation | None:
        """The next CA, once it is announced."""
        return self.generations.following

    def issued(self) -> Sequence[Record]:
        """Every certificate ever issued, oldest first."""
        with self._lock:
            return self._issued.all()

    # What a client asks, from the outside in.

    def respond_http(self, call: Call) -> HttpAnswer:
        with self._lock:
            self.generations.advance(self.clock())
        match call.operation:
            case "GetCACaps":
                text = "\n".join(self.capabilities()) + "\n"
                return HttpAnswer(200, "text/plain", text.encode(), text.replace("\n", " ").strip())
            case "GetCACert":
                return ca_certificate_answer(self.ca_certificates())
            case "GetNextCACert" if self.settings.rollover is not None:
                return self.next_ca()
            case "PKIOperation":
                return self.pki_operation(decode_message(call.message))
            case _:
                # RFC 8894 §3.5.1: an operation that is not advertised is not supported.
                return HttpAnswer(400, "text/plain", b"unknown operation\n", "unknown operation")

    def capabilities(self) -> Sequence[str]:
        """The words of GetCACaps: exactly what `decide` accepts."""
        weak = [word for name, word in (("3des", "DES3"), ("sha1", "SHA-1")) if name in self.settings.accept]
        next_ca = ["GetNextCACert"] if self.settings.rollover is not None else []
        return ("AES", "POSTPKIOperation", "Renewal", "SHA-256", "SHA-512", "SCEPStandard", *next_ca, *weak)

    def ca_certificates(self) -> Sequence[x509.Certificate]:
        """What GetCACert returns: the CA's certificate, with those of its RA and its root if it has them."""
        return self.generation.certificates

    def next_ca(self) -> HttpAnswer:
        """What GetNextCACert returns."""
        return next_ca_answer(self.generation, self.following, self.clock(), flat=self.settings.flat_next_ca)

    def crl(self, name: str = "") -> x509.CertificateRevocationList:
        """The CRL of the generation with this `crl_name`, or of the current one: which of its certificates are revoked
        now."""
        issuer = next((each for each in self.generations.all() if each.crl_name == name), self.generation).issuer
        settings = self.settings
        return issuing.revocation_list(
            self.store.revoked(), issuer, self.clock(), settings.crl_lifetime, pss=settings.pss
        )

    def pki_operation(self, message: bytes) -> HttpAnswer:
        """A SCEP message → the reply. A message that cannot be opened gets no reply: nobody knows whom to reply to."""
        try:
            request = open_request(message, self.generation, self.following, self.challenge.encode())
        except CertagentError as error:
            return HttpAnswer(400, "text/plain", f"{error}\n".encode(), f"cannot be parsed: {error}")
        try:
            answer = self.decide(request)
        except RejectedError as error:
            answer = Answer(PkiStatus.FAILURE, fail_info=_FAIL_INFO[error.fail_info], fail_text=str(error))
        body = self.reply(request, answer)
        return HttpAnswer(200, "application/x-pki-message", body, _note(request, answer))

    def decide(self, request: Request) -> Answer:
        """The answer to a request. Raises RejectedError for FAILURE."""
        checks.algorithms(request, self.settings.accept)
        match request.message_type:
            case MessageType.PKCS_REQ | MessageType.RENEWAL_REQ:
                return self._transactions.enroll(request)
            case MessageType.CERT_POLL:
                return self._transactions.poll(request)
            case MessageType.GET_CERT | MessageType.GET_CRL:
                return self._query(request)
            case _:
                raise RejectedError("not a message for a CA", fail_info="badRequest")

    def authenticate(self, request: Request, csr: x509.CertificateSigningRequest) -> str:
        """Check that the signer of the request may have it; which kind it is, or raises RejectedError.

        Signed with a self-signed certificate: the challenge password must be right. Signed with a certificate issued
        here: that is enough, under either message type, for the same subject and no names it does not have. Signed
        with a certificate of one of the `makers`: see `checks.introduction`.
        """
        shadow = isinstance(request, ShadowRequest)
        if (record := self._issued.of(request.signer)) is not None:
            grace = self.generations.grace_for(record.not_after)
            checks.renewal(csr, record.certificate, self.clock() - grace)
            if record.serial in self.store.revoked():
                raise RejectedError("the signing certificate was revoked", fail_info="badRequest")
            return ROLLOVER if shadow else RENEWAL
        if self.settings.makers and not checks.is_self_signed(request.signer):
            checks.introduction(request, csr, self.settings.makers, self._issued.all(), self.clock())
            return ROLLOVER if shadow else INTRODUCTION
        if not checks.is_self_signed(request.signer):
            raise RejectedError("the signing certificate was not issued by this CA", fail_info="badMessageCheck")
        if request.message_type == MessageType.RENEWAL_REQ:
            raise RejectedError(
                "a renewal must be signed with the certificate that it renews", fail_info="badMessageCheck"
            )
        try:
            challenge = csr_challenge(request.content) or ""
        except CertagentError as error:
            raise RejectedError(str(error), fail_info="badRequest") from None
        if not hmac.compare_digest(challenge.encode(), self.challenge.encode()):
            raise RejectedError("the challenge password is missing or wrong", fail_info="badRequest")
        return ROLLOVER if shadow else ENROLLMENT

    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        """The certificate for a request that passed."""
        return self._leaf(csr, self.generation, self.clock())

    def issue_shadow(self, csr: x509.CertificateSigningRequest, following: Generation) -> x509.Certificate:
        """The certificate under the next CA for a request that passed; it begins when that CA does."""
        return self._leaf(csr, following, following.begins)

    def _leaf(self, csr: x509.CertificateSigningRequest, generation: Generation, begins: datetime) -> x509.Certificate:
        lifetime, pss = self.settings.lifetime, self.settings.pss
        url = f"{self.crl_url}/{generation.crl_name}" if self.crl_url else None
        return issuing.leaf_certificate(csr, generation.issuer, begins, lifetime, crl_url=url, pss=pss)

    def reply_signer(self, request: Request) -> Signer:
        """Who signs the reply: the current CA or its RA, whoever the request was enveloped to."""
        return self.generation.signer

    def reply(self, request: Request, answer: Answer) -> bytes:
        """The CertRep message, with the algorithms of the request, enveloped to its signer or in the same way."""
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
            signing_time=self.clock(),
        )

    def _query(self, request: Request) -> Answer:
        """GetCert and GetCRL, RFC 8894 §3.3.4. Both are public, so anybody may ask."""
        try:
            issuer, serial = parse_issuer_and_serial(request.content)
        except CertagentError as error:
            raise RejectedError(str(error), fail_info="badRequest") from None
        if not same_name(issuer, self.generation.issuer.certificate.subject):
            raise RejectedError("that is another CA's", fail_info="badCertId")
        if request.message_type == MessageType.GET_CRL:
            return Answer(PkiStatus.SUCCESS, crl=self.crl())
        with self._lock:
            found = self._issued.with_serial(serial)
        if found is None:
            raise RejectedError("no certificate with this serial number was issued", fail_info="badCertId")
        return Answer(PkiStatus.SUCCESS, found.certificate)


def _note(request: Request, answer: Answer) -> str:
    """One line for the log: message type, subject, result."""
    result = answer.status.name
    if answer.certificate is not None:
        result += f" serial {answer.certificate.serial_number:x}"
    if answer.fail_info is not None:
        result += f" {answer.fail_info.word}: {answer.fail_text}"
    signer = request.signer.subject.rfc4514_string()
    return f"{request.message_type.name} by {signer} in {request.transaction_id}: {result}"
