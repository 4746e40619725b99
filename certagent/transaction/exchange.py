"""The half of a transaction that talks to the CA: send the request, poll, accept the answer.

Each step takes the transaction as the journal has it, and returns it as the journal has it afterwards. However often
`send` is repeated, it uses the same CSR, key and transaction ID: a CA that answered before gives the same certificate
again (draft-nourse-scep-11 appendix E).
"""

from __future__ import annotations

from certagent import certificate as facts
from certagent import policy, scep
from certagent.errors import HttpError, RejectedError, TransientError
from certagent.hooks import source
from certagent.moments import later
from certagent.scep import FailInfo, MessageType
from certagent.text import with_hint
from certagent.transaction import acceptance, events, ladder, refusals, signing
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import AbandonedError, Context
from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.transaction.ladder import Rung
from certagent.transaction.refusals import Way
from certagent.transaction.request import ANEW, encode, make_request, password, signer_of, subject_of
from certagent.transaction.seen import ca_above
from certagent.trust.authorities import Contact


def ask(context: Context, transaction: Transaction) -> Transaction:
    """`send` or `poll`, depending on the phase. When the CA first wants a person to decide, run the hooks for that."""
    if transaction.refused and (accepted := acceptance.accept_after_all(context, transaction)) is not None:
        return accepted
    if transaction.phase is Phase.PENDING:
        return poll(context, transaction)
    transaction = send(context, transaction)
    if transaction.phase is Phase.PENDING:
        context.log(f"somebody at the CA has to approve request {transaction.transaction_id}")
        events.record(context, "pending", transaction)
        events.notify(context, "pending", transaction)
    return transaction


def send(context: Context, transaction: Transaction) -> Transaction:
    """REQUESTED → ISSUED or PENDING; raises RejectedError, TrustError, TransientError.

    Or REQUESTED again, if the CA refused a RenewalReq: then the same goes as a PKCSReq signed by the old
    certificate. Some CAs advertise Renewal and take only that (`refusals.way`).
    """
    contact = context.contact(transaction)
    if contact.recipient != transaction.recipient:
        raise AbandonedError("the CA's encryption certificate changed since the request was made", ANEW)
    transaction = signing.afresh(context, transaction, contact)
    context.say(f"asking {context.configured.definition.authority} for a certificate")
    return _exchange(context, transaction, contact, transaction.sender_nonce, transaction.request)


def poll(context: Context, transaction: Transaction) -> Transaction:
    """PENDING → ISSUED or PENDING again: CertPoll, RFC 8894 §3.3.3, in the same transaction.

    A CA that does not accept polls gets the request again instead (§5.2, draft-nourse-scep-11 appendix E).
    Raises what `send` raises, and AbandonedError if the CA has forgotten the transaction and does not accept it again.
    """
    if transaction.polls_in_vain:
        return send(context, transaction)
    contact = context.contact(transaction)
    nonce = scep.new_nonce()
    about = scep.issuer_and_subject(contact.believed.issuer.subject, subject_of(transaction))
    signer = signer_of(context, transaction)
    at = context.signing_time(signer.certificate) or (context.clock() if transaction.signed_at else None)
    message = encode(context, transaction, contact, signer, about, poll_nonce=nonce, signing_time=at)
    context.say(f"asking {context.configured.definition.authority} whether it has decided")
    return _exchange(context, transaction, contact, nonce, message)


def _exchange(
    context: Context, transaction: Transaction, contact: Contact, nonce: bytes, message: bytes, *, retimed: bool = False
) -> Transaction:
    """Send and receive: ISSUED or PENDING, or whatever follows from an answer without a certificate.

    `retimed`: this is the second try, because the CA refused the time in the request.
    """
    # Read before anything is sent: certagent asks for nothing that it could not decrypt.
    signer, secret = signer_of(context, transaction), password(context)
    waits = transaction.phase is Phase.PENDING
    took_it = context.configured.endpoints.get(transaction.endpoint, "") if waits else ""
    try:
        reply = scep.decode_reply(
            contact.operate(message, took_it),
            transaction_id=transaction.transaction_id,
            sender_nonce=nonce,
            signers=contact.believed.signers,
            decrypter=signer,
            accept=context.configured.authority.accept,
            message_type=MessageType(transaction.message_type),
            password=secret,
        )
    except TransientError as error:  # no answer, or not a SCEP message
        return _refused(context, transaction, contact, error)
    match reply:
        case scep.Issued():
            return acceptance.accept(context, transaction, contact, reply.certificates)
        case scep.Pending():
            return context.journal.write(_pending(context, transaction, contact))
        case scep.Rejected():
            word = reply.fail_info.word if reply.fail_info is not None else "no reason given"
            detail = f" ({reply.text})" if reply.text else ""
            hint = _refusal_hint(context, transaction, contact, reply)
            refusal = RejectedError(f"the CA refused the request: {word}{detail}", hint, word)
            if reply.fail_info is not FailInfo.BAD_TIME:
                return _refused(context, transaction, contact, refusal)
            if retimed or message != transaction.request:
                raise signing.wrong_time(refusal, context.clock())
            transaction = signing.after_bad_time(context, transaction, contact, refusal)
            nonce, message = transaction.sender_nonce, transaction.request
            return _exchange(context, transaction, contact, nonce, message, retimed=True)


