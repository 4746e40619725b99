"""Whether a swap, or the hooks after it, wait for their hours: `activate_in`, as `next_step` decides about it."""

from __future__ import annotations

from certagent import policy
from certagent.policy import Lifetime, Open, Past, Rules
from certagent.state import Track
from certagent.text import iso
from certagent.transaction import events, next_step, owed_hooks
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import Context
from certagent.transaction.journal import Phase, Transaction


def put_off(context: Context, transaction: Transaction) -> bool:
    """Whether the transaction waits now. Logs it, and also if certagent ignores the hours."""
    if not _keeps_hours(context, transaction):
        return False
    opened, lifetime, rules = _look(context, transaction)
    now = context.clock()
    if step := policy.wait(opened, now, lifetime, rules):
        context.log(f"{step.reason}; {next_step.at_once(context.configured.name)}")
        return True
    if opened.keeps_hours and lifetime is not None:
        until = policy.serves_until(opened, lifetime)
        if policy.passes_over_hours(now, until, rules):
            message = (
                f"activate_in is ignored: the certificate in use expires at {iso(until)}, before or in the next window"
            )
            context.log(message)
            events.record(context, "out of hours", transaction, message)
    return False


def waits(context: Context, transaction: Transaction) -> bool:
    """Whether the transaction waits now; logs nothing."""
    if not _keeps_hours(context, transaction):
        return False
    opened, lifetime, rules = _look(context, transaction)
    return policy.wait(opened, context.clock(), lifetime, rules) is not None


def _keeps_hours(context: Context, transaction: Transaction) -> bool:
    """Whether anything is left that would have to wait."""
    if context.at_once or not context.configured.definition.activate_in:
        return False
    return transaction.phase is not Phase.ACTIVATED or bool(owed_hooks.owed(context, transaction))


def _look(context: Context, transaction: Transaction) -> tuple[Open, Lifetime | None, Rules]:
    situation = context.situation(certificate_in_place(context.configured.keystore), Past(), Track())
    return next_step.open_of(transaction) or Open(), situation.lifetime, situation.rules
