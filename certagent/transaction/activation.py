"""The local half of a transaction: hooks, the swap, the probe, the way back, the end.

The swap itself is in `keystore/swap.py`; this module has the order of journal, swap and hooks.
"""

from __future__ import annotations

import secrets
from datetime import datetime

from cryptography import x509

from certagent import interrupt, policy, wall_clock
from certagent.certificate import serial_hex, to_der
from certagent.errors import HookError, KeystoreError, ProbeError
from certagent.keystore import swap, swap_plan
from certagent.policy import Arrival, Lifetime
from certagent.state_directory import KeystoreDirectory
from certagent.text import iso
from certagent.transaction import acceptance, events, hours, owed_hooks
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import AbandonedError, Context
from certagent.transaction.journal import NOT_ISSUED, Kind, Phase, Transaction
from certagent.transaction.probe import await_consumer
from certagent.transaction.seen import is_arrival_of

_DONE = {
    Kind.ENROLLMENT: "enrolled",
    Kind.RENEWAL: "renewed",
    Kind.ROLLOVER: "rolled over",
    Kind.TRUST: "trusted",
    Kind.ADJUSTMENT: "adjusted",
    Kind.PUT_BACK: "put back",
}

_REPLACED = ("another program replaced the certificate in the meantime", "the files in place are kept")


def activate(context: Context, transaction: Transaction, *, waited: bool = True) -> Transaction:
    """ISSUED → ACTIVATED: run the pre hooks, then make the shadow the identity.

    `waited`: it was not accepted a moment ago, in this run, so it is tried out again.

    Raises HookError (veto), KeystoreError (the files are as they were), AbandonedError.
    """
    if transaction.kind in (Kind.TRUST, Kind.ADJUSTMENT, Kind.PUT_BACK):
        hint = "certagent starts again if it is still due"
        raise AbandonedError("it was interrupted before anything was replaced", hint, stands=False)
    if was_replaced(context, transaction):
        raise AbandonedError(*_REPLACED, stands=False)
    shadow = context.shadow(transaction)
    if waited:  # perhaps for weeks
        acceptance.check_use(context, transaction, shadow)
    if shadow.certificate is not None and (since := context.revoked_successor(shadow.certificate)) is not None:
        why = f"the successor {transaction.serial} is revoked since {iso(since)}"
        raise AbandonedError(why, "it is not put in place; ask the CA's operator why")
    try:
        events.ask_pre_hooks(context, transaction)
    except HookError as error:
        context.journal.write(transaction.at(transaction.phase, vetoed=True))
        raise HookError(f"vetoed: {error}", f"the new certificate is kept for later; {error.hint}") from None
    if was_replaced(context, transaction):  # by the hook, or by somebody else while it ran
        raise AbandonedError(*_REPLACED, stands=False)
    context.say("putting the new certificate in place")
    for line in context.configured.keystore.exposed():
        context.log(f"{line}; the new one is not")
    plan = context.configured.keystore.plan_activation(shadow, context.trusted())
    return replace_files(context, transaction, plan)


def replace_files(context: Context, transaction: Transaction, plan: swap_plan.Plan) -> Transaction:
    """ISSUED → ACTIVATED, with this plan. Raises KeystoreError; the files are then as they were."""
    return _swap(context, transaction, plan, (Phase.STAGING, Phase.ACTIVATING, Phase.ACTIVATED))


def was_replaced(context: Context, transaction: Transaction) -> bool:
    """Whether the certificate in place is not the one that the transaction began with.

    Raises KeystoreError if it cannot be read now: that does not mean that it was replaced. False if it could not be
    read when the transaction began.
    """
    if not transaction.old_serial:
        return not transaction.succeeds and bool(context.in_place()["old_serial"])
    keystore = context.configured.keystore
    certificate = keystore.read_certificate()
    if certificate is None:
        return not keystore.lost_what_links_lead_to()
    return serial_hex(certificate) != transaction.old_serial


def _swap(
    context: Context, transaction: Transaction, plan: swap_plan.Plan, phases: tuple[Phase, Phase, Phase]
) -> Transaction:
    """Carry out a plan, journal first; the middle phase is the commit point. Ctrl-C waits until it is done."""
    with interrupt.held():
        return _swapped(context, transaction, plan, phases)