def _pending(context: Context, transaction: Transaction, contact: Contact) -> Transaction:
    """The CA has not decided yet: when to ask again."""
    now, rules, wait = context.clock(), context.configured.rules, contact.client.wait
    polls, life = transaction.polls + 1, _life(context, transaction)
    pause = policy.poll_pause(rules.poll_interval, wait, life, now, share=rules.poll_share(polls))
    took_it = context.configured.endpoint_at(contact.client.addresses.answered)
    return transaction.at(
        Phase.PENDING, poll_at=later(now, pause), poll_wait=wait, polls=polls, endpoint=took_it, unheard=0
    )


def _mention_recipient(error: TransientError | RejectedError, contact: Contact) -> None:
    """If a CA refuses as if it could not open the envelope, say whom it was for, where that was not certain."""
    cannot_read = (isinstance(error, HttpError) and error.status == 500) or (
        isinstance(error, RejectedError) and error.fail_info == FailInfo.BAD_MESSAGE_CHECK.word
    )
    believed = contact.believed
    if not cannot_read or believed.recipient is None or not (believed.or_for or contact.recipient_is_new):
        return
    others = ", ".join(f"{facts.subject_text(each)} ({facts.fingerprint(each)})" for each in believed.or_for)
    error.hint = with_hint(
        error.hint,
        f"the request was encrypted to {facts.subject_text(believed.recipient)} "
        f"({facts.fingerprint(believed.recipient)})"
        f"{', a new RA' if contact.recipient_is_new else ''}; if that is the wrong RA, name the right one with "
        f"`recipient`{f': perhaps {others}' if others else ''}",
    )


def _life(context: Context, transaction: Transaction) -> policy.Lifetime | None:
    """What the pause is measured by: the certificate's life, or for a rollover its CA's."""
    certificate = certificate_in_place(context.configured.keystore)
    if transaction.kind is Kind.ROLLOVER:
        return ca_above(certificate, context.known())
    return policy.lifetime_of(certificate)


def _refused(
    context: Context, transaction: Transaction, contact: Contact, error: TransientError | RejectedError
) -> Transaction:
    """What follows from an answer without a certificate (`refusals.way`): another request, or an error."""
    _mention_recipient(error, contact)
    below = ladder.below(transaction, context.configured.ways, context.clock())
    way = refusals.way(transaction, error, may_enroll=below is not None)
    if not isinstance(error, RejectedError):
        transaction = transaction.at(transaction.phase, unheard=transaction.unheard + 1)
    match way:
        case Way.PLAIN:
            signer = "factory identity" if ladder.rung_of(transaction) is Rung.INTRODUCTION else "old certificate"
            context.log(f"{error}; trying once more with PKCSReq, signed by the {signer}")
            return make_request(context, transaction, plain=True)
        case Way.REQUEST:
            context.log(f"{error}; sending the request again, with the same key")
            return _request_again(context, transaction, error)
        case Way.END:
            raise refusals.rejected(error)
        case Way.LATER:
            _offer_another(context, context.journal.write(transaction), error)
            raise error


def _request_again(context: Context, transaction: Transaction, error: TransientError | RejectedError) -> Transaction:
    """PENDING, but polls are refused: send the first request again; the CA may know it by its transaction ID."""
    try:
        return send(context, context.journal.write(transaction.at(Phase.PENDING, polls_in_vain=True, unheard=0)))
    except RejectedError as refused:
        if isinstance(error, RejectedError) and error.fail_info == FailInfo.BAD_CERT_ID.word:
            raise AbandonedError(
                f"the CA no longer knows the request that it had to decide on: {refused}", ANEW
            ) from None
        raise


def _offer_another(context: Context, transaction: Transaction, error: TransientError | RejectedError) -> None:
    """Say how to get out of it, if the same request has failed before."""
    if transaction.unheard < refusals.PATIENCE or transaction.kind is Kind.ROLLOVER:
        return
    command = "enroll" if transaction.kind is Kind.ENROLLMENT else "renew"
    another = (
        f"certagent sends the same request again; `certagent {command} --force {context.configured.name}` makes another"
    )
    error.hint = with_hint(error.hint, another)


def _refusal_hint(context: Context, transaction: Transaction, contact: Contact, reply: scep.Rejected) -> str:
    meaning = reply.fail_info.meaning if reply.fail_info is not None else "ask the CA's operator"
    authority, signer = context.configured.authority, facts.load_der(transaction.signer)
    if ladder.rung_of(transaction) is Rung.INTRODUCTION:
        return f"{meaning}; does this CA let certificates of {facts.name_text(signer.issuer)} introduce this subject?"
    if reply.fail_info not in (None, FailInfo.BAD_REQUEST):
        return meaning
    there = certificate_in_place(context.configured.keystore)
    if signer == there and signer.issuer != contact.believed.issuer.subject:
        force = f"certagent enroll --force {context.configured.name}"
        return f"{meaning}; another CA issued the certificate in place: `{force}` starts again with this one"
    if signer.issuer == signer.subject:  # a self-signed certificate signed it, so the request carried the challenge
        challenge = authority.challenge
        ask = "set `challenge` if this CA requires a challenge password"
        return f"{meaning}; {ask if challenge is None else f'check the challenge from {source(challenge)}'}"
    if authority.challenge is not None and authority.send_challenge == "enrollment":
        return f"{meaning}; if this CA requires the challenge on renewals too, set send_challenge: always"
    return meaning
