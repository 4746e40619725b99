"""What an attempt came to: its line of the report, and what is remembered until the next one."""

from __future__ import annotations

from datetime import datetime

import msgspec

from certagent import policy, state
from certagent.errors import CertagentError, KeystoreError
from certagent.policy import Decision
from certagent.transaction.context import Context, certificate_in_place, lifetime_of, open_of, road_of
from certagent.transaction.journal import Kind, Phase
from certagent.transaction.report import Outcome, Result


def went_well(context: Context, before: state.State, past: policy.Past, result: Result) -> Outcome:
    """Nothing failed; whether earlier failures are forgotten depends on whether their cause is gone."""
    lifetime = lifetime_of(certificate_in_place(context.keystore))
    settled = lifetime is not None and policy.renew_at(lifetime, context.rules()) > context.clock()
    if result in (Result.NOTHING, Result.STOPPED) and not (settled and context.journal.open() is None):
        return _remember(context, before, result, failures=before.failures, retry_at=past.retry_at)
    return _remember(context, before, result, failures=0, retry_at=None)


def failed(context: Context, before: state.State, error: CertagentError) -> Outcome:
    """Count the failure, set the time of the next attempt, tell those who want to know."""
    now = context.clock()
    transaction = context.journal.open()
    lifetime = lifetime_of(certificate_in_place(context.keystore))
    failures = before.failures + 1
    context.note("failed", transaction, str(error))
    context.tell("failed", transaction, failures)
    told_at = before.expiring_told_at
    if lifetime is not None and policy.is_expiring(lifetime, told_at, now):
        context.tell("expiring", transaction, failures)
        told_at = now
    remembered = _remember(
        context,
        before,
        Result.FAILED,
        failures=failures,
        retry_at=policy.backoff(error.kind, failures, lifetime, now),
        error=state.LastError.of(error, now),
        told_at=told_at,
    )
    return msgspec.structs.replace(remembered, message=str(error), hint=error.hint)


def _remember(
    context: Context,
    before: state.State,
    result: Result,
    *,
    failures: int,
    retry_at: datetime | None,
    error: state.LastError | None = None,
    told_at: datetime | None = None,
) -> Outcome:
    """Look afresh at what is there now, and keep it with when attention is needed next."""
    now = context.clock()
    track = before.rollover
    past = policy.Past(failures + track.failures, retry_at)
    current, rules, staged = context.journal.open(), context.rules(), context.rollover.open()
    transaction = open_of(current)
    try:
        lifetime = lifetime_of(context.keystore.read_certificate())
        decision = policy.decide(lifetime, transaction, past, rules, now)
    except KeystoreError:
        lifetime, decision = None, Decision(None, retry_at, "the certificate in place cannot be read")
    if current is None or (current.kind is not Kind.ROLLOVER and current.phase is not Phase.REVERTED):
        decision = policy.sooner(decision, road_of(staged, track, lifetime, rules, now), now)
    is_staged = staged is not None and staged.phase is Phase.ISSUED
    condition = policy.condition(lifetime, transaction, past, rules, now, staged=is_staged)
    last_error = error or (before.last_error if failures else None) or track.last_error
    state.save(
        context.directory,
        state.State(
            condition=condition,
            next_action=decision.action,
            next_action_at=decision.at,
            failures=failures,
            retry_at=retry_at,
            last_error=last_error,
            definition=context.digest,
            watched=state.watch(context.keystore.watched()),
            expiring_told_at=told_at or before.expiring_told_at,
            rollover=track,
        ),
    )
    message = decision.reason if decision.action is None else None
    return Outcome(context.name, result, condition, decision.action, decision.at, message)
