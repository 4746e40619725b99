"""The half of a transaction that talks to the CA: send the request, poll, accept the answer.

Each step takes the transaction as the journal has it and returns it as the journal has it then. `send` sends the
same bytes however often it is repeated: a CA that answered before gives the same certificate again
(draft-nourse-scep-11 appendix E).
"""

from __future__ import annotations

from cryptography import x509

from certagent import certificate as facts
from certagent import keys, scep
from certagent.errors import HttpError, RejectedError
from certagent.journal import Kind, Phase, Transaction
from certagent.requesting import ANEW, encode, password, request, signer_of, subject_of
from certagent.scep import FailInfo, MessageType
from certagent.trust.authorities import Contact
from certagent.trust.rules import Asked, accept_certificate
from certagent.work import AbandonedError, Work, certificate_in_place


def ask(work: Work, transaction: Transaction) -> Transaction:
    """`send` or `poll`, as the phase has it. When the CA first wants a person, those who want to know are told."""
    if transaction.phase is Phase.PENDING:
        return poll(work, transaction)
    transaction = send(work, transaction)
    if transaction.phase is Phase.PENDING:
        work.log(f"the CA wants a person to approve request {transaction.transaction_id}")
        work.note("pending", transaction)
        work.tell("pending", transaction)
    return transaction


def send(work: Work, transaction: Transaction) -> Transaction:
    """REQUESTED → ISSUED or PENDING; raises RejectedError, TrustError, TransientError.

    Or REQUESTED again: a RenewalReq was refused, and the same is asked for as PKCSReq signed by the old
    certificate. Some CAs advertise Renewal and take only that (EJBCA answers HTTP 400, OpenXPKI badRequest).
    Whether it was the message type is not told, so a refusal on other grounds is heard twice, never more often.
    """
    contact = work.contact(transaction)
    if contact.recipient != transaction.recipient:
        raise AbandonedError("the CA's encryption certificate changed since the request was made", ANEW)
    work.say(f"asking {work.definition.authority} for a certificate")
    try:
        answer = contact.operate(transaction.request)
        return _answered(work, transaction, contact, transaction.sender_nonce, answer)
    except (HttpError, RejectedError) as error:
        if transaction.message_type != MessageType.RENEWAL_REQ or not _may_mean_the_type(error):
            raise
        work.log(f"{error}; trying once more with PKCSReq, signed by the old certificate")
        return request(work, transaction, plain=True)


def _may_mean_the_type(error: HttpError | RejectedError) -> bool:
    """Whether a refusal may be about the message type: a signed badRequest, or HTTP's words for a bad request."""
    if isinstance(error, HttpError):
        return error.status in (400, 405, 501)
    return error.fail_info in (FailInfo.BAD_REQUEST.word, FailInfo.BAD_MESSAGE_CHECK.word)


def poll(work: Work, transaction: Transaction) -> Transaction:
    """PENDING → ISSUED or PENDING again: CertPoll, RFC 8894 §3.3.3, in the same transaction.

    Raises what `send` raises, and AbandonedError if the CA has forgotten the transaction.
    """
    contact = work.contact(transaction)
    nonce = scep.new_nonce()
    about = scep.issuer_and_subject(contact.believed.issuer.subject, subject_of(transaction))
    message = encode(work, transaction, contact, signer_of(work, transaction), about, poll_nonce=nonce)
    work.say(f"asking {work.definition.authority} whether it has decided")
    try:
        return _answered(work, transaction, contact, nonce, contact.operate(message))
    except RejectedError as error:
        if error.fail_info == FailInfo.BAD_CERT_ID.word:
            raise AbandonedError(f"the CA does not know the request it had to decide on: {error}", ANEW) from None
        raise


def _answered(work: Work, transaction: Transaction, contact: Contact, nonce: bytes, answer: bytes) -> Transaction:
    reply = scep.decode_reply(
        answer,
        transaction_id=transaction.transaction_id,
        sender_nonce=nonce,
        signers=contact.believed.signers,
        decrypter=signer_of(work, transaction),
        accept=work.authority.accept,
        message_type=MessageType(transaction.message_type),
        password=password(work),
    )
    match reply:
        case scep.Issued():
            return _accept(work, transaction, contact, reply.certificates)
        case scep.Pending():
            poll_at = work.clock() + work.authority.poll_interval
            return work.journal.write(transaction.at(Phase.PENDING, poll_at=poll_at))
        case scep.Rejected():
            word = reply.fail_info.word if reply.fail_info is not None else "no reason given"
            detail = f" ({reply.text})" if reply.text else ""
            raise RejectedError(f"the CA refused the request: {word}{detail}", _refusal_hint(work, reply), word)


def _refusal_hint(work: Work, reply: scep.Rejected) -> str:
    meaning = reply.fail_info.meaning if reply.fail_info is not None else "ask the CA's operator"
    if work.authority.challenge is not None and work.authority.send_challenge == "enrollment":
        return f"{meaning}; if this CA wants the challenge on renewals too, set send_challenge: always"
    return meaning


def _accept(
    work: Work, transaction: Transaction, contact: Contact, received: tuple[x509.Certificate, ...]
) -> Transaction:
    """Hold the answer against what was asked, and keep it: ISSUED."""
    shadow = work.shadow(transaction)
    asked = Asked(
        key=keys.public_bytes(shadow.key.public_key()),
        subject=subject_of(transaction) if work.definition.check_subject == "exact" else None,
        names=frozenset(transaction.names),
        old=certificate_in_place(work.keystore),
    )
    issuer = contact.believed.issuer
    may_begin = issuer.not_valid_after_utc if transaction.kind is Kind.ROLLOVER else None
    mine, chain = accept_certificate(
        received, asked, contact.believed, work.authority.accept, work.clock(), may_begin=may_begin
    )
    work.keystore.complete_shadow(transaction.id, mine, chain)
    return work.journal.write(
        transaction.at(
            Phase.ISSUED,
            poll_at=None,
            certificate=facts.to_der(mine),
            switch_at=max(mine.not_valid_before_utc, issuer.not_valid_before_utc),
            serial=facts.serial_hex(mine),
            not_after=mine.not_valid_after_utc,
        )
    )
