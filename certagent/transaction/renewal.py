"""One attempt at a keystore, from its current state to its next durable point.

    lock → recovery → the switch, if it is due → back to the old pair, if only that is valid
         → enrollment or renewal → the rollover's preparation → ca_file

`advance` never raises for what happened to the keystore: it returns an Outcome and keeps it in state.json, and the
worker goes on to the next keystore.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import msgspec
from cryptography import x509

from certagent import believed, durable, policy, state
from certagent.certificate import serial_hex
from certagent.errors import (
    BusyError,
    CertagentError,
    DamagedError,
    KeystoreError,
    RejectedError,
    RevokedError,
    StateError,
)
from certagent.policy import Action, Condition, Decision, Past
from certagent.state_directory import KeystoreDirectory
from certagent.text import iso, with_hint
from certagent.transaction import (
    activation,
    adjustment,
    copies,
    debt,
    ends,
    events,
    ladder,
    next_step,
    outcome,
    owed_hooks,
    recovery,
    rollover,
    walk,
)
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import AbandonedError, Context
from certagent.transaction.ends import End
from certagent.transaction.journal import Kind, Transaction
from certagent.transaction.ladder import Rung, Standing
from certagent.transaction.report import Outcome, Result
from certagent.transaction.walk import Progress
from certagent.transaction.wish import Wish

__all__ = ["Wish", "advance", "record_failure"]

_RESULTS = {
    Kind.ENROLLMENT: Result.ENROLLED,
    Kind.RENEWAL: Result.RENEWED,
    Kind.ROLLOVER: Result.ROLLED_OVER,
    Kind.TRUST: Result.TRUSTED,
    Kind.ADJUSTMENT: Result.ADJUSTED,
    Kind.PUT_BACK: Result.PUT_BACK,
}
_DONE = frozenset(_RESULTS.values())
_UNFINISHED = {
    Progress.PENDING: Result.PENDING,
    Progress.STOPPED: Result.STOPPED,
    Progress.WAITING: Result.WAITING,
}


def advance(context: Context, wish: Wish, stopping: Callable[[], bool]) -> Outcome:
    """Bring one keystore as far as possible now. `stopping` is called at each durable point."""
    if not policy.clock_is_sane(context.clock()):
        return Outcome(
            context.configured.name,
            Result.WAITING,
            message=f"the clock says {iso(context.clock())}",
            hint="set the clock",
        )
    if context.doubt is not None and wish is Wish.DUE:
        return Outcome(
            context.configured.name,
            Result.WAITING,
            next_action_at=context.doubt.until,
            message=context.doubt.reason,
            hint=f"if it is right, run `certagent renew {context.configured.name}`",
        )
    return _locked(context, lambda: _attend(context, wish, stopping))


def record_failure(context: Context, error: CertagentError) -> Outcome:
    """Record a failed attempt that the attempt itself could not record: a token's module may crash the whole process,
    and a hook may run for several keystores."""
    return _locked(context, lambda: outcome.failed(context, state.recall(context.configured.directory), error))


def _locked(context: Context, attempt: Callable[[], Outcome]) -> Outcome:
    try:
        place = KeystoreDirectory(context.configured.directory)
        believed.check_state(place.path, deep=True)
        authority = place.state_directory.authority(context.configured.definition.authority)
        believed.check_state(authority, deep=True)
        with durable.lock(place.lock, f"keystore {context.configured.name}"):
            return attempt()
    except BusyError as error:
        return Outcome(context.configured.name, Result.BUSY, message=str(error), hint=error.hint)
    except StateError as error:
        return Outcome(context.configured.name, Result.FAILED, Condition.FAILED, message=str(error), hint=error.hint)
    except OSError as error:
        # The state directory itself is full or broken: nothing can be recorded, so nothing is done.
        where = _os_text(error) if error.filename else f"{context.configured.directory}: {_os_text(error)}"
        hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the disk"
        return Outcome(context.configured.name, Result.FAILED, Condition.FAILED, message=where, hint=hint)


def _attend(context: Context, wish: Wish, stopping: Callable[[], bool]) -> Outcome:
    """One attempt and its memory. The caller holds the lock."""
    before = _memory(context)
    past, result = before.past, Result.NOTHING
    error: CertagentError | None = None
    try:
        _tidy_up(context)
        before = copies.recognised(context, before)
        rollover.begin_switch(context)
        is_back = not wish.enrolls and activation.put_back(context, before.arrival)
        adjusted = adjustment.adjust(context, None)  # lost files; without them nothing can be renewed
        watched = state.watch(context.configured.keystore.watched())
        at_once = wish not in (Wish.DUE, Wish.FINISH) or next_step.somebody_changed(
            before, context.configured.digest, watched
        )
        past = msgspec.structs.replace(past, retry_at=None) if at_once else past
        result, error, before = _renewed(context, wish, past, before, stopping)
        if debt.put_right(context) and wish is not Wish.FINISH:
            hooks_failed = debt.pay(context, past)
            error = error or hooks_failed
        if is_back and result is Result.NOTHING:
            result = Result.PUT_BACK
        before = outcome.arrived(context, before, result)
        if result is Result.NOTHING and error is None:
            error = _revoked(context, past)
        # A failed renewal is no reason to miss the next CA; a keystore with an error (a PIN!) is left alone.
        if result is not Result.STOPPED and not isinstance(error, KeystoreError):
            track = rollover.prepare(context, before, wish, stopping, at_once=at_once)
            before = msgspec.structs.replace(before, rollover=track)
        done_besides = _done_besides(context, before, adjusted=adjusted)
        result = done_besides if result is Result.NOTHING else result
        if result in _DONE and owed_hooks.waits_for_others(context):
            result = Result.IN_PLACE
    except OSError as fault:
        error = KeystoreError(_os_text(fault), "nothing was put in place; check the disk and the permissions")
    except StateError:
        raise
    except CertagentError as fault:
        error = error or fault
    if error is not None:
        return outcome.failed(context, before, error)
    return outcome.went_well(context, before, past, result)


def _revoked(context: Context, past: Past) -> RevokedError | None:
    """The alarm if the certificate in place is revoked and nothing is done about it; not before a pause is over."""
    certificate, now = certificate_in_place(context.configured.keystore), context.clock()
    since = context.revoked(certificate) if certificate is not None else None
    pause = policy.pause_ends(past, policy.lifetime_of(certificate), now)
    if certificate is None or since is None or (pause is not None and pause > now):
        return None
    return RevokedError(
        f"the certificate {serial_hex(certificate)} is revoked since {iso(since)}",
        f"`certagent enroll --force {context.configured.name}` asks for another, with a new key; "
        "`when_revoked: enroll` does so by itself",
    )


def _done_besides(context: Context, before: state.State, *, adjusted: bool) -> Result:
    """What else is done to the files while the identity stays. Raises KeystoreError, HookError."""
    adjusted = adjustment.adjust(context, before.arrival) or adjusted
    trusted = activation.update_trust(context)
    if adjusted:
        return Result.ADJUSTED
    return Result.TRUSTED if trusted else Result.NOTHING


def _memory(context: Context) -> state.State:
    """What is remembered; a damaged memory is reported and set aside, and written again at the end of this attempt."""
    directory = context.configured.directory
    try:
        return state.load(directory) or state.State()
    except DamagedError as damaged:
        context.log(state.set_aside(directory, damaged))
        return state.State()


def _renewed(
    context: Context, wish: Wish, past: Past, before: state.State, stopping: Callable[[], bool]
) -> tuple[Result, CertagentError | None, state.State]:
    """The result, the error if it failed, and what to remember."""
    try:
        return _enroll_or_renew(context, wish, past, before, stopping), None, before
    except StateError:
        raise
    except RejectedError as error:
        waits = outcome.put_off(context, before, error) if not wish.forces else None
        return (Result.FAILED, error, before) if waits is None else (Result.NOTHING, None, waits)
    except CertagentError as error:
        return Result.FAILED, error, before


def _tidy_up(context: Context) -> None:
    """Finish what a killed run left, before anything new is begun."""
    recovered = recovery.recover_keystore(context.journal)
    if recovered:
        context.log(recovered)
        events.record(context, "recovered", message=recovered)
    if context.configured.rollover.open() is None:
        context.configured.rollover.sweep()
    debt.put_right(context)
    context.sweep_shadows()  # shadows of a run that was killed at its very end


def _enroll_or_renew(
    context: Context, wish: Wish, past: Past, before: state.State, stopping: Callable[[], bool]
) -> Result:
    """Decide, begin or resume, carry on. If a transaction has to be given up, a new one follows, once; and after a
    refusal, the next rung of the ladder, each once.
    """
    rung, abandoned = None, False
    while True:
        transaction = _begun(context, wish, past, before, rung)
        if isinstance(transaction, Result):
            return transaction
        try:
            progress = walk.carry_on(context, transaction, stopping)
        except AbandonedError as error:
            walk.give_up(context, error)
            if abandoned:
                raise
            abandoned = True
            if error.stands:
                context, wish = _wanted_still(context, transaction, wish)
        except ladder.LEADS_DOWN as error:
            if transaction.compromised:
                name = context.configured.name
                error.hint = f"{error.hint}; has it already been revoked? then run `certagent enroll --force {name}`"
            walk.give_up(context, error)
            rung = ladder.below(transaction, context.configured.ways, context.clock())
            if rung is None:
                error.hint = with_hint(error.hint, ladder.at_the_end(transaction, context.configured.ways))
                raise
            context.log(f"{ladder.rung_of(transaction).words}: {error}; certagent now enrolls with {rung.words}")
            wish = Wish.ENROLL
        else:
            return _RESULTS[transaction.kind] if progress is Progress.DONE else _UNFINISHED[progress]


def _wanted_still(context: Context, transaction: Transaction, wish: Wish) -> tuple[Context, Wish]:
    """The context and wish to go on with after a transaction was given up, if what it was for is still wanted."""
    wanted = ends.wanted_still(transaction, wish)
    return (context if wanted is wish else msgspec.structs.replace(context, moves_from=transaction.source)), wanted


def _begun(context: Context, wish: Wish, past: Past, before: state.State, rung: Rung | None) -> Transaction | Result:
    """The transaction to carry on, already open or begun now; if there is none, the result of the attempt.

    `rung`: what authenticates an enrollment that is begun; None: the first that the configuration names.
    """
    found = context.journal.open()
    transaction = walk.resumed(context, found, wish)
    if isinstance(transaction, End):
        if found is not None and transaction.stands:
            context, wish = _wanted_still(context, found, wish)
        transaction = None
    if wish is Wish.FINISH:
        return transaction or Result.NOTHING
    if wish is Wish.COMPROMISED:
        _give_up_shared_shadow(context)
    situation = context.situation(_certificate(context, wish), past, before.rollover, before.arrival)
    decision = next_step.identity_step(situation, context.clock())
    another_key = wish is Wish.COMPROMISED and not (transaction and transaction.compromised)
    if transaction is None or decision.action in (Action.RENEW, Action.ENROLL) or another_key:
        kind = _kind(context, wish, decision, situation.lifetime)
        if kind is None:
            return Result.NOTHING
        if transaction is not None:
            context.log("another renewal starts before the hooks for this one have succeeded")
            debt.set_aside(context, transaction)
        first, *_ = ladder.rungs(Standing.NONE, context.configured.ways)
        begun = context.begin(kind, forced=wish.forces, rung=rung or first)
        changes_ca = transaction is not None and transaction.changes_ca
        begun = begun.at(begun.phase, compromised=wish is Wish.COMPROMISED, changes_ca=changes_ca)
        return context.journal.write_early(begun)  # nothing is lost with it
    if not decision.is_due(context.clock()) and wish is Wish.DUE:
        return Result.PENDING if decision.action is Action.POLL else Result.NOTHING
    if wish is Wish.RENEW and not transaction.forced:
        return context.journal.write(transaction.at(transaction.phase, forced=True))
    return transaction


def _give_up_shared_shadow(context: Context) -> None:
    """The key in place is compromised: if the next CA's shadow has the same key, give that shadow up."""
    if context.configured.definition.rekey == "never" and context.configured.rollover.open() is not None:
        error = AbandonedError("the key in place is compromised: certagent makes a new one")
        walk.give_up(msgspec.structs.replace(context, journal=context.configured.rollover), error)


def _certificate(context: Context, wish: Wish) -> x509.Certificate | None:
    """The certificate in place, with its key. An enrollment by hand may replace one that cannot be read."""
    try:
        return context.configured.keystore.look()
    except KeystoreError:
        if wish.enrolls:
            return None
        raise


def _kind(context: Context, wish: Wish, decision: Decision, lifetime: policy.Lifetime | None) -> Kind | None:
    """Which kind of transaction to begin; None if none."""
    now = context.clock()
    if wish.enrolls:
        return Kind.ENROLLMENT
    if decision.action is Action.ENROLL and lifetime is not None:  # it is revoked
        return Kind.ENROLLMENT if decision.is_due(now) else None
    if lifetime is None:
        return Kind.ENROLLMENT if decision.is_due(now) or (wish is not Wish.DUE and decision.action) else None
    return Kind.RENEWAL if decision.is_due(now) or wish.forces else None


def _os_text(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
