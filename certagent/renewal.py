"""One keystore, from whatever it is now to its next durable point: enrollment and renewal.

The walk (DESIGN §5), each step in the module that can read it best:

    lock → recovery → policy.decide → exchange.request → exchange.send | poll → activation.activate → conclude

`advance` never raises for what happened to the keystore: it returns an Outcome, keeps it in state.json, and
the next keystore is served.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec
from cryptography import x509

from certagent import activation, durable, exchange, outcome, policy, recovery, requesting, rollover, state
from certagent.errors import BusyError, CertagentError, KeystoreError, RejectedError, StateError
from certagent.journal import Kind, Phase, Transaction
from certagent.outcome import Outcome, Result
from certagent.policy import Action, Condition, Decision
from certagent.work import AbandonedError, Work, lifetime_of, open_of

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


def advance(work: Work, wish: Wish, stopping: Callable[[], bool]) -> Outcome:
    """Bring one keystore as far as it gets now. `stopping` is asked at each durable point."""
    if not policy.clock_is_sane(work.clock()):
        return Outcome(
            work.name, Result.WAITING, message=f"the clock says {state.iso(work.clock())}", hint="set the clock"
        )
    return _locked(work, lambda: _attend(work, wish, stopping))


def struck_down(work: Work, error: CertagentError) -> Outcome:
    """Keep an attempt that ended without a word of its own (a module took its process along) as a failed one."""
    return _locked(work, lambda: outcome.failed(work, state.load(work.directory) or state.State(), error))


def _locked(work: Work, attempt: Callable[[], Outcome]) -> Outcome:
    try:
        with durable.lock(work.directory / "lock", f"keystore {work.name}"):
            return attempt()
    except BusyError as error:
        return Outcome(work.name, Result.BUSY, message=str(error), hint=error.hint)
    except StateError as error:
        return Outcome(work.name, Result.FAILED, Condition.FAILED, message=str(error), hint=error.hint)
    except OSError as error:
        # The state directory itself is full or broken: nothing can be kept, so nothing is done.
        return Outcome(work.name, Result.FAILED, Condition.FAILED, message=_os_text(error), hint="see the disk")


def _attend(work: Work, wish: Wish, stopping: Callable[[], bool]) -> Outcome:
    """With the lock held: one attempt, and its memory."""
    before = state.load(work.directory) or state.State()
    past, result = policy.Past(before.failures, before.retry_at), Result.NOTHING
    error: CertagentError | None = None
    try:
        _tidy_up(work)
        rollover.move(work)
        at_once = wish is not Wish.DUE or _something_changed(work, before)
        past = policy.Past(before.failures, None) if at_once else past
        result, error = _renewed(work, wish, past, before, stopping)
        # A renewal that failed is no reason to miss the next CA; a keystore in trouble (a PIN!) is left alone.
        if result is not Result.STOPPED and not isinstance(error, KeystoreError):
            track = rollover.prepare(work, before.rollover, stopping, at_once=at_once)
            before = msgspec.structs.replace(before, rollover=track)
        if activation.update_trust(work) and result is Result.NOTHING:
            result = Result.TRUSTED
    except OSError as fault:
        error = KeystoreError(_os_text(fault), "nothing was put in place; see the disk and the permissions")
    except StateError:
        raise
    except CertagentError as fault:
        error = error or fault
    if error is not None:
        return outcome.failed(work, before, error)
    return outcome.went_well(work, before, past, result)


def _renewed(
    work: Work, wish: Wish, past: policy.Past, before: state.State, stopping: Callable[[], bool]
) -> tuple[Result, CertagentError | None]:
    try:
        return _walk(work, wish, past, before, stopping), None
    except StateError:
        raise
    except CertagentError as error:
        return Result.FAILED, error


def _tidy_up(work: Work) -> None:
    """Bring what a killed run left to an end, before anything new is begun."""
    recovered = recovery.recover_keystore(work.journal)
    if recovered:
        work.log(recovered)
        work.note("recovered", message=recovered)
    work.sweep_shadows()  # of a run killed at its very end


def _something_changed(work: Work, before: state.State) -> bool:
    """Whether a person, or another tool, changed the definition or the files since the last attempt:
    the pause after a failure is for what stays as it is.
    """
    return before.definition != work.digest or before.watched != state.watch(work.keystore.watched())


def _walk(work: Work, wish: Wish, past: policy.Past, before: state.State, stopping: Callable[[], bool]) -> Result:
    """Decide, begin or resume, carry on. A transaction that had to be abandoned is begun anew once."""
    for last_try in (False, True):
        transaction = _carried(work, wish)
        lifetime = lifetime_of(_certificate(work, wish))
        decision = policy.decide(lifetime, open_of(transaction), past, work.rules(), work.clock())
        if transaction is None or decision.action is Action.RENEW:
            kind = _kind(work, wish, decision, before, lifetime)
            if kind is None:
                return Result.NOTHING
            if transaction is not None:
                work.log("the certificate is due again before its hooks succeeded; the next one's will be run")
                activation.close(work, transaction, "superseded")
            transaction = work.journal.write(work.begin(kind))
        elif not decision.is_due(work.clock()) and wish is Wish.DUE:
            return Result.PENDING if decision.action is Action.POLL else Result.NOTHING
        try:
            return _carry_on(work, transaction, stopping)
        except AbandonedError as error:
            _abandon(work, error)
            if last_try:
                raise
        except RejectedError as error:
            _abandon(work, error)
            if last_try or not _may_enroll_again(work, transaction):
                raise
            work.log(f"{error}; the certificate has expired, enrolling again")
            wish = Wish.ENROLL
    raise AssertionError  # the second round returns or raises


def _carried(work: Work, wish: Wish) -> Transaction | None:
    """The open transaction, unless its request cannot be carried on as it was begun."""
    transaction = work.journal.open()
    if transaction is None or transaction.phase not in _NOT_ISSUED:
        return transaction
    if transaction.phase is not Phase.STARTED and transaction.endpoint != work.endpoint:
        _abandon(work, AbandonedError("the authority's URL changed since the request was made"))
    elif wish is Wish.ENROLL and transaction.kind is not Kind.ENROLLMENT:
        _abandon(work, AbandonedError("an enrollment was asked for instead"))
    elif wish is Wish.ENROLL and transaction.source != work.moves_from:
        _abandon(work, AbandonedError("an enrollment signed by another identity was asked for instead"))
    elif transaction.started_at + work.authority.poll_limit < work.clock():
        _abandon(work, AbandonedError("the CA did not answer within poll_limit"))
    else:
        return transaction
    return None


def _certificate(work: Work, wish: Wish) -> x509.Certificate | None:
    """The certificate in place, with its key. An enrollment by hand is there to replace what cannot be read."""
    try:
        return work.keystore.look()
    except KeystoreError:
        if wish is Wish.ENROLL:
            return None
        raise


def _kind(
    work: Work, wish: Wish, decision: Decision, before: state.State, lifetime: policy.Lifetime | None
) -> Kind | None:
    """Which transaction to begin; None: none."""
    now = work.clock()
    if wish is Wish.ENROLL:
        return Kind.ENROLLMENT
    if lifetime is None:
        return Kind.ENROLLMENT if decision.is_due(now) or (wish is not Wish.DUE and decision.action) else None
    refused_before = before.last_error is not None and before.last_error.kind == "rejected"
    if lifetime.not_after <= now and refused_before and work.authority.challenge is not None and decision.is_due(now):
        return Kind.ENROLLMENT
    return Kind.RENEWAL if decision.is_due(now) or wish is Wish.RENEW else None


def _carry_on(work: Work, transaction: Transaction, stopping: Callable[[], bool]) -> Result:
    """Step after step, each from one durable point to the next."""
    while not stopping():
        match transaction.phase:
            case Phase.STARTED:
                transaction = requesting.request(work, transaction)
            case Phase.REQUESTED | Phase.PENDING:
                transaction = exchange.ask(work, transaction)
                if transaction.phase is Phase.PENDING:
                    return Result.PENDING
            case Phase.ISSUED:
                transaction = activation.activate(work, transaction)
            case Phase.ACTIVATED | Phase.REVERTED:
                activation.conclude(work, transaction)
                return _RESULTS[transaction.kind]
            case _:
                # recovery.py brought these to an end before; being here is a fault of ours.
                raise StateError(f"transaction {transaction.id} stands at {transaction.phase}", "run certagent recover")
    return Result.STOPPED


def _abandon(work: Work, error: CertagentError) -> None:
    """Give an unissued transaction up, so that the next one starts afresh."""
    transaction = work.journal.open()
    if transaction is not None:
        work.log(f"transaction given up: {error}")
        activation.close(work, transaction, "rejected" if isinstance(error, RejectedError) else "abandoned", str(error))


def _may_enroll_again(work: Work, transaction: Transaction) -> bool:
    """An expired certificate that the CA does not renew any more is enrolled again, where a challenge allows it."""
    expired = transaction.old_not_after is not None and transaction.old_not_after <= work.clock()
    return transaction.kind is Kind.RENEWAL and expired and work.authority.challenge is not None


def _os_text(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
