"""The time in a request's signature, and signing the request again: its envelope, with the CSR, stays byte for byte.

A request is identified by its CSR, its key and its transaction ID (RFC 8894 §3.2.1.1). The signature around
them, its nonce and its signingTime belong to one sending; some CAs refuse a time that is minutes old.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from certagent import certificate as facts
from certagent import scep
from certagent.errors import RejectedError, TransientError
from certagent.scep import FailInfo, MessageType
from certagent.text import iso, with_hint
from certagent.transaction.context import Context
from certagent.transaction.journal import Transaction
from certagent.transaction.request import signer_of
from certagent.trust.authorities import Contact

_FRESH = timedelta(minutes=2)  # XiPKI allows five, before or after, and clocks differ
_JUST_NOW = timedelta(seconds=10)


def is_fresh(signed_at: datetime | None, now: datetime, for_: timedelta = _FRESH) -> bool:
    """Whether a request with this signing time can be sent as it is."""
    return signed_at is not None and timedelta(0) <= now - signed_at <= for_


def afresh(context: Context, transaction: Transaction, contact: Contact) -> Transaction:
    """The request ready to be sent: as it was stored, or signed again if its time is old, or missing without need.

    Raises AbandonedError if the signer's key is no longer available.
    """
    at = context.signing_time(facts.load_der(transaction.signer))
    if is_fresh(transaction.signed_at, context.clock()) or (at is None and transaction.signed_at is None):
        return transaction
    return _signed(context, transaction, contact, at)


def after_bad_time(context: Context, transaction: Transaction, contact: Contact, refusal: RejectedError) -> Transaction:
    """The CA refused the time in a request, or that it has none: the same request, signed now.

    Raises TransientError if it was signed just now: one of the two clocks is wrong, and the request is kept.
    """
    now = context.clock()
    if is_fresh(transaction.signed_at, now, _JUST_NOW):
        raise wrong_time(refusal, now) from None
    context.log(f"{refusal}; sending the same request again, signed at {iso(now)}")
    return _signed(context, transaction, contact, now)


def wrong_time(refusal: RejectedError, now: datetime) -> TransientError:
    """The error if the CA refuses the right time: the transaction is fine, and continues when the clocks agree."""
    hint = f"this host's clock says {iso(now)}: correct it, or the CA's; the request is kept and signed again"
    return TransientError(str(refusal), with_hint(FailInfo.BAD_TIME.meaning, hint))


def _signed(context: Context, transaction: Transaction, contact: Contact, at: datetime | None) -> Transaction:
    nonce = scep.new_nonce()
    message = scep.sign_again(
        transaction.request,
        MessageType(transaction.message_type),
        transaction_id=transaction.transaction_id,
        sender_nonce=nonce,
        signer=signer_of(context, transaction),
        digest=contact.capabilities.algorithms().digest,
        signing_time=at,
    )
    return context.journal.write(transaction.at(transaction.phase, request=message, sender_nonce=nonce, signed_at=at))
