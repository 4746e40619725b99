"""What happens to each keystore in the future: the worker's next step, computed again and again at the times it names.

Where the future depends on others, the CA is assumed to go on as it does: each successor lives as long as the
certificate in place, cut off at its CA's end, and a known next CA takes over when it said it would. If the next
CA is not known yet, the view ends at the end of the present one. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct, structs

from certagent import policy
from certagent.config.windows import shown
from certagent.moments import later
from certagent.policy import Action, Decision, Lifetime, Open, Past
from certagent.state import Ca
from certagent.status.rollover import RolloverStatus, Shadow
from certagent.status.snapshot import Snapshot
from certagent.text import date, span
from certagent.transaction import next_step
from certagent.transaction.next_step import Situation

LIMIT = 24
"""At most this many steps per keystore: certificates that live for seconds would fill a year with millions."""


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
    CRL = "CRL"  # an authority's CRLs are fetched
    AND_SO_ON = "and so on"


_NOTHING_FAILED = Past()
_OF_ACTION = {action: What(action.value) for action in Action}


class Event(Struct, frozen=True):
    """One future event. `assumed`: it depends on certificates that do not exist yet; `bad`: it should not happen.
    `ends`: when the certificate ends that is in place afterwards, if that is known."""

    at: datetime
    keystore: str
    what: What
    detail: str
    assumed: bool = False
    bad: bool = False
    ends: datetime | None = None


def events(snapshots: Iterable[Snapshot], until: datetime, now: datetime) -> list[Event]:
    """Everything that happens after `now` and not after `until`, in order; what is already due happens at `now`.

    If the clock cannot be trusted, nothing happens.
    """
    if not policy.clock_is_sane(now):
        return []
    found = [event for each in snapshots for event in _of(each, until, _begin(each, now))]
    return sorted(found, key=lambda event: event.at)


def _begin(snapshot: Snapshot, now: datetime) -> datetime:
    """When certagent starts to do anything: not before it trusts the clock."""
    doubt = snapshot.situation.doubt
    return now if doubt is None else doubt.until


def horizon(snapshots: Iterable[Snapshot], now: datetime) -> datetime:
    """How far to look by default: two lifetimes of the longest-lived certificate, and past the end of a begun rollover.

    Always after `now`, unless `now` is the last moment there is.
    """
    furthest = [now]
    for each in snapshots:
        if each.certificate is not None:
            furthest.append(later(now, 2 * each.certificate.lifetime.length))
        if each.rollover is not None and each.rollover.begun and each.rollover.ca is not None:
            furthest.append(each.rollover.ca.lifetime.not_after)
    found = max(furthest)
    return found if found > now else later(now, timedelta(days=1))


def _of(it: Snapshot, until: datetime, now: datetime) -> Iterator[Event]:
    future = _Future(it, now)
    for _ in range(LIMIT):
        decision = future.next_step()
        if decision is None or decision.at is None:
            yield from future.end(until, now)
            break
        if decision.at > until:
            break
        yield future.take(decision, max(decision.at, now))
    else:
        decision = future.next_step()
        if decision is not None and decision.at is not None and decision.at <= until:
            at = max(decision.at, future.at)
            yield Event(at, it.name, What.AND_SO_ON, f"every {span(at - future.at)}", assumed=True)
    yield from future.ends_of_cas(until, now)


class _Future:
    """One keystore in the future: its state at the moment `at`."""

    def __init__(self, it: Snapshot, now: datetime) -> None:
        self.at = now
        self._it = it
        self._now = it.situation
        self._rollover = it.rollover or RolloverStatus()
        self._ca = self._rollover.ca
        self._next_ca = self._rollover.next_ca
        self._shadow = self._rollover.shadow
        self._ended: list[Ca] = []  # left behind by a switch
        # Of the existing ones: one may be cut off at its CA's end.
        there = [each for each in (self._now.lifetime, self._shadow and self._shadow.lifetime) if each]
        self._length = max((each.length for each in there), default=timedelta(0))
        self._assumed = False
        self._identity_waits = self._rollover_waits = it.assessment.action is None  # for somebody to act
        self._of_rollover = Decision(None, None, "")

    def next_step(self) -> Decision | None:
        """What comes next, by the worker's own rules; None if nothing can be foreseen."""
        nothing = Decision(None, None, "")
        identity = nothing if self._identity_waits else next_step.identity_step(self._now, self.at)
        if identity.action is Action.RENEW and self._ends_with_its_ca():
            identity = nothing
        self._of_rollover = nothing if self._rollover_waits else next_step.rollover_step(self._now, self.at)
        decision = policy.sooner(identity, self._of_rollover, self.at)
        return None if decision.action is None else decision

    def _ends_with_its_ca(self) -> bool:
        lifetime, ca = self._now.lifetime, self._now.ca
        return ca is not None and (lifetime is None or lifetime.not_after >= ca.not_after)

    def take(self, decision: Decision, at: datetime) -> Event:
        """Let the step happen at `at`."""
        action = decision.action
        if action is None:
            raise AssertionError  # not a step
        certain = action is Action.SWITCH and self._shadow is not None and self._shadow.serial != ""
        assumed, self.at = self._assumed and not certain, at
        if action is Action.SWITCH:
            detail = self._switch()
        elif decision is self._of_rollover:
            detail = self._prepare(action)
        else:
            detail = self._identity(action)
        if decision.waits:
            detail = f"in its window, {shown(at)}: {detail}"
        ends = self._now.lifetime.not_after if self._now.lifetime else None
        return Event(at, self._it.name, _OF_ACTION[action], detail, assumed=assumed, ends=ends)

    def _identity(self, action: Action) -> str:
        past, transaction = self._now.past, self._it.transaction
        again = f"again, after {_times(past.failures)}" if past.failures and past.retry_at == self.at else ""
        opened = self._now.transaction or Open()
        if self._now.transaction is not None or past != _NOTHING_FAILED or self._now.revoked is not None:
            self._now = structs.replace(self._now, transaction=None, past=_NOTHING_FAILED, revoked=None)
        if action is Action.RENEW and self._waits_for_its_hour():
            return again or "asks for a new certificate, which waits for its window"
        if action is Action.POLL:
            self._identity_waits = True
            return again or "asks whether the CA has decided"
        if action is Action.HOOKS or opened.is_put_back:
            return again or "post hooks that have yet to run"
        if self._now.lifetime is None:
            self._identity_waits = self._rollover_waits = True  # only the CA knows how long the first one will live
            return again or "the first certificate"
        changed = self._now.ca is None and self._shadow is None  # the authority has another CA already
        if self._next_ca is not None and (changed or opened.is_switch):
            self._change_ca()
        lifetime = self._issue(self.at, self._ca)
        ca = self._ca.lifetime if self._ca else self._now.ca
        self._now = structs.replace(self._now, lifetime=lifetime, ca=ca, arrival=None)
        self._assumed = True
        resumed = action is Action.RESUME and transaction is not None and not opened.keeps_hours
        verb = f"continues the {transaction.kind.value}" if resumed and transaction else "a successor"
        return again or f"{verb}, until {date(lifetime.not_after, self.at)}"

    def _waits_for_its_hour(self) -> bool:
        """Whether the existing successor does not take over at once."""
        if not self._now.defined.activate_in:  # true for nearly all, and there may be ten thousand
            return False
        ready = structs.replace(self._now, transaction=Open(keeps_hours=True))
        if not next_step.identity_step(ready, self.at).waits:
            return False
        self._now, self._assumed = ready, True
        return True

    def _prepare(self, action: Action) -> str:
        past = self._now.rollover_past
        again = f"again, after {_times(past.failures)}: " if past.failures and past.retry_at == self.at else ""
        self._now = structs.replace(self._now, rollover_past=Past())
        if action is Action.POLL:
            self._rollover_waits = True
            return f"{again}asks whether the next CA has decided"
        if self._next_ca is None:
            self._rollover_waits = True
            return f"{again}asks for the next CA, and for a shadow under it"
        starts = max(self.at, self._next_ca.lifetime.not_before)
        self._shadow = Shadow("", self._issue(starts, self._next_ca))
        self._now = structs.replace(self._now, rollover=Open(switch_at=starts))
        self._assumed = True
        return f"{again}asks for a shadow under {self._next_ca.subject}"

    def _switch(self) -> str:
        if self._shadow is None:
            raise AssertionError  # there is no switch without one
        under = f", under {self._next_ca.subject}" if self._next_ca else ""
        lifetime, self._assumed = self._shadow.lifetime, not self._shadow.serial
        self._change_ca()
        self._now = Situation(self._now.defined, lifetime, self._ca.lifetime if self._ca else None)
        self._shadow = None
        self._identity_waits = self._rollover_waits = False
        return f"its shadow takes over{under}"

    def _change_ca(self) -> None:
        self._ended += [self._ca] if self._ca else []
        self._ca, self._next_ca = self._next_ca, None

    def _issue(self, starts: datetime, ca: Ca | None) -> Lifetime:
        ends = later(starts, self._length)
        return Lifetime(starts, min(ends, ca.lifetime.not_after) if ca else ends)

    def end(self, until: datetime, now: datetime) -> Iterator[Event]:
        """The end of a certificate if no foreseeable certificate follows it."""
        lifetime = self._now.lifetime
        if lifetime is None or not now < lifetime.not_after <= until:
            return
        detail = "with its CA: a next CA is needed before then" if self._ends_with_its_ca() else "with no next CA known"
        yield Event(lifetime.not_after, self._it.name, What.EXPIRES, detail, assumed=self._assumed, bad=True)

    def ends_of_cas(self, until: datetime, now: datetime) -> Iterator[Event]:
        """CAs that end: the old ones are removed from what is trusted."""
        behind = [*self._ended, *self._rollover.old]
        cas = dict.fromkeys([*behind, *([self._ca] if self._ca else [])])
        for ca in cas:
            if now < ca.lifetime.not_after <= until:
                bad = ca not in behind
                detail = (
                    f"{ca.subject}{'' if bad else ', renewed with its key' if ca.renewed else ', no longer trusted'}"
                )
                yield Event(ca.lifetime.not_after, self._it.name, What.CA_EXPIRES, detail, bad=bad)


def _times(failures: int) -> str:
    return "a failure" if failures == 1 else f"{failures} failures"
