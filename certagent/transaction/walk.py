"""A transaction from phase to phase, in whichever journal it stands: an enrollment, a renewal, a shadow for a rollover.

    make_request → exchange.ask → activation.activate → activation.conclude

Renewal and rollover decide when one is begun; how it goes on, and when it cannot, is the same for both.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum, auto

import msgspec

from certagent.errors import CertagentError, RejectedError, StateError
from certagent.moments import later
from certagent.text import iso
from certagent.transaction import activation, copies, exchange, hours, next_step
from certagent.transaction.context import AbandonedError, Context
from certagent.transaction.journal import NOT_ISSUED, Kind, Phase, Transaction
from certagent.transaction.request import make_request


class Progress(Enum):
    """How far `carry_on` came."""

    DONE = auto()
    PENDING = auto()  # the CA wants a person
    STOPPED = auto()  # asked to stop; the next run carries on
    WAITING = auto()  # the successor is not valid yet, or it is not its hour


def carry_on(
    context: Context, transaction: Transaction, stopping: Callable[[], bool], *, until: Phase | None = None
) -> Progress:
    """Step after step, each from one durable point to the next: to the end, or until a phase is reached."""
    found = transaction.phase
    while transaction.phase is not until and not stopping():
        match transaction.phase:
            case Phase.STARTED:
                transaction = make_request(context, transaction)
            case Phase.REQUESTED | Phase.PENDING:
                transaction = exchange.ask(context, transaction)
                if transaction.phase is Phase.PENDING:
                    return Progress.PENDING
            case Phase.ISSUED:
                begins_at = next_step.begins_at(transaction)
                if begins_at is not None and begins_at > context.clock():
                    context.log(f"certificate {transaction.serial} waits: it is not valid before {iso(begins_at)}")
                    return Progress.WAITING
                if hours.put_off(context, transaction):
                    return Progress.WAITING
                transaction = activation.activate(context, transaction)
            case Phase.ACTIVATED | Phase.REVERTED:
                # Right after the swap the hooks do not wait, though its window may have closed meanwhile.
                if transaction.phase is found and hours.put_off(context, transaction):
                    return Progress.WAITING
                activation.conclude(context, transaction)
                return Progress.DONE
            case _:
                # recovery.py brought these to an end before; being here is a fault of ours.
                raise StateError(f"transaction {transaction.id} stands at {transaction.phase}", "run certagent recover")
    return Progress.DONE if transaction.phase is until else Progress.STOPPED


def resumable(context: Context) -> Transaction | None:
    """The open transaction; one that can no longer be carried on is given up first."""
    transaction, configured = context.journal.open(), context.configured
    if transaction is None:
        return None
    now = context.clock()
    if transaction.started_at > now:  # the clock was ahead then; what counts from there begins anew
        transaction = context.journal.write(msgspec.structs.replace(transaction, started_at=now))
    reason = not_ours(context, transaction) or why_not(
        transaction, configured.endpoint, configured.authority.poll_limit, now
    )
    if reason:
        give_up(context, AbandonedError(reason))
        return None
    return transaction


def not_ours(context: Context, transaction: Transaction) -> str:
    """Why it is not carried on here, whatever its CA says; empty where it is."""
    moved = was_moved(transaction, context.configured.definition.authority)
    return copies.was_copied(transaction, context.host) or moved


def was_moved(transaction: Transaction, authority: str) -> str:
    """Why what another authority was asked for, or has issued, is not put in place; empty where it is this one's."""
    moves = transaction.kind in (Kind.ENROLLMENT, Kind.RENEWAL, Kind.ROLLOVER)
    if transaction.authority == authority or not moves or transaction.phase not in (*NOT_ISSUED, Phase.ISSUED):
        return ""
    return f"the keystore was moved from {transaction.authority} to {authority}"


def why_not(transaction: Transaction, endpoint: str, poll_limit: timedelta, now: datetime) -> str:
    """Why an open transaction can no longer be carried on; empty where it can."""
    if transaction.phase is Phase.ISSUED and transaction.not_after is not None and transaction.not_after <= now:
        return "the successor expired before it could be put in place"
    if transaction.phase not in NOT_ISSUED:
        return ""
    if transaction.endpoint != endpoint:
        return "the authority's URL changed since it was begun"
    return "the CA did not answer within poll_limit" if later(transaction.started_at, poll_limit) < now else ""


def give_up(context: Context, error: CertagentError) -> None:
    """Close the open transaction without a successor in place; the next one starts afresh."""
    transaction = context.journal.open()
    if transaction is not None:
        context.log(f"{transaction.kind} given up: {error}")
        event = "rejected" if isinstance(error, RejectedError) else "abandoned"
        activation.close(context, transaction, event, str(error))
