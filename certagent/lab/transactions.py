"""Requests on their way to a certificate: received, waiting for the operator, polled, issued.

The rule: one transaction ID and one key get one certificate, however often the request comes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from cryptography import x509
from msgspec import Struct

from certagent.errors import CertagentError, RejectedError
from certagent.lab import checks
from certagent.lab.generation import Generation, Settings
from certagent.lab.issued import Issued
from certagent.lab.rollover import ShadowRequest
from certagent.lab.store import Record, Store, Waiting, is_keepable
from certagent.scep import FailInfo, PkiStatus, Request, parse_issuer_and_subject, same_name

ENROLLMENT, RENEWAL, ROLLOVER, INTRODUCTION = "enrollment", "renewal", "rollover", "introduction"


class Answer(Struct, frozen=True):
    """The answer to a SCEP request: SUCCESS with a certificate or a CRL, PENDING, or FAILURE."""

    status: PkiStatus
    certificate: x509.Certificate | None = None
    crl: x509.CertificateRevocationList | None = None
    fail_info: FailInfo | None = None
    fail_text: str | None = None


class Issuer(Protocol):
    """The CA as a transaction needs it: who may request, and what to issue."""

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Callable[[], datetime]: ...
    @property
    def generation(self) -> Generation: ...
    @property
    def following(self) -> Generation | None: ...
    def authenticate(self, request: Request, csr: x509.CertificateSigningRequest) -> str: ...
    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate: ...
    def issue_shadow(self, csr: x509.CertificateSigningRequest, following: Generation) -> x509.Certificate: ...


class Transactions:
    """`lock` is held while a request is handled. Both methods raise RejectedError for FAILURE."""

    def __init__(self, ca: Issuer, store: Store, issued: Issued, lock: threading.Lock) -> None:
        self._ca = ca
        self._store = store
        self._issued = issued
        self._lock = lock
        self._forget_interrupted()

    def enroll(self, request: Request) -> Answer:
        """Handle PKCSReq and RenewalReq."""
        csr = checks.read_csr(request.content)
        if not is_keepable(request.transaction_id):
            raise RejectedError("the transaction ID is empty or too long", fail_info="badRequest")
        with self._lock:
            known = self._issued.in_transaction(request.transaction_id)
            # A client that keeps its key and derives the ID from it uses the same ID again for the renewal.
            if known is not None and request.signer != known.certificate:
                checks.same_key(csr, known.certificate)
                return Answer(PkiStatus.SUCCESS, known.certificate)
            waiting = self._store.waiting(request.transaction_id)
            if waiting is not None:
                checks.same_key(csr, waiting.csr)
                return self._settle(waiting)
            kind = self._ca.authenticate(request, csr)
            waiting = Waiting(request.transaction_id, kind, checks.requester(request.signer), csr)
            if self._ca.settings.manual:  # so that an operator may change the decision
                self._store.put_waiting(waiting)
                return Answer(PkiStatus.PENDING)
            return self._issue(waiting)

    def poll(self, request: Request) -> Answer:
        """Handle CertPoll, RFC 8894 §3.3.3: by transaction ID, for the signer of the original request only."""
        try:
            issuer, subject = parse_issuer_and_subject(request.content)
        except CertagentError as error:
            raise RejectedError(str(error), fail_info="badRequest") from None
        with self._lock:
            known = self._issued.in_transaction(request.transaction_id)
            found = self._store.waiting(request.transaction_id) or known
            if found is None:
                raise RejectedError("no such transaction", fail_info="badCertId")
            asked = found.csr.subject if isinstance(found, Waiting) else found.certificate.subject
            following = self._ca.following if isinstance(request, ShadowRequest) else None
            ca = (following or self._ca.generation).issuer.certificate
            if not (same_name(issuer, ca.subject) and same_name(subject, asked)):
                raise RejectedError("the issuer or subject is not that of the transaction", fail_info="badRequest")
            if found.requester != checks.requester(request.signer):
                raise RejectedError(
                    "the poll is signed with a different key than the request", fail_info="badMessageCheck"
                )
            if isinstance(found, Record):
                return Answer(PkiStatus.SUCCESS, found.certificate)
            return self._settle(found)

    def _settle(self, waiting: Waiting) -> Answer:
        if waiting.decision == "rejected":
            raise RejectedError("the request was rejected by hand", fail_info="badRequest")
        return self._issue(waiting) if waiting.decision == "approved" else Answer(PkiStatus.PENDING)

    def _issue(self, waiting: Waiting) -> Answer:
        if self._ca.clock() >= self._ca.generation.issuer.certificate.not_valid_after_utc:
            raise RejectedError("this CA has expired", fail_info="badRequest")
        try:
            # If a rollover is approved after the next CA took over, it is a normal issue: that CA is the current one.
            following = self._ca.following if waiting.kind == ROLLOVER else None
            if following is not None:
                certificate = self._ca.issue_shadow(waiting.csr, following)
            else:
                certificate = self._ca.issue(waiting.csr)
        except ValueError:
            # `cryptography` reads some names that it cannot write.
            raise RejectedError("the names in the request cannot be certified", fail_info="badRequest") from None
        self._issued.add(Record(waiting.transaction_id, waiting.kind, waiting.requester, certificate))
        return Answer(PkiStatus.SUCCESS, certificate)

    def _forget_interrupted(self) -> None:
        """Remove requests that were issued, but were not removed because of a power cut."""
        for waiting in self._store.all_waiting():
            known = self._issued.in_transaction(waiting.transaction_id)
            issued = known is not None and (known.kind, known.requester) == (waiting.kind, waiting.requester)
            if issued and waiting.decision == "approved":
                self._store.remove_waiting(waiting.transaction_id)
