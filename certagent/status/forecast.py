"""What lies ahead of each keystore: the decisions of `policy`, made again and again at the times they name. Pure.

Where the future rests on others it is assumed that the CA goes on as it does: each successor lives as long as the
certificate in place, cut off at its CA's end, and a next CA that is known takes over when it said it would. A next
CA that is not known yet ends the view at the end of the present one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from certagent import policy
from certagent.policy import Action, Decision, Lifetime, Open, Past
from certagent.status.rollover import Ca, RolloverStatus, Shadow
from certagent.status.snapshot import Snapshot
from certagent.text import date, span
from certagent.transaction.context import open_of

LIMIT = 24
"""So many steps of one keystore are foretold; certificates of seconds would fill a year with millions."""

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class What(StrEnum):
    """What happens; the first seven are the agent's actions."""

    ENROLL = "enroll"
    RENEW = "renew"
    POLL = "poll"
    RESUME = "resume"
    HOOKS = "hooks"
    ROLLOVER = "rollover"
    SWITCH = "switch"
    EXPIRES = "expires"  # the certificate, without a successor
    CA_EXPIRES = "CA expires"
    AND_SO_ON = "and so on"


@dataclass(frozen=True)
class Event:
    """One thing ahead. `assumed`: it rests on certificates that are not there yet; `bad`: let it not come to that."""

    at: datetime
    keystore: str
    what: What
    detail: str
    assumed: bool = False
    bad: bool = False


def events(snapshots: Iterable[Snapshot], until: datetime, now: datetime) -> list[Event]:
    """Everything that happens after `now` and not after `until`, in order; what is due already happens at `now`.

    With a clock that cannot be believed nothing happens.
    """
    if not policy.clock_is_sane(now):
        return []
    found = [event for each in snapshots for event in _of(each, until, now)]
    return sorted(found, key=lambda event: event.at)


def horizon(snapshots: Iterable[Snapshot], now: datetime) -> datetime:
    """How far to look unless told: two lifetimes of the longest-lived certificate, and over a change of CA begun."""
    furthest = []
    for each in snapshots:
        if each.certificate is not None:
            furthest.append(_after(now, 2 * _length(each.certificate.lifetime)))
        if each.road is not None and each.road.begun and each.road.ca is not None:
            furthest.append(each.road.ca.lifetime.not_after)
    return max(furthest, default=now + timedelta(days=1))


def _length(lifetime: Lifetime) -> timedelta:
    return lifetime.not_after - lifetime.not_before


def _after(moment: datetime, length: timedelta) -> datetime:
    """`moment + length`, or the end of time: a certificate without an end is written 9999-12-31."""
    return moment + length if length < _END_OF_TIME - moment else _END_OF_TIME


def _of(it: Snapshot, until: datetime, now: datetime) -> Iterator[Event]:
    walk = _Walk(it, now)
    for _ in range(LIMIT):
        decision = walk.decide()
        if decision is None or decision.at is None or decision.action is None:
            yield from walk.end(until, now)
            break
        if decision.at > until:
            break
        yield walk.step(decision.action, max(decision.at, now))
    else:
        decision = walk.decide()
        if decision is not None and decision.at is not None and decision.at <= until:
            detail = f"every {span(decision.at - walk.at)}"
            yield Event(decision.at, it.name, What.AND_SO_ON, detail, assumed=True)
    yield from walk.ends_of_cas(until, now)


