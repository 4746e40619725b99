"""The half of a transaction that talks to the CA: send the request, poll, accept the answer.

Each step takes the transaction as the journal has it and returns it as the journal has it then. `send` sends the
same bytes however often it is repeated: a CA that answered before gives the same certificate again
(draft-nourse-scep-11 appendix E).
"""

from __future__ import annotations

from certagent import certificate as facts
from certagent import scep
from certagent.errors import HttpError, RejectedError
from certagent.scep import FailInfo, MessageType
from certagent.text import with_hint
from certagent.transaction import acceptance, events
from certagent.transaction.context import AbandonedError, Context
from certagent.transaction.journal import Phase, Transaction
from certagent.transaction.request import ANEW, encode, make_request, password, signer_of, subject_of
from certagent.trust.authorities import Contact


def ask(context: Context, transaction: Transaction) -> Transaction:
    """`send` or `poll`, as the phase has it. When the CA first wants a person, those who want to know are told."""
    if transaction.refused and (accepted := acceptance.accept_after_all(context, transaction)) is not None:
        return accepted
    if transaction.phase is Phase.PENDING:
        return poll(context, transaction)
    transaction = send(context, transaction)
    if transaction.phase is Phase.PENDING:
        context.log(f"the CA wants a person to approve request {transaction.transaction_id}")
        events.record(context, "pending", transaction)
        events.notify(context, "pending", transaction)
    return transaction


def send(context: Context, transaction: Transaction) -> Transaction:
    """REQUESTED → ISSUED or PENDING; raises RejectedError, TrustError, TransientError.

    Or REQUESTED again: a RenewalReq was refused, and the same is asked for as PKCSReq signed by the old
    certificate. Some CAs advertise Renewal and take only that (EJBCA answers HTTP 400, OpenXPKI badRequest).
    Whether it was the message type is not told, so a refusal on other grounds is heard twice, never more often.
    """
    contact = context.contact(transaction)
    if contact.recipient != transaction.recipient:
        raise AbandonedError("the CA's encryption certificate changed since the request was made", ANEW)
    context.say(f"asking {context.configured.definition.authority} for a certificate")
    try:
        answer = contact.operate(transaction.request)
        return _answered(context, transaction, contact, transaction.sender_nonce, answer)
    except (HttpError, RejectedError) as error:
        if transaction.message_type != MessageType.RENEWAL_REQ or not _may_mean_the_type(error):
            _mention_recipient(error, contact)
            raise
        context.log(f"{error}; trying once more with PKCSReq, signed by the old certificate")
        return make_request(context, transaction, plain=True)


def _may_mean_the_type(error: HttpError | RejectedError) -> bool:
    """Whether a refusal may be about the message type: a signed badRequest, or HTTP's words for a bad request."""
    if isinstance(error, HttpError):
        return error.status in (400, 405, 501)
    return error.fail_info in (FailInfo.BAD_REQUEST.word, FailInfo.BAD_MESSAGE_CHECK.word)


def poll(context: Context, transaction: Transaction) -> Transaction:
    """PENDING → ISSUED or PENDING again: CertPoll, RFC 8894 §3.3.3, in the same transaction.

    Raises what `send` raises, and AbandonedError if the CA has forgotten the transaction.
    """
    contact = context.contact(transaction)
    nonce = scep.new_nonce()
    about = scep.issuer_and_subject(contact.believed.issuer.subject, subject_of(transaction))
    message = encode(context, transaction, contact, signer_of(context, transaction), about, poll_nonce=nonce)
    context.say(f"asking {context.configured.definition.authority} whether it has decided")
    try:
        took_it = context.configured.endpoints.get(transaction.endpoint, "")
        return _answered(context, transaction, contact, nonce, contact.operate(message, took_it))
    except (HttpError, RejectedError) as error:
        if isinstance(error, RejectedError) and error.fail_info == FailInfo.BAD_CERT_ID.word:
            raise AbandonedError(f"the CA does not know the request it had to decide on: {error}", ANEW) from None
        _mention_recipient(error, contact)
        raise


def _mention_recipient(error: HttpError | RejectedError, contact: Contact) -> None:
    """A refusal as of somebody who cannot open the envelope says whom it was for, where that was not certain."""
    cannot_read = (
        error.status == 500 if isinstance(error, HttpError) else error.fail_info == FailInfo.BAD_MESSAGE_CHECK.word
    )
    believed = contact.believed
    if not cannot_read or believed.recipient is None or not (believed.or_for or contact.recipient_is_new):
        return
    others = ", ".join(f"{facts.subject_text(each)} ({facts.fingerprint(each)})" for each in believed.or_for)
    error.hint = with_hint(
        error.hint,
        f"the request was encrypted to {facts.subject_text(believed.recipient)} "
        f"({facts.fingerprint(believed.recipient)})"
        f"{', a new RA' if contact.recipient_is_new else ''}; if that is the wrong one, name the right one with "
        f"`recipient`{f': perhaps {others}' if others else ''}",
    )


def _answered(context: Context, transaction: Transaction, contact: Contact, nonce: bytes, answer: bytes) -> Transaction:
    reply = scep.decode_reply(
        answer,
        transaction_id=transaction.transaction_id,
        sender_nonce=nonce,
        signers=contact.believed.signers,
        decrypter=signer_of(context, transaction),
        accept=context.configured.authority.accept,
        message_type=MessageType(transaction.message_type),
        password=password(context),
    )
    match reply:
        case scep.Issued():
            return acceptance.accept(context, transaction, contact, reply.certificates)
        case scep.Pending():
            poll_at = context.clock() + context.configured.authority.poll_interval
            took_it = context.configured.endpoint_at(contact.client.addresses.answered)
            return context.journal.write(transaction.at(Phase.PENDING, poll_at=poll_at, endpoint=took_it))
        case scep.Rejected():
            word = reply.fail_info.word if reply.fail_info is not None else "no reason given"
            detail = f" ({reply.text})" if reply.text else ""
            raise RejectedError(f"the CA refused the request: {word}{detail}", _refusal_hint(context, reply), word)


def _refusal_hint(context: Context, reply: scep.Rejected) -> str:
    meaning = reply.fail_info.meaning if reply.fail_info is not None else "ask the CA's operator"
    if (
        context.configured.authority.challenge is not None
        and context.configured.authority.send_challenge == "enrollment"
    ):
        return f"{meaning}; if this CA wants the challenge on renewals too, set send_challenge: always"
    return meaning
