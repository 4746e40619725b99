"""The result of an attempt: its line in the report, and what is remembered until the next one."""

from __future__ import annotations

from datetime import datetime

import msgspec
from cryptography import x509

from certagent import policy, state
from certagent.certificate import serial_hex
from certagent.errors import CertagentError, KeystoreError, OwedError, RejectedError, named
from certagent.policy import Past
from certagent.text import iso
from certagent.transaction import events, next_step
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import Context
from certagent.transaction.journal import Kind, Phase
from certagent.transaction.next_step import Situation, assess
from certagent.transaction.report import Outcome, Result
from certagent.transaction.seen import arrival_of, see


def went_well(context: Context, before: state.State, past: Past, result: Result) -> Outcome:
    """Nothing failed; whether earlier failures are forgotten depends on whether their cause is gone."""
    sight = _look(context, past, before)
    situation = sight.situation
    waits_with_hooks = (
        result is Result.WAITING and situation.transaction is not None and situation.transaction.hooks_owed
    )
    came_no_further = waits_with_hooks or result in (Result.NOTHING, Result.STOPPED, Result.IN_PLACE)
    if not came_no_further or _settled(situation, context.clock()):
        sight = msgspec.structs.replace(sight, situation=msgspec.structs.replace(situation, past=Past()))
    return _remember(context, before, sight, result)


def _settled(situation: Situation, now: datetime) -> bool:
    """Whether nothing is open and nothing is due."""
    if situation.lifetime is None or situation.transaction is not None or situation.revoked is not None:
        return False
    return policy.renew_at(situation.lifetime, situation.rules) > now


def failed(context: Context, before: state.State, error: CertagentError) -> Outcome:
    """Count the failure, set the time of the next attempt, run the hooks for it."""
    now, told_at = context.clock(), before.expiring_told_at
    error.hint = named(error.hint, context.configured.name)
    transaction, failures = context.journal.open(), before.failures + 1
    lifetime = policy.lifetime_of(certificate_in_place(context.configured.keystore))
    owed = isinstance(error, OwedError)
    events.record(context, _EVENTS.get(error.kind, "failed"), transaction, str(error))
    events.notify(context, "failed", transaction, failures)
    if lifetime is not None and policy.is_expiring(lifetime, told_at, now):
        events.notify(context, "expiring", transaction, failures)
        told_at = now
    share = context.configured.rules.pause_share(failures)
    retry_at = policy.backoff(error.kind, failures, lifetime, now, error.wait, share=share)
    past = Past(failures, retry_at, error.kind, error.wait)
    before = msgspec.structs.replace(before, last_error=state.LastError.of(error, now), expiring_told_at=told_at)
    remembered = _remember(context, before, _look(context, past, before), Result.FAILED)
    return msgspec.structs.replace(remembered, message=str(error), hint=error.hint, hooks_owed=owed)


_EVENTS = {"owed": "hooks owed", "revoked": "revoked"}


def arrived(context: Context, before: state.State, result: Result) -> state.State:
    """Remember when certagent put the current certificate in place, by this attempt; also if hooks are still owed."""
    certificate, transaction = certificate_in_place(context.configured.keystore), context.journal.open()
    if certificate is None or arrival_of(certificate, before.arrival, context.clock()) is not None:
        return before
    serial = serial_hex(certificate)
    kind = _PLACES.get(result)
    if transaction is not None and transaction.phase is Phase.ACTIVATED and transaction.serial == serial:
        kind = transaction.kind
    if kind not in _PLACES.values():
        return before
    renewed = before.arrival if kind is Kind.RENEWAL else None
    first = kind is not Kind.RENEWAL
    arrival = policy.arrival(serial, policy.Lifetime.of(certificate), renewed, context.clock(), first=first)
    situation = context.situation(certificate, Past(), before.rollover, arrival)
    for note in next_step.pace_notes(situation):
        context.log(note)
    return msgspec.structs.replace(before, arrival=arrival)


_PLACES = {Result.ENROLLED: Kind.ENROLLMENT, Result.RENEWED: Kind.RENEWAL, Result.ROLLED_OVER: Kind.ROLLOVER}


def put_off(context: Context, before: state.State, refusal: RejectedError) -> state.State | None:
    """What to remember if the CA refused to renew a first certificate before its threshold; None if it is no such case.

    certagent chose that early moment, to spread a fleet, so this is no failure: the renewal waits for the threshold.
    """
    certificate = certificate_in_place(context.configured.keystore)
    if certificate is None or before.arrival is None:
        return None
    rules = context.situation(certificate, Past(), before.rollover, before.arrival).rules
    moment = policy.only_later(policy.Lifetime.of(certificate), rules, context.clock())
    if moment is None:
        return None
    context.log(f"{refusal}; perhaps it is too early for this CA: certagent asks again at {iso(moment)}")
    return msgspec.structs.replace(before, arrival=policy.as_any_other(before.arrival))


class _Sight(msgspec.Struct, frozen=True):
    """One look at the keystore. `watched`: the signatures of its files, taken before: they tell of any change since.

    `seen`: what to show of the certificate; None if there is none, or it cannot be read.
    """

    watched: dict[str, str]
    situation: Situation
    seen: state.Seen | None = None


def _look(context: Context, past: Past, before: state.State) -> _Sight:
    """Look again at what is there now; a person's wish counts once, not for the next step."""
    context = msgspec.structs.replace(context, at_once=False)
    watched = state.watch(context.configured.keystore.watched())
    try:
        certificate = context.configured.keystore.read_certificate()
        situation = context.situation(certificate, past, before.rollover, before.arrival)
        if situation.transaction is None:  # in the middle of a swap, the key may be the newer one
            context.configured.keystore.check_key()
    except KeystoreError:
        situation = msgspec.structs.replace(context.situation(None, past, before.rollover), readable=False)
        return _Sight(watched, situation)
    return _Sight(watched, situation, _seen(context, certificate) if certificate is not None else None)


def _seen(context: Context, certificate: x509.Certificate) -> state.Seen | None:
    configured = context.configured
    try:
        return see(certificate, context.known(), configured.definition, configured.keystore.exposed())
    except CertagentError:  # whoever looks at it reports it
        return None


def _remember(context: Context, before: state.State, sight: _Sight, result: Result) -> Outcome:
    """Keep the keystore's condition, and when it needs attention next. `before` has the newest error."""
    configured, past, track = context.configured, sight.situation.past, before.rollover
    found = assess(sight.situation, context.clock())
    state.save(
        configured.directory,
        state.State(
            condition=found.condition,
            next_action=found.action,
            next_action_at=found.at,
            failures=past.failures,
            retry_at=past.retry_at,
            last_error=(before.last_error if past.failures else None) or track.last_error,
            definition=configured.digest,
            authority=context.authorities.seen(configured.definition.authority),
            watched=sight.watched,
            expiring_told_at=before.expiring_told_at,
            arrival=before.arrival,
            rollover=track,
            host=before.host,
            shared_key=before.shared_key,
            seen=sight.seen,
            wait=past.wait,
        ),
    )
    waits = result is Result.WAITING and found.waits
    message = found.reason if found.action is None or waits else None
    hint = next_step.at_once(configured.name) if waits else None
    return Outcome(configured.name, result, found.condition, found.action, found.at, message, hint)
