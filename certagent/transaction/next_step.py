"""The condition of a keystore and its next step; no other module decides this. Pure: values and `now` in, answer out.

The worker acts on `identity_step` and `rollover_step`. `assess` combines the two in the order in which the worker
takes them; its result is kept in state.json for the agent, and `status`, `check`, `plan`, `health`, the metrics and
`renew --dry-run` show it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cached_property

from msgspec import Struct, structs

from certagent import policy, state
from certagent.policy import Action, Arrival, Condition, Decision, Lifetime, Open, Past, Rules
from certagent.state import Seen, State
from certagent.text import date, iso, span
from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.wall_clock import Doubt


class Situation(Struct, frozen=True, dict=True):
    """One keystore at one moment, as far as it affects the next step.

    `lifetime`: of the certificate in place; `ca`: of the authority's CA that issued it, None if another CA did.
    `transaction` is the open one, `rollover` the one in preparation; `past` and `rollover_past`: how the attempts at
    each went. `defined`: when to act, as the definition says. `readable` False: some of it could not be read.
    `arrival`: of the certificate in place, None if certagent did not put it there.
    `doubt`: why the clock is not trusted. `revoked`: since when the certificate in place is revoked, if it is.
    """

    defined: Rules
    lifetime: Lifetime | None = None
    ca: Lifetime | None = None
    transaction: Open | None = None
    rollover: Open | None = None
    past: Past = Past()
    rollover_past: Past = Past()
    readable: bool = True
    arrival: Arrival | None = None
    doubt: Doubt | None = None
    revoked: datetime | None = None

    @cached_property  # it is read many times
    def rules(self) -> Rules:
        """The definition's rules, for this CA, this staged shadow, and this certificate's arrival."""
        switch_at = self.rollover.switch_at if self.rollover else None
        return structs.replace(self.defined, ca=self.ca, switch_at=switch_at, arrival=self.arrival)

    @property
    def failures(self) -> int:
        return self.past.failures + self.rollover_past.failures


class Assessment(Struct, frozen=True):
    """`action` None: nothing can be done without a person; `at` may still say when a worker looks again.

    `of_rollover`: the action is the rollover's (its POLL and RESUME have the same words as the identity's). `waits`:
    all is ready, except that the hour has not come.
    """

    condition: Condition
    action: Action | None
    at: datetime | None
    reason: str
    of_rollover: bool = False
    waits: bool = False


def assess(situation: Situation, now: datetime) -> Assessment:
    """The keystore's condition, and what a worker does next."""
    if not situation.readable:
        again = policy.pause_ends(situation.past, situation.lifetime, now)
        return Assessment(Condition.FAILED, None, again, "the files in place cannot be read")
    condition = _condition(situation, now)
    if not policy.clock_is_sane(now):
        return Assessment(condition, None, None, f"the clock says {iso(now)}: nothing is done until it is set")
    if situation.doubt is not None:
        return Assessment(condition, None, situation.doubt.until, situation.doubt.reason)
    rollover = rollover_step(situation, now)
    first = policy.sooner(identity_step(situation, now), rollover, now)
    return Assessment(condition, first.action, first.at, first.reason, first is rollover, first.waits)


def _condition(situation: Situation, now: datetime) -> Condition:
    staged = situation.rollover is not None and situation.rollover.switch_at is not None
    past = Past(situation.failures)
    found = policy.condition(situation.lifetime, situation.transaction, past, situation.rules, now, staged=staged)
    if situation.revoked is not None and found not in (Condition.EXPIRED, Condition.NOT_YET_VALID):
        return Condition.REVOKED
    return found


def at_once(name: str) -> str:
    """How somebody can do at once what waits for its hours."""
    return f"`certagent renew --now {name}` does it at once"


def identity_step(situation: Situation, now: datetime) -> Decision:
    """What the identity in place needs next: an enrollment, a renewal, or the rest of an open transaction."""
    current = situation.transaction
    if situation.revoked is not None and situation.rules.enrolls_revoked and (not current or current.hooks_owed):
        # A renewal signed with a revoked certificate is refused, and hooks cannot help a revoked certificate.
        begins = policy.pause_ends(situation.past, situation.lifetime, now) or now
        return Decision(Action.ENROLL, max(begins, now), "the certificate is revoked")
    return policy.decide(situation.lifetime, situation.transaction, situation.past, situation.rules, now)


def rollover_step(situation: Situation, now: datetime) -> Decision:
    """The next step of the rollover. An open transaction does not stop it, except in two cases."""
    current = situation.transaction
    if current is not None and current.is_switch:
        return Decision(None, None, "the switch to the next CA is in progress")
    if current is not None and current.is_put_back and situation.rollover and situation.rollover.switch_at:
        return Decision(None, None, "the hooks for the restored pair have to run before the switch")
    past, rules = situation.rollover_past, situation.rules
    return policy.decide_rollover(situation.lifetime, situation.rollover, past, rules, now)