def _swapped(
    context: Context, transaction: Transaction, plan: swap_plan.Plan, phases: tuple[Phase, Phase, Phase]
) -> Transaction:
    before, (staging, committed, done) = transaction.phase, phases
    transaction = context.journal.write(transaction.at(staging, swap=plan.record))
    try:
        swap.stage(plan)
    except KeystoreError:  # nothing is left behind
        context.journal.write(transaction.at(before, swap=None))
        raise
    # Hooks owed from here on are recorded with the commit, because `recover` may be the one to finish.
    changes_ca = plan.changes_ca or transaction.changes_ca
    transaction = context.journal.write(owed_hooks.none_succeeded(transaction, committed, changes_ca=changes_ca))
    try:
        swap.finish(plan.record)
    except swap.UndoneError:
        context.journal.write(transaction.at(before, swap=None))
        raise
    return context.journal.write_early(transaction.at(done, swap=None))  # `finish` may be called again


def conclude(context: Context, transaction: Transaction, *, way_back: bool = True) -> None:
    """ACTIVATED or REVERTED → closed: run the hooks owed, run the probe, end the transaction.

    The transaction stays open if only hooks are left that run once for several keystores:
    `owed_hooks.waits_for_others`. `way_back` False: a failed probe does not bring the old identity back, because a
    successor is on its way.

    Raises HookError if some hooks failed and stay owed; ProbeError once the old identity is back.
    """
    transaction = owed_hooks.run(context, transaction)
    if owed_hooks.owed(context, transaction):
        return
    if transaction.phase is Phase.REVERTED:
        close(context, transaction, "rolled back", transaction.reason)
        raise ProbeError(
            transaction.reason, "the old pair is back in place; do the post hooks make the consumer reload?"
        )
    probe = context.configured.definition.probe
    if probe is not None and transaction.kind not in (Kind.TRUST, Kind.ADJUSTMENT):
        context.say(f"waiting for {probe.asked} to {'see' if probe.run else 'serve'} the new certificate")
        environment = events.hook_environment(context, transaction, attempt=transaction.attempt + 1)
        try:
            await_consumer(probe, transaction.certificate, environment, context.log)
        except ProbeError as error:
            conclude(context, _revert(context, transaction, error, way_back=way_back))
            return
    if transaction.not_after is not None:
        context.log(f"certificate {transaction.serial} is in place, valid until {iso(transaction.not_after)}")
    message = ""
    if transaction.compromised:
        context.configured.keystore.forget_previous()  # it must not come back, whatever happens to its successor
        authority = context.configured.definition.authority
        message = f"the compromised key is replaced; ask {authority} to revoke {transaction.old_serial}"
        context.log(message)
    events.record(context, _DONE[transaction.kind], transaction, message)
    # The memory of this attempt makes it durable: until then it may come back with all its hooks done, and ends again.
    context.journal.close_early()
    _sweep(context)


def _revert(context: Context, transaction: Transaction, error: ProbeError, *, way_back: bool) -> Transaction:
    """Bring the old identity back, if there is one that still helps; otherwise the hooks stay owed."""
    helps = way_back and not _old_is_useless(context, transaction)
    plan = context.configured.keystore.plan_rollback(transaction.id) if helps else None
    if plan is None:
        attempt = transaction.attempt + 1
        context.journal.write(owed_hooks.none_succeeded(transaction, Phase.ACTIVATED, attempt=attempt))
        raise error
    context.log(f"{error}; restoring the old pair")
    reasoned = context.journal.write(transaction.at(transaction.phase, reason=str(error)))
    return _swap(context, reasoned, plan, (Phase.RESTORING, Phase.REVERTING, Phase.REVERTED))


def _old_is_useless(context: Context, transaction: Transaction) -> bool:
    return transaction.old_not_after is None or transaction.old_not_after <= context.clock()


def update_trust(context: Context) -> bool:
    """Bring ca_file up to date with the CAs to trust now, in its own transaction; whether it changed.

    If another transaction is open, its swap updates ca_file. Raises what `activate` and `conclude` raise.
    """
    trusted = context.trusted()
    if not trusted or context.journal.open() is not None or certificate_in_place(context.configured.keystore) is None:
        return False
    name = secrets.token_hex(16)
    plan = context.configured.keystore.plan_trust(name, trusted)
    if plan is None:
        return False
    transaction = context.journal.write_early(context.begin(Kind.TRUST, Phase.ISSUED, name))
    context.say("bringing ca_file up to date")
    transaction = replace_files(context, transaction, plan)
    if not hours.put_off(context, transaction):  # an extra trusted CA does no harm at any hour; a restart may
        conclude(context, transaction)
    return True


