"""Rollover: changing to the next CA, beside the renewals (docs/rollover.md):

    prepare      the CA expires soon → find the next CA (`trust.next_ca`) → trust it in advance (ca_file)
                 → a shadow under it, by the same steps as a renewal, in a journal of its own
    switch       at max(shadow's start, the next CA's start): the shadow moves into the first journal, and is
                 activated as any successor

A refusal or a failure of this is recorded and reported, and never stops a renewal under the current CA.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from certagent import certificate as facts
from certagent import policy, state
from certagent.errors import CertagentError, RejectedError, StateError, TransientError
from certagent.policy import Action, Arrival, Past
from certagent.state import Track
from certagent.text import iso, with_hint
from certagent.transaction import activation, debt, ends, events, next_step, walk
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import AbandonedError, Context
from certagent.transaction.ends import End
from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.transaction.seen import ca_above
from certagent.transaction.walk import Progress
from certagent.transaction.wish import Wish
from certagent.trust.next_ca import Successor
from certagent.trust.proof import comes_from


def begin_switch(context: Context) -> None:
    """If the next CA takes over now, make the staged shadow the transaction to carry on."""
    rollover = context.configured.rollover
    staged = rollover.open()
    if staged is None:
        return
    current = context.journal.open()
    if current is not None and staged.id == current.id:
        rollover.close()  # killed between the two writes below
        return
    if reason := ends.not_ours(staged, context.configured.definition.authority, context.host):
        walk.give_up(msgspec.structs.replace(context, journal=rollover), AbandonedError(reason))
        return
    now = context.clock()
    # Of what is in place, only its end matters for the switch, and only if that has to keep to windows.
    keeps_hours = context.configured.definition.activate_in
    certificate = certificate_in_place(context.configured.keystore) if keeps_hours else None
    step = next_step.rollover_step(context.situation(certificate, Past(), Track()), now)
    if step.action is not Action.SWITCH or not step.is_due(now):
        return
    owed = False
    if current is not None and current.phase is Phase.ACTIVATED:
        owed = current.changes_ca
        debt.set_aside(context, current)
    elif current is not None:
        activation.close(context, current, "superseded", "the next CA takes over")
    context.log("the next CA takes over: the shadow becomes the identity")
    # `owed`: the ca_changed hook of the transaction it replaces
    context.journal.write(staged.at(Phase.ISSUED, changes_ca=owed, **context.in_place()))
    rollover.close()


def prepare(context: Context, before: state.State, wish: Wish, stopping: Callable[[], bool], *, at_once: bool) -> Track:
    """Bring the identity under the next CA as far as possible now. Raises StateError only.

    `at_once`: a person asked, or changed something, so the pause after a failure does not count.
    """
    context = msgspec.structs.replace(context, journal=context.configured.rollover)
    track = before.rollover
    asked = msgspec.structs.replace(track, retry_at=None) if at_once else track
    for last_try in (False, True):
        try:
            return _prepare(context, track, asked, before.arrival, wish, stopping)
        except StateError:
            raise
        except AbandonedError as error:
            if last_try:
                return _failed(context, track, error)
            walk.give_up(context, error)
        except CertagentError as error:
            return _failed(context, track, error)
    raise AssertionError  # the second round returns


def _prepare(  # noqa: PLR0917
    context: Context,
    track: Track,
    asked: Track,
    arrival: Arrival | None,
    wish: Wish,
    stopping: Callable[[], bool],
) -> Track:
    found = walk.resumed(context, context.journal.open(), Wish.RENEW if wish.begins_anew else Wish.DUE)
    transaction = None if isinstance(found, End) else found
    if transaction is not None and transaction.phase is Phase.ISSUED:
        if transaction.checked_at is None:  # killed before it was reported
            _staged(context, transaction)
            return Track()
        return Track() if _still_holds(context, transaction) else track
    situation = context.situation(certificate_in_place(context.configured.keystore), Past(), asked, arrival)
    if stopping() or not next_step.rollover_step(situation, context.clock()).is_due(context.clock()):
        return track
    return _make_shadow(context, transaction, situation.ca, stopping)


def _make_shadow(
    context: Context, transaction: Transaction | None, ca: policy.Lifetime | None, stopping: Callable[[], bool]
) -> Track:
    authority = context.configured.definition.authority
    context.say(f"asking {authority} for its next CA")
    successor = context.authorities.successor(authority, context.clock())
    if transaction is None:
        if successor is None or _is_ours(context, successor):
            return _not_yet(context, ca)
        if context.configured.authority.key_transport == "password" and ca is not None:
            # Only the recipient shows which CA a request is for (RFC 8894 §5.1), and a password has none. So certagent
            # trusts the next CA in advance, and requests the first certificate from it once it has taken over.
            return Track(retry_at=policy.ask_again_for_next_ca(ca, context.clock()))
        _announce(context, successor)
        transaction = context.journal.write_early(context.begin(Kind.ROLLOVER))
    if walk.carry_on(context, transaction, stopping, until=Phase.ISSUED) is Progress.DONE:
        shadow = context.journal.open()
        if shadow is not None:
            _staged(context, shadow)
    return Track()


def _is_ours(context: Context, successor: Successor) -> bool:
    """Whether the next CA already issued the certificate in place, while the authority still shows the CA before it."""
    in_place = certificate_in_place(context.configured.keystore)
    return in_place is not None and comes_from(in_place, successor.believed.issuer)


def _not_yet(context: Context, ca: policy.Lifetime | None) -> Track:
    """There is no next CA so far. Near the end of the current one that is a failure, which somebody should hear of."""
    now, authority = context.clock(), context.configured.definition.authority
    if ca is None:
        return Track()
    if policy.next_ca_is_late(ca, now):
        raise TransientError(
            f"the CA of {authority} expires at {iso(ca.not_after)} and announces no next one",
            "ask its operator; for a CA without GetNextCACert, set next_fingerprint or trust_anchor",
        )
    return Track(retry_at=policy.ask_again_for_next_ca(ca, now))


def _announce(context: Context, successor: Successor) -> None:
    issuer = successor.believed.issuer
    words = f"{facts.subject_text(issuer)}, {facts.fingerprint(issuer)}: {successor.proof}"
    context.log(f"next CA {words}; it takes over at {iso(successor.starts)}")
    events.record(context, "next CA", message=words)


def _staged(context: Context, transaction: Transaction) -> None:
    """The shadow is complete and waits for the next CA to take over."""
    if transaction.switch_at is not None:
        context.log(f"certificate {transaction.serial} under the next CA waits for {iso(transaction.switch_at)}")
    events.record(context, "staged", transaction)
    events.notify(context, "staged", transaction)
    # Last, so that after a kill it is reported twice, and never missed.
    context.journal.write(transaction.at(Phase.ISSUED, checked_at=context.clock()))


def _still_holds(context: Context, transaction: Transaction) -> bool:
    """Once a day, check that the CA still announces the next CA that the shadow waits for; if not, give it up.

    If the authority cannot be reached, or announces nothing at the moment, nothing changes. Returns whether it was
    asked and answered.
    """
    now = context.clock()
    checked_at, switch_at = transaction.checked_at or transaction.started_at, transaction.switch_at
    if switch_at is None or not policy.look_at_staged_again(checked_at, switch_at, now):
        return False
    context.journal.write(transaction.at(transaction.phase, checked_at=now))
    try:
        successor = context.authorities.successor(context.configured.definition.authority, now)
    except TransientError:
        return False
    if successor is None:
        return False
    shadow = facts.load_der(transaction.certificate)
    if not comes_from(shadow, successor.believed.issuer):
        walk.give_up(context, AbandonedError("the CA announces a different next CA than before"))
    return True


def _failed(context: Context, track: Track, error: CertagentError) -> Track:
    """Count and report the failure, and set the time of the next attempt by what is left of the CA's life."""
    now, failures = context.clock(), track.failures + 1
    transaction = context.journal.open()
    if isinstance(error, AbandonedError | RejectedError):
        walk.give_up(context, error)
    context.log(f"rollover: {with_hint(str(error), error.hint)}")
    events.record(context, "failed", transaction, str(error))
    events.notify(context, "failed", transaction, failures)
    share = context.configured.rules.pause_share(failures)
    return Track(
        failures=failures,
        retry_at=policy.backoff(error.kind, failures, _ca(context), now, error.wait, share=share),
        last_error=state.LastError.of(error, now),
        wait=error.wait,
    )


def _ca(context: Context) -> policy.Lifetime | None:
    return ca_above(certificate_in_place(context.configured.keystore), context.known())
