"""One keystore, from whatever it is now to its next durable point: enrollment and renewal.

The walk, each step in the module that can read it best:

    lock → recovery → policy.decide → request.make_request → exchange.ask → activation.activate → conclude

`advance` never raises for what happened to the keystore: it returns an Outcome, keeps it in state.json, and
the next keystore is served.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec
from cryptography import x509

from certagent import durable, policy, state
from certagent.errors import BusyError, CertagentError, KeystoreError, RejectedError, StateError
from certagent.policy import Action, Condition, Decision
from certagent.text import iso
from certagent.transaction import activation, exchange, outcome, recovery, rollover
from certagent.transaction.context import AbandonedError, Context, lifetime_of, open_of
from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.transaction.report import Outcome, Result
from certagent.transaction.request import make_request

_RESULTS = {
    Kind.ENROLLMENT: Result.ENROLLED,
    Kind.RENEWAL: Result.RENEWED,
    Kind.ROLLOVER: Result.ROLLED_OVER,
    Kind.TRUST: Result.TRUSTED,
}
_NOT_ISSUED = (Phase.STARTED, Phase.REQUESTED, Phase.PENDING)


class Wish(StrEnum):
    """What was asked for: what is due by the clock and the backoff; what is due, now; a renewal; an enrollment."""

    DUE = "due"
    NOW = "now"
    RENEW = "renew"
    ENROLL = "enroll"


def advance(context: Context, wish: Wish, stopping: Callable[[], bool]) -> Outcome:
    """Bring one keystore as far as it gets now. `stopping` is asked at each durable point."""
    if not policy.clock_is_sane(context.clock()):
        return Outcome(
            context.name, Result.WAITING, message=f"the clock says {iso(context.clock())}", hint="set the clock"
        )
    return _locked(context, lambda: _attend(context, wish, stopping))


def struck_down(context: Context, error: CertagentError) -> Outcome:
    """Keep an attempt that ended without a word of its own (a module took its process along) as a failed one."""
    return _locked(context, lambda: outcome.failed(context, state.load(context.directory) or state.State(), error))


def _locked(context: Context, attempt: Callable[[], Outcome]) -> Outcome:
    try:
        with durable.lock(context.directory / "lock", f"keystore {context.name}"):
            return attempt()
    except BusyError as error:
        return Outcome(context.name, Result.BUSY, message=str(error), hint=error.hint)
    except StateError as error:
        return Outcome(context.name, Result.FAILED, Condition.FAILED, message=str(error), hint=error.hint)
    except OSError as error:
        # The state directory itself is full or broken: nothing can be kept, so nothing is done.
        return Outcome(context.name, Result.FAILED, Condition.FAILED, message=_os_text(error), hint="see the disk")


def _attend(context: Context, wish: Wish, stopping: Callable[[], bool]) -> Outcome:
    """With the lock held: one attempt, and its memory."""
    before = state.load(context.directory) or state.State()
    past, result = policy.Past(before.failures, before.retry_at), Result.NOTHING
    error: CertagentError | None = None
    try:
        _tidy_up(context)
        rollover.move(context)
        at_once = wish is not Wish.DUE or _something_changed(context, before)
        past = policy.Past(before.failures, None) if at_once else past
        result, error = _renewed(context, wish, past, before, stopping)
        # A renewal that failed is no reason to miss the next CA; a keystore in trouble (a PIN!) is left alone.
        if result is not Result.STOPPED and not isinstance(error, KeystoreError):
            track = rollover.prepare(context, before.rollover, stopping, at_once=at_once)
            before = msgspec.structs.replace(before, rollover=track)
        if activation.update_trust(context) and result is Result.NOTHING:
            result = Result.TRUSTED
    except OSError as fault:
        error = KeystoreError(_os_text(fault), "nothing was put in place; see the disk and the permissions")
    except StateError:
        raise
    except CertagentError as fault:
        error = error or fault
    if error is not None:
        return outcome.failed(context, before, error)
    return outcome.went_well(context, before, past, result)


def _renewed(
    context: Context, wish: Wish, past: policy.Past, before: state.State, stopping: Callable[[], bool]
) -> tuple[Result, CertagentError | None]:
    try:
        return _walk(context, wish, past, before, stopping), None
    except StateError:
        raise
    except CertagentError as error:
        return Result.FAILED, error


def _tidy_up(context: Context) -> None:
    """Bring what a killed run left to an end, before anything new is begun."""
    recovered = recovery.recover_keystore(context.journal)
    if recovered:
        context.log(recovered)
        context.note("recovered", message=recovered)
    context.sweep_shadows()  # of a run killed at its very end


def _something_changed(context: Context, before: state.State) -> bool:
    """Whether a person, or another tool, changed the definition or the files since the last attempt:
    the pause after a failure is for what stays as it is.
    """
    return before.definition != context.digest or before.watched != state.watch(context.keystore.watched())


def _walk(context: Context, wish: Wish, past: policy.Past, before: state.State, stopping: Callable[[], bool]) -> Result:
    """Decide, begin or resume, carry on. A transaction that had to be abandoned is begun anew once."""
    for last_try in (False, True):
        transaction = _carried(context, wish)
        lifetime = lifetime_of(_certificate(context, wish))
        decision = policy.decide(lifetime, open_of(transaction), past, context.rules(), context.clock())
        if transaction is None or decision.action is Action.RENEW:
            kind = _kind(context, wish, decision, before, lifetime)
            if kind is None:
                return Result.NOTHING
            if transaction is not None:
                context.log("the certificate is due again before its hooks succeeded; the next one's will be run")
                activation.close(context, transaction, "superseded")
            transaction = context.journal.write(context.begin(kind))
        elif not decision.is_due(context.clock()) and wish is Wish.DUE:
            return Result.PENDING if decision.action is Action.POLL else Result.NOTHING
        try:
            return _carry_on(context, transaction, stopping)
        except AbandonedError as error:
            _abandon(context, error)
            if last_try:
                raise
        except RejectedError as error:
            _abandon(context, error)
            if last_try or not _may_enroll_again(context, transaction):
                raise
            context.log(f"{error}; the certificate has expired, enrolling again")
            wish = Wish.ENROLL
    raise AssertionError  # the second round returns or raises


def _carried(context: Context, wish: Wish) -> Transaction | None:
    """The open transaction, unless its request cannot be carried on as it was begun."""
    transaction = context.journal.open()
    if transaction is None or transaction.phase not in _NOT_ISSUED:
        return transaction
    if transaction.phase is not Phase.STARTED and transaction.endpoint != context.endpoint:
        _abandon(context, AbandonedError("the authority's URL changed since the request was made"))
    elif wish is Wish.ENROLL and transaction.kind is not Kind.ENROLLMENT:
        _abandon(context, AbandonedError("an enrollment was asked for instead"))
    elif wish is Wish.ENROLL and transaction.source != context.moves_from:
        _abandon(context, AbandonedError("an enrollment signed by another identity was asked for instead"))
    elif transaction.started_at + context.authority.poll_limit < context.clock():
        _abandon(context, AbandonedError("the CA did not answer within poll_limit"))
    else:
        return transaction
    return None


def _certificate(context: Context, wish: Wish) -> x509.Certificate | None:
    """The certificate in place, with its key. An enrollment by hand is there to replace what cannot be read."""
    try:
        return context.keystore.look()
    except KeystoreError:
        if wish is Wish.ENROLL:
            return None
        raise


def _kind(
    context: Context, wish: Wish, decision: Decision, before: state.State, lifetime: policy.Lifetime | None
) -> Kind | None:
    """Which transaction to begin; None: none."""
    now = context.clock()
    if wish is Wish.ENROLL:
        return Kind.ENROLLMENT
    if lifetime is None:
        return Kind.ENROLLMENT if decision.is_due(now) or (wish is not Wish.DUE and decision.action) else None
    refused_before = before.last_error is not None and before.last_error.kind == "rejected"
    if (
        lifetime.not_after <= now
        and refused_before
        and context.authority.challenge is not None
        and decision.is_due(now)
    ):
        return Kind.ENROLLMENT
    return Kind.RENEWAL if decision.is_due(now) or wish is Wish.RENEW else None


def _carry_on(context: Context, transaction: Transaction, stopping: Callable[[], bool]) -> Result:
    """Step after step, each from one durable point to the next."""
    while not stopping():
        match transaction.phase:
            case Phase.STARTED:
                transaction = make_request(context, transaction)
            case Phase.REQUESTED | Phase.PENDING:
                transaction = exchange.ask(context, transaction)
                if transaction.phase is Phase.PENDING:
                    return Result.PENDING
            case Phase.ISSUED:
                transaction = activation.activate(context, transaction)
            case Phase.ACTIVATED | Phase.REVERTED:
                activation.conclude(context, transaction)
                return _RESULTS[transaction.kind]
            case _:
                # recovery.py brought these to an end before; being here is a fault of ours.
                raise StateError(f"transaction {transaction.id} stands at {transaction.phase}", "run certagent recover")
    return Result.STOPPED


def _abandon(context: Context, error: CertagentError) -> None:
    """Give an unissued transaction up, so that the next one starts afresh."""
    transaction = context.journal.open()
    if transaction is not None:
        context.log(f"transaction given up: {error}")
        activation.close(
            context, transaction, "rejected" if isinstance(error, RejectedError) else "abandoned", str(error)
        )


def _may_enroll_again(context: Context, transaction: Transaction) -> bool:
    """An expired certificate that the CA does not renew any more is enrolled again, where a challenge allows it."""
    expired = transaction.old_not_after is not None and transaction.old_not_after <= context.clock()
    return transaction.kind is Kind.RENEWAL and expired and context.authority.challenge is not None


def _os_text(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