class _Walk:
    """One keystore's way ahead: what is there at the moment `at`."""

    def __init__(self, it: Snapshot, now: datetime) -> None:
        self.at = now
        self._it = it
        self._road = it.road or RolloverStatus()
        self._lifetime = it.certificate.lifetime if it.certificate else None
        self._transaction = open_of(it.transaction)
        self._past = it.past
        self._ca = it.rules.ca
        self._next_ca = self._road.next_ca
        self._shadow = self._road.shadow
        self._preparation = self._road.preparation
        self._road_past = self._road.past
        self._under = self._road.ca
        self._ended: list[Ca] = []  # left behind by a switch
        # Of those there are: one may be cut off at its CA's end.
        there = [each for each in (self._lifetime, self._shadow and self._shadow.lifetime) if each]
        self._length = max((_length(each) for each in there), default=timedelta(0))
        self._assumed = False
        self._identity_waits = it.next_action is None  # for a person
        self._road_waits = it.next_action is None

    def decide(self) -> Decision | None:
        """What comes next, by the worker's own rules; None: nothing that can be foreseen."""
        switch_at = self._preparation.switch_at if self._preparation else None
        rules = replace(self._it.rules, ca=self._ca, switch_at=switch_at)
        nothing = Decision(None, None, "")
        one = other = nothing
        if not self._identity_waits:
            one = policy.decide(self._lifetime, self._transaction, self._past, rules, self.at)
            if one.action is Action.RENEW and self._ends_with_its_ca():
                one = nothing
        if self._transaction is None and not self._road_waits:
            other = policy.decide_rollover(self._lifetime, self._preparation, self._road_past, rules, self.at)
        decision = policy.sooner(one, other, self.at)
        return None if decision.action is None else decision

    def _ends_with_its_ca(self) -> bool:
        ends = self._lifetime.not_after if self._lifetime else self.at
        return self._ca is not None and ends >= self._ca.not_after

    def step(self, action: Action, at: datetime) -> Event:
        """Let it happen at `at`."""
        certain = action is Action.SWITCH and self._shadow is not None and self._shadow.serial != ""
        assumed, self.at = self._assumed and not certain, at
        if self._transaction is None and action in (Action.POLL, Action.RESUME, Action.ROLLOVER):
            detail = self._along_the_road(action)
        elif action is Action.SWITCH:
            detail = self._switch()
        else:
            detail = self._identity(action)
        return Event(at, self._it.name, What(action.value), detail, assumed=assumed)

    def _identity(self, action: Action) -> str:
        failed = self._past.failures and self._past.retry_at == self.at
        again = f"again, after {_times(self._past.failures)}" if failed else ""
        transaction = self._it.transaction
        self._transaction, self._past = None, Past()
        if action is Action.POLL:
            self._identity_waits = True
            return again or "asks whether the CA has decided"
        if action is Action.HOOKS:
            return again or "post hooks that are owed"
        if self._lifetime is None:
            self._identity_waits = self._road_waits = True  # how long the first one will live is the CA's secret
            return again or "the first certificate"
        if self._ca is None and self._next_ca is not None and self._shadow is None:
            self._change_ca()  # the authority has another CA already
        self._lifetime = self._issue(self.at, self._under)
        self._assumed = True
        if self._under is not None:
            self._ca = self._under.lifetime
        verb = (
            f"goes on with the {transaction.kind.value}" if action is Action.RESUME and transaction else "a successor"
        )
        return again or f"{verb}, until {date(self._lifetime.not_after, self.at)}"

    def _along_the_road(self, action: Action) -> str:
        failed = self._road_past.failures and self._road_past.retry_at == self.at
        again = f"again, after {_times(self._road_past.failures)}: " if failed else ""
        self._road_past = Past()
        if action is Action.POLL:
            self._road_waits = True
            return f"{again}asks whether the next CA has decided"
        if self._next_ca is None:
            self._road_waits = True
            return f"{again}asks for the next CA, and for a shadow under it"
        starts = max(self.at, self._next_ca.lifetime.not_before)
        self._shadow = Shadow("", self._issue(starts, self._next_ca))
        self._preparation = Open(switch_at=starts)
        self._assumed = True
        return f"{again}asks for a shadow under {self._next_ca.subject}"

    def _switch(self) -> str:
        if self._shadow is None:
            raise AssertionError  # there is no switch without one
        under = f", under {self._next_ca.subject}" if self._next_ca else ""
        self._lifetime, self._assumed = self._shadow.lifetime, not self._shadow.serial
        self._change_ca()
        self._ca = self._under.lifetime if self._under else None
        self._shadow = self._preparation = None
        self._identity_waits = self._road_waits = False
        self._past = self._road_past = Past()
        return f"its shadow takes over{under}"

    def _change_ca(self) -> None:
        self._ended += [self._under] if self._under else []
        self._under, self._next_ca = self._next_ca, None

    def _issue(self, starts: datetime, ca: Ca | None) -> Lifetime:
        ends = _after(starts, self._length)
        return Lifetime(starts, min(ends, ca.lifetime.not_after) if ca else ends)

    def end(self, until: datetime, now: datetime) -> Iterator[Event]:
        """The certificate that nothing foreseeable follows."""
        if self._lifetime is None or not now < self._lifetime.not_after <= until:
            return
        detail = "with its CA: a next one must be there before" if self._ends_with_its_ca() else "without a successor"
        yield Event(self._lifetime.not_after, self._it.name, What.EXPIRES, detail, assumed=self._assumed, bad=True)

    def ends_of_cas(self, until: datetime, now: datetime) -> Iterator[Event]:
        """CAs that end: those left behind leave what is trusted."""
        behind = [*self._ended, *self._road.old]
        cas = dict.fromkeys([*behind, *([self._under] if self._under else [])])
        for ca in cas:
            if now < ca.lifetime.not_after <= until:
                bad = ca not in behind
                detail = f"{ca.subject}{'' if bad else ', trusted no more'}"
                yield Event(ca.lifetime.not_after, self._it.name, What.CA_EXPIRES, detail, bad=bad)


def _times(failures: int) -> str:
    return "a failure" if failures == 1 else f"{failures} failures"
