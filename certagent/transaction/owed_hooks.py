"""The hooks that a swap owes: which ones they are, and running each until it succeeds.

The journal records the entries that have succeeded; the rest of those configured now are owed. So an entry that the
operator removes is no longer owed, one that they add or fix is owed, and none that succeeded runs again.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from certagent.config.parts import HookCommand, keyed
from certagent.errors import HookError, OwedError
from certagent.hooks import run_hook, still_owed
from certagent.transaction import events
from certagent.transaction.context import Context
from certagent.transaction.journal import Kind, Phase, Transaction


class Entry(Struct, frozen=True):
    """One configured command of an event. `key` stays the same wherever the entry stands in its list."""

    event: str
    command: HookCommand
    key: str


def entries(context: Context, transaction: Transaction) -> list[Entry]:
    """What runs after this transaction's swap, in order, whether it has already run or not."""
    post = () if transaction.kind is Kind.TRUST else ("post",)
    hooks = context.configured.definition.hooks
    return [
        Entry(event, command, f"{event} {key}")
        for event in (("ca_changed", *post) if transaction.changes_ca else post)
        for key, command in keyed(hooks.commands(event))
    ]


def owed(context: Context, transaction: Transaction) -> list[Entry]:
    """The entries that have not succeeded yet."""
    succeeded = _counted(context, transaction).hooks_succeeded
    return [entry for entry in entries(context, transaction) if entry.key not in succeeded]


def is_owing(transaction: Transaction) -> bool:
    """Whether the files in place have changed, so that hooks may be owed."""
    return transaction.phase in (Phase.ACTIVATED, Phase.REVERTED)


def waits_for_others(context: Context) -> bool:
    """Whether only hooks are owed that run once for several keystores, which is left to once_hooks.py."""
    transaction = context.journal.open() if context.leaves_once else None
    if transaction is None or not is_owing(transaction):
        return False
    left = owed(context, transaction)
    return bool(left) and all(entry.command.once for entry in left)


def run(context: Context, transaction: Transaction) -> Transaction:
    """Run what is owed, and record each entry durably: after a restart, the rest runs at least once.

    If one fails, the others still run. Raises OwedError for those that failed; they stay owed. So do those that run
    once for several keystores, if the context leaves them to once_hooks.py.
    """
    transaction = _counted(context, transaction)
    left = owed(context, transaction)
    if not left:
        return transaction
    environment = events.hook_environment(context, transaction, attempt=transaction.attempt + 1)
    failed: list[tuple[str, HookError]] = []
    for entry in left:
        if entry.command.once and context.leaves_once:
            continue
        name = entry.command.run[0]
        context.say(f"running {entry.event} hook {name}")
        try:
            run_hook(entry.command, {**environment, "CERTAGENT_EVENT": entry.event}, context.log)
        except HookError as error:
            failed.append((entry.event, error))
        else:
            context.log(f"{entry.event} hook {name} succeeded")
            transaction = succeeded(context, transaction, entry.key)
    if failed:
        context.journal.write(transaction.at(transaction.phase, attempt=transaction.attempt + 1))
        raise fault(transaction, failed)
    return transaction


def fault(transaction: Transaction, failed: Sequence[tuple[str, HookError]]) -> OwedError:
    """The error for the hooks that failed, each with its event: it says first that the swap they belong to is done."""
    is_back = transaction.phase is Phase.REVERTED or transaction.kind is Kind.PUT_BACK
    return still_owed("the old pair is back in place" if is_back else "in place", failed)


def succeeded(context: Context, transaction: Transaction, *keys: str) -> Transaction:
    """Record that these entries need not run again."""
    transaction = _counted(context, transaction)
    done = (*transaction.hooks_succeeded, *keys)
    return context.journal.write(transaction.at(transaction.phase, hooks_succeeded=done))


def none_succeeded(transaction: Transaction, phase: Phase, **changes: object) -> Transaction:
    """The transaction in this phase, with all its hooks owed: the files in place are not those they ran for."""
    return transaction.at(phase, hooks_succeeded=(), hooks_done=0, **changes)


def _counted(context: Context, transaction: Transaction) -> Transaction:
    """A journal of release 0.1.0 only has a count: this many of the entries, from the first, have succeeded."""
    if not transaction.hooks_done:
        return transaction
    done = tuple(entry.key for entry in entries(context, transaction)[: transaction.hooks_done])
    return transaction.at(transaction.phase, hooks_succeeded=done, hooks_done=0)