def put_back(context: Context, arrival: Arrival | None) -> bool:
    """Put the pair of previous/ back, in its own transaction, if its successor is not valid, or was lost.

    Only if certagent itself put the current pair in place (`arrival`) and the clock can be trusted
    (`policy.comes_back`), or if certagent's own links lead to nothing.
    Returns whether it did. Raises what `activate` and `conclude` raise.
    """
    keystore, name = context.configured.keystore, secrets.token_hex(16)
    try:
        kept = _comes_back(context, arrival)
        if kept is None:
            return False
        current = context.journal.open()
        if not (current is None or current.phase in _GIVES_WAY or current.kind is Kind.PUT_BACK):
            return False
        plan = keystore.plan_rollback(name)
    except KeystoreError as error:
        if isinstance(error.__cause__, OSError) and keystore.lost_what_links_lead_to():
            # It may be readable later: no certificate is requested in its place.
            hint = f"{error.hint}; `certagent enroll --force {keystore.name}` makes a new pair"
            raise KeystoreError(f"the old pair cannot be restored: {error}", hint) from error
        context.log(f"the pair in place does not work, and neither does the old one: {error}")
        return False
    if plan is None:
        return False
    if current is not None:
        close(context, current, "superseded", "the old pair is restored")
    transaction = context.begin(Kind.PUT_BACK, Phase.ISSUED, name).at(
        Phase.ISSUED,
        certificate=to_der(kept),
        serial=serial_hex(kept),
        not_after=kept.not_valid_after_utc,
        changes_ca=current is not None and current.changes_ca,
    )
    context.log(f"the pair in place does not work: restoring certificate {transaction.serial}")
    transaction = context.journal.write_early(transaction)
    conclude(context, replace_files(context, transaction, plan))
    return True


# Phases of transactions about the pair that goes, requests or hooks: the pair that comes back makes them void.
_GIVES_WAY = (*NOT_ISSUED, Phase.ACTIVATED)


def _comes_back(context: Context, arrival: Arrival | None) -> x509.Certificate | None:
    """The certificate of the pair in previous/, if it should be put back. Raises KeystoreError."""
    keystore, now = context.configured.keystore, context.clock()
    if keystore.lost_what_links_lead_to():
        kept = keystore.previous_certificate()
        return kept if kept is not None and Lifetime.of(kept).is_valid(now) else None
    if arrival is None or arrival.is_valid(now):  # nearly always: no file is opened for it
        return None
    certificate = certificate_in_place(keystore)
    if certificate is None or not is_arrival_of(certificate, arrival):
        return None
    kept = keystore.previous_certificate()
    if (
        kept
        and policy.comes_back(Lifetime.of(certificate), Lifetime.of(kept), now)
        and _believes_the_clock(context, max(arrival.at, certificate.not_valid_before_utc), now)
    ):
        return kept
    return None


def _believes_the_clock(context: Context, arrived_at: datetime, now: datetime) -> bool:
    """Whether the clock can be trusted. If it shows an earlier time than when the pair was put in place, it is wrong
    now or was wrong then: then only a synchronised clock is trusted.

    `arrived_at`: never before the pair's validity began, because a slow clock may have recorded its arrival too early.

    A device may boot with a clock an hour behind, until NTP sets it. It must not give up a pair from that hour.
    """
    if now < arrived_at:
        return context.synchronised(now)
    return wall_clock.is_steady(KeystoreDirectory(context.configured.directory).state_directory.path, now)


def close(context: Context, transaction: Transaction, event: str, message: str = "") -> None:
    """End a transaction: history first, so that its end may be recorded twice, but is never missing."""
    events.record(context, event, transaction, message)
    context.journal.close()
    _sweep(context)


def _sweep(context: Context) -> None:
    try:
        context.sweep_shadows()
    except KeystoreError as error:
        context.log(f"the shadow could not be removed: {error}")  # the next shadow sweeps it