def situation_of(
    defined: Rules,
    lifetime: Lifetime | None,
    ca: Lifetime | None,
    *,
    transaction: Transaction | None,
    rollover: Transaction | None,
    past: Past,
    rollover_past: Past,
    arrival: Arrival | None,
) -> Situation:
    """The situation of a keystore that could be read completely. `ca`: see `seen.ca_above`."""
    return Situation(
        defined,
        lifetime,
        ca,
        open_of(transaction),
        rollover_of(rollover),
        past,
        rollover_past,
        arrival=arrival,
    )


def pace_notes(situation: Situation) -> list[str]:
    """Why the certificate in place is not renewed as `renew_at` says, because of what its CA does, and when it is."""
    lifetime, arrival, rules = situation.lifetime, situation.arrival, situation.rules
    if lifetime is None or arrival is None:
        return []
    end = date(lifetime.not_after, arrival.at)
    if arrival.again_after is not None:
        why = f"the new certificate expires no later than the one before, {end}"
        return [f"renewing does not help: {why}; certagent asks the CA again every {span(arrival.again_after)}"]
    if policy.came_late(lifetime, rules):
        left = span(lifetime.not_after - arrival.at)
        what = f"renew_at had already passed when the certificate was issued: it applies to the remaining {left}"
        return [f"{what}, until {end}"]
    return []


def arrival_of_serial(serial: str, not_after: datetime, remembered: Arrival | None, now: datetime) -> Arrival | None:
    """What is remembered, if it is about the certificate with this serial number (in hex) and this end.

    A time in the future was recorded under a wrong clock.
    """
    if remembered is None or remembered.at > now or not remembered.is_of(serial, not_after):
        return None
    return remembered


def open_of(transaction: Transaction | None) -> Open | None:
    """What an open transaction, or a rollover in preparation, means for the next step."""
    if transaction is None:
        return None
    return Open(
        # A refused certificate is not polled for: the pause after a failure says when to ask again.
        poll_at=transaction.poll_at if transaction.phase is Phase.PENDING and not transaction.refused else None,
        hooks_owed=transaction.phase is Phase.ACTIVATED and transaction.kind is not Kind.PUT_BACK,
        is_switch=transaction.kind is Kind.ROLLOVER,
        is_put_back=transaction.phase is Phase.REVERTED or transaction.kind is Kind.PUT_BACK,
        begins_at=begins_at(transaction),
        keeps_hours=_keeps_hours(transaction),
        until=transaction.old_not_after if transaction.phase is Phase.ACTIVATED else None,
        poll_wait=transaction.poll_wait,
    )


def _keeps_hours(transaction: Transaction) -> bool:
    """Whether the next step keeps to `activate_in`: a swap, or hooks, while there is a certificate that serves.

    A compromised key is replaced at once, and putting the old pair back does not wait either.
    """
    if transaction.compromised or transaction.kind is Kind.PUT_BACK:
        return False
    if transaction.phase is Phase.ACTIVATED and transaction.kind is Kind.TRUST:
        return True
    return transaction.phase in (Phase.ISSUED, Phase.ACTIVATED) and transaction.old_not_after is not None


def begins_at(transaction: Transaction) -> datetime | None:
    """When the successor that this transaction holds may take its place; None: at once, or there is none yet."""
    if transaction.phase is not Phase.ISSUED or not transaction.succeeds:
        return None
    return policy.takes_over(transaction.switch_at, transaction.old_not_after)


def rollover_of(transaction: Transaction | None) -> Open | None:
    """As `open_of`, for a rollover in preparation: its shadow, once issued, waits for the switch."""
    found = open_of(transaction)
    if found is None or transaction is None or transaction.phase is not Phase.ISSUED:
        return found
    return structs.replace(found, switch_at=transaction.switch_at)


def somebody_changed(memory: State, digest: str, watched: dict[str, str]) -> bool:
    """Whether a person, or another tool, changed the definition or the files since the last attempt.

    If so, the pause after a failure does not count.
    """
    return memory.definition != digest or state.differ(memory.watched, watched)


def remembered(memory: State, digest: str, authority: str, signatures: Callable[[], dict[str, str]]) -> Seen | None:
    """What was seen, if everything it depends on is unchanged; `signatures` is called only if the rest matches.

    `digest` of the definition and `authority` (`state.signature_of`) are the current ones.
    """
    if memory.seen is None or (memory.definition, memory.authority) != (digest, authority):
        return None
    return memory.seen if memory.watched == signatures() else None
