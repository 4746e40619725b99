"""Hooks that the certificate in place still owes while its successor is being made.

A renewal that is due does not wait for them, and they do not wait for it: its CA may be away for weeks. Meanwhile
their transaction is kept in its own journal (`owed/`). It becomes the open one again if no successor comes of the
renewal. Once a successor is in place, its own hooks cover both.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from certagent import policy
from certagent.certificate import serial_hex
from certagent.errors import CertagentError, StateError
from certagent.policy import Past
from certagent.transaction import activation, hours
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import Context
from certagent.transaction.journal import NOT_ISSUED, Phase, Transaction


def set_aside(context: Context, transaction: Transaction) -> None:
    """Make room for the successor's transaction. `transaction` has made its swap and owes its hooks."""
    context.configured.owed.write(transaction)
    context.journal.close()


def put_right(context: Context) -> bool:
    """Drop a debt that another swap has taken over; make one that stands alone the open transaction.

    Returns whether there is still a debt.
    """
    journal = context.configured.owed
    debt = journal.open()
    if debt is None:
        journal.sweep()
        return False
    current = context.journal.open()
    if (current is not None and not _waits(current)) or not _is_in_place(context, debt):
        activation.close(replace(context, journal=journal), debt, "superseded")
        return False
    if current is None:
        context.journal.write(debt)
        journal.close()
    return True


def pay(context: Context, past: Past) -> CertagentError | None:
    """Run the hooks owed, unless an earlier failure, or the hour, says to wait. Returns the error, if any; it does not
    stop the rest of the attempt.

    Raises StateError.
    """
    debt, now = context.configured.owed.open(), context.clock()
    if debt is None or _pauses(context, past, now) or hours.waits(context, debt):
        return None
    try:
        owed = replace(context, journal=context.configured.owed, leaves_once=False)
        activation.conclude(owed, debt, way_back=False)
    except StateError:
        raise
    except CertagentError as error:
        return error
    return None


def _pauses(context: Context, past: Past, now: datetime) -> bool:
    lifetime = policy.lifetime_of(certificate_in_place(context.configured.keystore))
    ends = policy.pause_ends(past, lifetime, now)
    return ends is not None and ends > now


def _waits(current: Transaction) -> bool:
    """Whether no part of it is in place yet."""
    return current.phase in (*NOT_ISSUED, Phase.ISSUED, Phase.STAGING)


def _is_in_place(context: Context, debt: Transaction) -> bool:
    serial = debt.old_serial if debt.phase is Phase.REVERTED else debt.serial
    certificate = certificate_in_place(context.configured.keystore)
    return not serial or certificate is None or serial_hex(certificate) == serial
