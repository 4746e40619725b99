"""The half of a transaction that is local: hooks, the swap, the probe, the way back, the end.

The swap itself is `keystore/swap.py`'s; here stands the order in which journal, swap and hooks follow each other.
"""

from __future__ import annotations

import secrets

from certagent.config.definitions import HookCommand
from certagent.errors import HookError, KeystoreError, ProbeError
from certagent.hooks import run_hook
from certagent.journal import Kind, Phase, Transaction
from certagent.keystore import swap
from certagent.probe import wait_until_served
from certagent.state import iso
from certagent.work import AbandonedError, Work, certificate_in_place

_DONE = {Kind.ENROLLMENT: "enrolled", Kind.RENEWAL: "renewed", Kind.ROLLOVER: "rolled over", Kind.TRUST: "trusted"}


def activate(work: Work, transaction: Transaction) -> Transaction:
    """ISSUED → ACTIVATED: ask the pre hooks, then make the shadow the identity.

    Raises HookError (veto), KeystoreError (the files are as they were), AbandonedError.
    """
    if transaction.not_after is not None and transaction.not_after <= work.clock():
        raise AbandonedError("the successor expired before it could be put in place", "a new one is asked for")
    if work.in_place()["old_serial"] != transaction.old_serial:
        raise AbandonedError("somebody else replaced the certificate meanwhile", "what is in place is kept")
    try:
        work.run_hooks("pre", work.hook_environment(transaction))
    except HookError as error:
        raise HookError(f"vetoed: {error}", f"the successor is kept; {error.hint}") from None
    work.say("putting the new certificate in place")
    shadow = work.shadow(transaction)
    plan = work.keystore.plan_activation(shadow, work.trusted())
    return _swap(work, transaction, plan, (Phase.STAGING, Phase.ACTIVATING, Phase.ACTIVATED))


def _swap(work: Work, transaction: Transaction, plan: swap.Plan, phases: tuple[Phase, Phase, Phase]) -> Transaction:
    """Carry a plan out, with the journal a step ahead; the middle phase is the commit point."""
    before, (staging, committed, done) = transaction.phase, phases
    transaction = work.journal.write(transaction.at(staging, swap=plan.record))
    try:
        swap.stage(plan)
    except KeystoreError:  # it has left nothing behind
        work.journal.write(transaction.at(before, swap=None))
        raise
    # What is owed from here on is kept with the commit: `recover` may be the one to finish.
    transaction = work.journal.write(
        transaction.at(committed, hooks_done=0, changes_ca=plan.changes_ca or transaction.changes_ca)
    )
    try:
        swap.finish(plan.record)
    except swap.UndoneError:
        work.journal.write(transaction.at(before, swap=None))
        raise
    return work.journal.write(transaction.at(done, swap=None))


def conclude(work: Work, transaction: Transaction) -> None:
    """ACTIVATED or REVERTED → closed: run what is owed, look whether it worked, end the transaction.

    Raises HookError and leaves the rest owed; ProbeError once the old identity is back.
    """
    transaction = _run_owed(work, transaction)
    if transaction.phase is Phase.REVERTED:
        close(work, transaction, "rolled back", transaction.reason)
        raise ProbeError(
            transaction.reason, "the old pair is back in place; do the post hooks make the consumer reload?"
        )
    probe = work.definition.probe
    if probe is not None and transaction.kind is not Kind.TRUST:
        work.say(f"waiting for {probe.tls} to serve the new certificate")
        try:
            wait_until_served(probe, transaction.certificate)
        except ProbeError as error:
            conclude(work, _revert(work, transaction, error))
            return
    if transaction.not_after is not None:
        work.log(f"certificate {transaction.serial} is in place, valid until {iso(transaction.not_after)}")
    close(work, transaction, _DONE[transaction.kind])


def _run_owed(work: Work, transaction: Transaction) -> Transaction:
    """The hooks owed, each durable once it succeeded: after a restart the rest is run, at least once."""
    environment = work.hook_environment(transaction, attempt=transaction.attempt + 1)
    for number, (event, command) in enumerate(_owed(work, transaction)):
        if number < transaction.hooks_done:
            continue
        work.say(f"running {event} hook {command.run[0]}")
        try:
            run_hook(command, {**environment, "CERTAGENT_EVENT": event}, work.log)
        except HookError:
            work.journal.write(transaction.at(transaction.phase, attempt=transaction.attempt + 1))
            raise
        work.log(f"{event} hook {command.run[0]} succeeded")
        transaction = work.journal.write(transaction.at(transaction.phase, hooks_done=number + 1))
    return transaction


def _owed(work: Work, transaction: Transaction) -> list[tuple[str, HookCommand]]:
    post = () if transaction.kind is Kind.TRUST else ("post",)
    events = ("ca_changed", *post) if transaction.changes_ca else post
    return [(event, command) for event in events for command in work.definition.hooks.commands(event)]


def _revert(work: Work, transaction: Transaction, error: ProbeError) -> Transaction:
    """Bring the old identity back, if there is one that still helps; else the hooks stay owed."""
    plan = None if _old_is_useless(work, transaction) else work.keystore.plan_rollback(transaction.id)
    if plan is None:
        work.journal.write(transaction.at(Phase.ACTIVATED, hooks_done=0, attempt=transaction.attempt + 1))
        raise error
    work.log(f"{error}; going back to the old pair")
    reasoned = work.journal.write(transaction.at(transaction.phase, reason=str(error)))
    return _swap(work, reasoned, plan, (Phase.RESTORING, Phase.REVERTING, Phase.REVERTED))


def _old_is_useless(work: Work, transaction: Transaction) -> bool:
    return transaction.old_not_after is None or transaction.old_not_after <= work.clock()


def update_trust(work: Work) -> bool:
    """Bring ca_file up to date with the CAs to trust now, in a transaction of its own; whether it changed.

    Where another transaction is open, its own swap will do it. Raises as `activate` and `conclude` do.
    """
    trusted = work.trusted()
    if not trusted or work.journal.open() is not None or certificate_in_place(work.keystore) is None:
        return False
    name = secrets.token_hex(16)
    plan = work.keystore.plan_trust(name, trusted)
    if plan is None:
        return False
    transaction = work.journal.write(work.begin(Kind.TRUST, Phase.ISSUED, name))
    work.say("bringing ca_file up to date")
    conclude(work, _swap(work, transaction, plan, (Phase.STAGING, Phase.ACTIVATING, Phase.ACTIVATED)))
    return True


def close(work: Work, transaction: Transaction, event: str, message: str = "") -> None:
    """End a transaction: history first, so that an end is told twice rather than never."""
    work.note(event, transaction, message)
    work.journal.close()
    try:
        work.sweep_shadows()
    except KeystoreError as error:
        work.log(f"the shadow could not be removed: {error}")  # the next shadow sweeps it
