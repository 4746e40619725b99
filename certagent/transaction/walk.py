"""A transaction from phase to phase, in either journal: an enrollment, a renewal, a shadow for a rollover.

    make_request → exchange.ask → activation.activate → activation.conclude

Renewal and rollover decide when one is begun; how it continues, and when it cannot, is the same for both.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

import msgspec

from certagent.errors import CertagentError, KeystoreError, RejectedError, StateError
from certagent.text import iso
from certagent.transaction import acceptance, activation, exchange, hours, ladder, next_step
from certagent.transaction.context import AbandonedError, Context
from certagent.transaction.ends import End, Present, why_ends
from certagent.transaction.journal import NOT_ISSUED, Kind, Phase, Transaction
from certagent.transaction.ladder import Rung
from certagent.transaction.request import asked_now, make_request
from certagent.transaction.wish import Wish


class Progress(Enum):
    """How far `carry_on` got."""

    DONE = auto()
    PENDING = auto()  # somebody has to decide at the CA
    STOPPED = auto()  # asked to stop; the next run carries on
    WAITING = auto()  # the successor is not valid yet, or the hour has not come


def carry_on(
    context: Context, transaction: Transaction, stopping: Callable[[], bool], *, until: Phase | None = None
) -> Progress:
    """Step by step, from one durable point to the next: to the end, or until a phase is reached."""
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
                transaction = activation.activate(context, transaction, waited=found is Phase.ISSUED)
            case Phase.ACTIVATED | Phase.REVERTED:
                # Right after the swap the hooks do not wait, even if its window has closed meanwhile.
                if transaction.phase is found and hours.put_off(context, transaction):
                    return Progress.WAITING
                activation.conclude(context, transaction)
                return Progress.DONE
            case _:
                # recovery.py finished these before; getting here is a bug.
                raise StateError(f"transaction {transaction.id} is at {transaction.phase}", "run `certagent recover`")
    return Progress.DONE if transaction.phase is until else Progress.STOPPED


def resumed(context: Context, transaction: Transaction | None, wish: Wish) -> Transaction | End | None:
    """The open transaction, as found; or why it is given up here, because its reason is gone (ends.py)."""
    if transaction is None:
        return None
    context.journal.settle()
    now = context.clock()
    if transaction.started_at > now:  # the clock was ahead then; its time limits start again now
        transaction = context.journal.write(msgspec.structs.replace(transaction, started_at=now))
    end = ending(context, transaction, wish)
    if end is None:
        return transaction
    if end.may_fit and wish is not Wish.FINISH and (taken := acceptance.accept_instead(context, transaction)):
        context.log("the certificate that was refused before is what the configuration asks for now")
        return taken
    give_up(context, AbandonedError(end.reason))
    return end


def ending(context: Context, transaction: Transaction, wish: Wish) -> End | None:
    """Why this open transaction would be given up now; None if it would be carried on. Changes nothing."""
    return why_ends(transaction, _present(context, transaction), context.clock(), wish)


def _present(context: Context, transaction: Transaction) -> Present:
    configured = context.configured
    waits = transaction.phase in (*NOT_ISSUED, Phase.ISSUED)
    return Present(
        configured.definition.authority,
        configured.endpoints,
        configured.authority.poll_limit,
        context.host,
        asked=asked_now(context, transaction) if waits else "",
        replaced=waits and _was_replaced(context, transaction),
        moves_from=context.moves_from,
    )


def _was_replaced(context: Context, transaction: Transaction) -> bool:
    if transaction.kind not in (Kind.ENROLLMENT, Kind.RENEWAL):
        return False
    try:
        return activation.was_replaced(context, transaction)
    except KeystoreError:  # it may be readable later
        return False


def give_up(context: Context, error: CertagentError) -> None:
    """Close the open transaction without a successor in place; the next one starts from scratch."""
    transaction = context.journal.open()
    if transaction is not None:
        context.log(f"{transaction.kind} given up: {error}")
        event = "rejected" if isinstance(error, RejectedError) else "abandoned"
        by = f"{rung.words}: " if (rung := ladder.rung_of(transaction)) is Rung.INTRODUCTION else ""
        activation.close(context, transaction, event, f"{by}{error}")
