"""The way across a change of CA, beside the renewals (docs/rollover.md):

    prepare      the CA's end is near → find its successor (`trust.next_ca`) → trust it in advance (ca_file)
                 → a shadow under the next CA, by the same steps as a renewal, in a journal of its own
    move         at max(shadow's start, the CA's change): the shadow goes over into the first journal, and is
                 activated as any successor

A refusal or a failure on this way is remembered and told, and never stops a renewal under the current CA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
from cryptography import x509

from certagent import certificate as facts
from certagent import policy, state
from certagent.errors import CertagentError, RejectedError, StateError, TransientError
from certagent.state import Track
from certagent.text import iso, with_hint
from certagent.transaction import activation, exchange
from certagent.transaction.context import AbandonedError, Context, certificate_in_place, lifetime_of, road_of
from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.transaction.request import make_request
from certagent.trust.next_ca import Successor


def move(context: Context) -> None:
    """If the CA changes now, make the staged shadow the transaction to be carried on: the switch begins."""
    staged = context.rollover.open()
    current = context.journal.open()
    if staged is not None and current is not None and staged.id == current.id:
        context.rollover.close()  # killed between the two writes below
        return
    if (
        staged is None
        or staged.phase is not Phase.ISSUED
        or staged.switch_at is None
        or staged.switch_at > context.clock()
    ):
        return
    owed = False
    if current is not None:
        if current.phase is Phase.REVERTED:
            return  # its hooks are owed to the identity that is in place
        owed = current.phase is Phase.ACTIVATED and current.changes_ca
        activation.close(context, current, "superseded", "the CA changes")
    context.log("the CA changes: the shadow becomes the identity")
    # `owed`: the ca_changed hook of what it supersedes
    context.journal.write(staged.at(Phase.ISSUED, changes_ca=owed, **context.in_place()))
    context.rollover.close()


def prepare(context: Context, track: Track, stopping: Callable[[], bool], *, at_once: bool) -> Track:
    """Go as far towards the identity under the next CA as it gets now. Raises StateError only.

    `at_once`: a person asked, or changed something, so the pause after a failure does not count.
    """
    switching = context.journal.open()
    if switching is not None and switching.kind is Kind.ROLLOVER:
        return track  # first this one
    asked = msgspec.structs.replace(track, retry_at=None) if at_once else track
    for last_try in (False, True):
        try:
            return _prepare(context, track, asked, stopping)
        except StateError:
            raise
        except AbandonedError as error:
            if last_try:
                return _failed(context, track, error)
            _abandon(context, str(error), "abandoned")
        except CertagentError as error:
            return _failed(context, track, error)
    raise AssertionError  # the second round returns


def _prepare(context: Context, track: Track, asked: Track, stopping: Callable[[], bool]) -> Track:
    transaction = _carried(context)
    if transaction is not None and transaction.phase is Phase.ISSUED:
        if transaction.checked_at is None:  # killed before it was told
            _staged(context, transaction)
            return Track()
        return Track() if _still_holds(context, transaction) else track
    lifetime, rules, now = lifetime_of(certificate_in_place(context.keystore)), context.rules(), context.clock()
    decision = road_of(transaction, asked, lifetime, rules, now)
    if stopping() or not decision.is_due(now):
        return track
    return _go(context, transaction, rules.ca, stopping)


def _go(
    context: Context, transaction: Transaction | None, ca: policy.Lifetime | None, stopping: Callable[[], bool]
) -> Track:
    now = context.clock()
    context.say(f"asking {context.definition.authority} for its next CA")
    successor = context.authorities.successor(context.definition.authority, now)
    if transaction is None:
        if successor is None or _is_ours(context, successor):
            return _not_yet(context, ca)
        if context.authority.key_transport == "password" and ca is not None:
            # Only its recipient says which CA a request is for (RFC 8894 §5.1); a password has none. So the next CA
            # is trusted in advance, and its first certificate is asked for when the CA has changed.
            return Track(retry_at=policy.ask_again_for_next_ca(ca, context.clock()))
        _announce(context, successor)
        transaction = context.rollover.write(context.begin(Kind.ROLLOVER))
    on = replace(context, journal=context.rollover)
    while not stopping():
        match transaction.phase:
            case Phase.STARTED:
                transaction = make_request(on, transaction)
            case Phase.REQUESTED | Phase.PENDING:
                transaction = exchange.ask(on, transaction)
                if transaction.phase is Phase.PENDING:
                    return Track()
            case _:
                _staged(context, transaction)
                return Track()
    return Track()


def _is_ours(context: Context, successor: Successor) -> bool:
    """Whether the certificate in place is under it already, while the authority still shows the CA before."""
    in_place = certificate_in_place(context.keystore)
    return in_place is not None and facts.issued_by(in_place, successor.believed.issuer)


def _not_yet(context: Context, ca: policy.Lifetime | None) -> Track:
    """No next CA so far. Near the end of the current one that is a failure somebody should hear of."""
    now = context.clock()
    if ca is None:
        return Track()
    if policy.next_ca_is_late(ca, now):
        raise TransientError(
            f"the CA of {context.definition.authority} ends at {iso(ca.not_after)} and announces no next one",
            "ask its operator; a CA without GetNextCACert needs next_fingerprint or trust_anchor",
        )
    return Track(retry_at=policy.ask_again_for_next_ca(ca, now))


def _announce(context: Context, successor: Successor) -> None:
    issuer = successor.believed.issuer
    words = f"{facts.subject_text(issuer)}, {facts.fingerprint(issuer)}: {successor.proof}"
    context.log(f"next CA {words}; it takes over at {iso(successor.starts)}")
    context.note("next CA", message=words)


def _staged(context: Context, transaction: Transaction) -> None:
    """The shadow is complete: it waits for the CA to change."""
    if transaction.switch_at is not None:
        context.log(f"certificate {transaction.serial} under the next CA waits for {iso(transaction.switch_at)}")
    context.note("staged", transaction)
    context.tell("staged", transaction)
    # Last, so that a kill has it told twice rather than never.
    context.rollover.write(transaction.at(Phase.ISSUED, checked_at=context.clock()))


def _carried(context: Context) -> Transaction | None:
    """The rollover in preparation, unless it cannot be carried on as it was begun."""
    transaction = context.rollover.open()
    if transaction is None:
        return None
    reason = None
    if transaction.phase is Phase.ISSUED:
        if transaction.not_after is not None and transaction.not_after <= context.clock():
            reason = "the shadow has expired"
    elif transaction.endpoint != context.endpoint:
        reason = "the authority's URL changed since the request was made"
    elif transaction.started_at + context.authority.poll_limit < context.clock():
        reason = "the CA did not answer within poll_limit"
    if reason is None:
        return transaction
    _abandon(context, reason, "abandoned")
    return None


def _still_holds(context: Context, transaction: Transaction) -> bool:
    """Now and then: is the CA that the shadow waits for still the one announced? If it was replaced, begin anew.

    A CA that cannot be asked, or announces nothing at the moment, changes nothing. False: this was not the time
    to look, or there was nobody to see.
    """
    now = context.clock()
    checked_at, switch_at = transaction.checked_at or transaction.started_at, transaction.switch_at
    if switch_at is None or not policy.look_at_staged_again(checked_at, switch_at, now):
        return False
    context.rollover.write(transaction.at(transaction.phase, checked_at=now))
    try:
        successor = context.authorities.successor(context.definition.authority, now)
    except TransientError:
        return False
    if successor is None:
        return False
    shadow = x509.load_der_x509_certificate(transaction.certificate)
    if not facts.issued_by(shadow, successor.believed.issuer):
        _abandon(context, "the CA announces another next CA than before", "abandoned")
    return True


def _abandon(context: Context, reason: str, event: str) -> None:
    transaction = context.rollover.open()
    if transaction is None:
        return
    context.log(f"the rollover is begun anew: {reason}")
    activation.close(replace(context, journal=context.rollover), transaction, event, reason)


def _failed(context: Context, track: Track, error: CertagentError) -> Track:
    """Count it, tell it, and set the time of the next attempt by what is left of the CA's life."""
    now, failures = context.clock(), track.failures + 1
    transaction = context.rollover.open()
    if isinstance(error, AbandonedError | RejectedError):
        _abandon(context, str(error), "rejected" if isinstance(error, RejectedError) else "abandoned")
    context.log(f"rollover: {with_hint(str(error), error.hint)}")
    context.note("failed", transaction, str(error))
    context.tell("failed", transaction, failures)
    return Track(
        failures=failures,
        retry_at=policy.backoff(error.kind, failures, context.rules().ca, now),
        last_error=state.LastError.of(error, now),
    )
