"""When, and what next: pure decisions. Values and `now` in, answer out; no clock, no file, no network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from certagent.config.values import Fraction, Threshold
from certagent.moments import Moment, later

if TYPE_CHECKING:
    from cryptography import x509

# Older than this release: no certificate made with it can be older. A device that boots without a
# battery-backed clock shows 1970 or its firmware's date.
_RELEASED = datetime(2026, 11, 1, tzinfo=UTC)
_FAR = datetime(9000, 1, 1, tzinfo=UTC)

# Used in place of a `renew_at` that the certificate's lifetime has no room for.
_FALLBACK = Threshold(passed=Fraction(2 / 3))
_ROLLOVER_FALLBACK = Threshold(passed=Fraction(0.8))

# How a certificate's remaining life divides into attempts, and the slowest rhythm: (first, share, longest).
_RHYTHM: dict[str, tuple[timedelta, int, timedelta]] = {
    "rejected": (timedelta(minutes=15), 8, timedelta(days=1)),
    # Never blindly: an alarm each time, and rarely. But a router nobody visits must heal when its CA does.
    "trust": (timedelta(minutes=15), 8, timedelta(days=1)),
    # Each new attempt costs the CA a certificate.
    "probe": (timedelta(minutes=15), 8, timedelta(days=1)),
}
_USUAL = (timedelta(seconds=30), 24, timedelta(hours=6))
_SOONEST = timedelta(seconds=1)

# After a renewal that gained nothing: so many more, evenly, in what is left of the life.
_FRUITLESS = 5
# No pause between two looks for a next CA is longer.
_LONGEST_WAIT = timedelta(days=1)


class Condition(StrEnum):
    """The `state` of a keystore, as users see it."""

    MISSING = "missing"
    VALID = "valid"
    DUE = "due"
    PENDING = "pending"
    STAGED = "staged"
    FAILED = "failed"
    EXPIRED = "expired"


class Action(StrEnum):
    """The `next_action` users see."""

    ENROLL = "enroll"
    RENEW = "renew"
    POLL = "poll"
    RESUME = "resume"
    HOOKS = "hooks"
    ROLLOVER = "rollover"  # ask for the next CA, and for a shadow under it
    SWITCH = "switch"  # the next CA takes over: the shadow becomes the identity


@dataclass(frozen=True)
class Lifetime:
    """The validity of a certificate."""

    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Lifetime:
        return cls(certificate.not_valid_before_utc, certificate.not_valid_after_utc)

    @property
    def length(self) -> timedelta:
        """Nothing for one that ends before it begins."""
        return max(self.not_after - self.not_before, timedelta(0))

    def remaining(self, now: datetime) -> timedelta:
        return max(self.not_after - now, timedelta(0))

    def remaining_share(self, now: datetime) -> float:
        """1 for a new certificate, 0 for an expired one."""
        whole = self.length.total_seconds()
        return min(1.0, self.remaining(now).total_seconds() / whole) if whole > 0 else 0.0


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """When certagent put the certificate in place, which its serial number and its end tell from others.

    `again_after`: it ends with its predecessor; after so long the CA is asked for a better one. Else None.
    """

    serial: str
    at: Moment
    not_after: Moment
    again_after: timedelta | None = None


@dataclass(frozen=True)
class Rules:
    """What the definition says about when: `share` is this keystore's own part of the jitter, 0 to 1.

    `ca`: the life of the CA that issued the certificate in place, where it is known to be the authority's.
    `switch_at`: when a staged shadow becomes the identity. `arrival`: of the certificate in place, if certagent put
    it there.
    """

    renew_at: Threshold
    jitter: Fraction
    share: float
    can_enroll: bool
    ca: Lifetime | None = None
    rollover_at: Threshold = _ROLLOVER_FALLBACK
    switch_at: datetime | None = None
    arrival: Arrival | None = None
    poll_interval: timedelta = timedelta(minutes=5)


@dataclass(frozen=True)
class Open:
    """An open transaction, as far as it bears on what is next.

    `poll_at` set: the CA has not decided yet. `switch_at` set: a rollover's shadow is complete, and waits for that.
    `is_switch`: it makes such a shadow the identity. `is_put_back`: the old identity was put back, its hooks are owed.
    """

    poll_at: datetime | None = None
    hooks_owed: bool = False
    switch_at: datetime | None = None
    is_switch: bool = False
    is_put_back: bool = False


@dataclass(frozen=True)
class Past:
    """How the attempts before went: nothing is tried by itself before `retry_at`. `kind`: of the newest error."""

    failures: int = 0
    retry_at: datetime | None = None
    kind: str = ""


@dataclass(frozen=True)
class Decision:
    """What comes next and when; `action` None: nothing can be done without a person."""

    action: Action | None
    at: datetime | None
    reason: str

    def is_due(self, now: datetime) -> bool:
        return self.action is not None and self.at is not None and self.at <= now


def lifetime_of(certificate: x509.Certificate | None) -> Lifetime | None:
    return None if certificate is None else Lifetime.of(certificate)


def clock_is_sane(now: datetime) -> bool:
    """Whether the clock can be believed at all: certificates are neither judged nor asked for before."""
    return _RELEASED <= now < _FAR


def jitter_share(keystore: str, host: str) -> float:
    """A number in [0, 1), fixed for a keystore on a host, so that a fleet does not renew at one moment."""
    digest = hashlib.sha256(f"{host}\0{keystore}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def renew_at(lifetime: Lifetime, rules: Rules) -> datetime:
    """When this certificate is to be renewed.

    One that ends with its CA gains nothing by a renewal: the next would end then as well, and each come sooner.
    Neither does one whose successor under the next CA is about to take over anyway. One that certagent put in place
    stays there for a while, however late in its life it came.
    """
    start, end = lifetime.not_before, lifetime.not_after
    if end <= start or (rules.ca is not None and end >= rules.ca.not_after):
        return end
    moment = _after_arrival(lifetime, rules.arrival, rules) if rules.arrival else _passed(lifetime, rules)
    switch = rules.switch_at
    if switch is not None and moment <= switch and switch - moment <= end - switch:
        # Should the switch not come about, as much time is left as it was waited for, or half of that.
        return switch + (end - switch) / 2
    return moment


def _passed(lifetime: Lifetime, rules: Rules) -> datetime:
    """The threshold in this lifetime, this keystore's part of the jitter earlier."""
    start, end = lifetime.not_before, lifetime.not_after
    threshold = rules.renew_at if fits(rules.renew_at, lifetime) else _FALLBACK
    moment = threshold.moment(start, end)
    # Never down to the start: a jitter as large as the threshold would renew what has just been issued.
    earlier = min((end - start) * float(rules.jitter), (moment - start) / 2)
    return moment - earlier * rules.share


def _after_arrival(lifetime: Lifetime, arrival: Arrival, rules: Rules) -> datetime:
    """The same for one that came late in its life, as from a CA that dates back: by its own threshold it would be
    renewed at once, and so would each successor. What was left when it came is its life then."""
    left = Lifetime(arrival.at, lifetime.not_after)
    moment = _passed(lifetime, rules)
    if arrival.again_after is not None:
        moment = min(later(arrival.at, arrival.again_after), lifetime.not_after)
    elif moment - arrival.at < left.length / 10:
        moment = _passed(left, rules) if left.length else lifetime.not_after
    return max(moment, later(arrival.at, _SOONEST))


def came_late(lifetime: Lifetime, rules: Rules) -> bool:
    """Whether the certificate was past its threshold already when certagent put it in place."""
    return lifetime.length > timedelta(0) and rules.arrival is not None and _passed(lifetime, rules) <= rules.arrival.at


def arrival(serial: str, not_after: datetime, before: Arrival | None, now: datetime) -> Arrival:
    """Of a certificate that certagent has just put in place; `before`: of the one that it is a renewal of.

    A renewal gains nothing where the successor ends no later, or hardly, though time has passed. If it was renewed
    again as if it were any other, each pause would be a third of the one before.
    """
    left = not_after - now
    if before is None or now < before.at or left <= timedelta(0):
        return Arrival(serial=serial, at=now, not_after=not_after)
    passed, gained = now - before.at, not_after - before.not_after
    again_after = None
    # Not of one that somebody renewed by hand a moment after the last.
    if passed >= left / 200 and gained < passed / 10:
        again_after = max(left / _FRUITLESS, before.again_after or timedelta(0))
    return Arrival(serial=serial, at=now, not_after=not_after, again_after=again_after)


def fits(threshold: Threshold, lifetime: Lifetime) -> bool:
    """Whether a time before the end leaves at least a tenth of the lifetime; a share always fits.

    `30d` on a certificate of 7 days would renew for ever, and on one of 30 days that its CA dated back by
    a minute just as well.
    """
    start, end = lifetime.not_before, lifetime.not_after
    return threshold.passed is not None or threshold.moment(start, end) - start >= (end - start) / 10


def decide(lifetime: Lifetime | None, transaction: Open | None, past: Past, rules: Rules, now: datetime) -> Decision:
    """What the keystore needs next. An open transaction comes first, unless the identity became due over its hooks."""

    def after_backoff(moment: datetime) -> datetime:
        return max(moment, pause_ends(past, lifetime, now) or moment)

    renewal_at = renew_at(lifetime, rules) if lifetime else None
    if transaction is not None:
        if transaction.poll_at is not None:
            poll_at = _poll_at(transaction.poll_at, rules, now)
            return Decision(Action.POLL, after_backoff(poll_at), "the CA has not decided yet")
        if not transaction.hooks_owed:
            return Decision(Action.RESUME, after_backoff(now), "a transaction is open")
        if renewal_at is None or renewal_at > now:
            return Decision(Action.HOOKS, after_backoff(now), "hooks are owed")
    if lifetime is None or renewal_at is None:
        if rules.can_enroll:
            return Decision(Action.ENROLL, after_backoff(now), "there is no certificate yet")
        return Decision(None, None, "there is no certificate, and no subject to ask for one")
    reason = "the certificate has expired" if lifetime.not_after <= now else "the renewal threshold"
    if rules.arrival is not None and rules.arrival.again_after is not None and lifetime.not_after > now:
        reason = "the last renewal gained nothing"
    return Decision(Action.RENEW, after_backoff(renewal_at), reason)


def rollover_begins(lifetime: Lifetime, ca: Lifetime, rules: Rules) -> datetime:
    """When to ask for the next CA: in the CA's rollover window, or when the CA's end would clip a renewal."""
    window = window_begins(ca, rules.rollover_at)
    renewal = renew_at(lifetime, rules)
    clipped = later(renewal, lifetime.length) > ca.not_after
    return min(window, renewal) if clipped else window


def window_begins(ca: Lifetime, rollover_at: Threshold) -> datetime:
    """When a CA's rollover window opens."""
    threshold = rollover_at if fits(rollover_at, ca) else _ROLLOVER_FALLBACK
    return threshold.moment(ca.not_before, ca.not_after)


def decide_rollover(
    lifetime: Lifetime | None, preparation: Open | None, past: Past, rules: Rules, now: datetime
) -> Decision:
    """What getting across to the next CA needs next."""
    if preparation is not None and preparation.switch_at is not None:
        return Decision(Action.SWITCH, preparation.switch_at, "the next CA takes over")

    def after_backoff(moment: datetime) -> datetime:
        return max(moment, pause_ends(past, rules.ca, now) or moment)

    if preparation is not None:
        if preparation.poll_at is not None:
            poll_at = _poll_at(preparation.poll_at, rules, now)
            return Decision(Action.POLL, after_backoff(poll_at), "the next CA has not decided yet")
        return Decision(Action.RESUME, after_backoff(now), "a rollover is being prepared")
    if lifetime is None or rules.ca is None:
        return Decision(None, None, "the CA above the certificate is not known")
    return Decision(Action.ROLLOVER, after_backoff(rollover_begins(lifetime, rules.ca, rules)), "the CA's end is near")


def pause_ends(past: Past, lifetime: Lifetime | None, now: datetime) -> datetime | None:
    """When the next attempt may be made by itself, after one that came to nothing; None where there is no pause.

    A pause that ends later than the same pause begun now was set while the clock was ahead: it is over.
    `lifetime`: of the certificate, or for a rollover of the CA, that the pause was measured by.
    """
    if past.retry_at is None:
        return None
    if past.failures:
        latest = backoff(past.kind, past.failures, lifetime, now)
    else:
        latest = later(now, _LONGEST_WAIT) if lifetime is None else ask_again_for_next_ca(lifetime, now)
    return past.retry_at if past.retry_at <= latest else None


def _poll_at(poll_at: datetime, rules: Rules, now: datetime) -> datetime:
    """When to poll; at once where the moment is further away than the definition's rhythm lets it be."""
    return poll_at if poll_at <= later(now, rules.poll_interval) else now


def sooner(one: Decision, other: Decision, now: datetime) -> Decision:
    """Whichever comes first. At a draw, as when both are due, a switch: a worker does it before all else; or `one`."""
    if one.at is None or one.action is None:
        return other if other.action is not None else one
    if other.at is None or other.action is None:
        return one
    if max(one.at, now) == max(other.at, now):
        return other if other.action is Action.SWITCH else one
    return other if other.at < one.at else one


def ask_again_for_next_ca(ca: Lifetime, now: datetime) -> datetime:
    """When to look again for a next CA that is not there yet."""
    return later(now, min(max(ca.remaining(now) / 24, _SOONEST), _LONGEST_WAIT))


def next_ca_is_late(ca: Lifetime, now: datetime) -> bool:
    """Whether it is time to tell somebody that no next CA has been announced."""
    return ca.remaining_share(now) < 0.1


def look_at_staged_again(checked_at: datetime, switch_at: datetime, now: datetime) -> bool:
    """Whether to see that the next CA a shadow waits for is still the one announced: daily, or a few times at all."""
    if checked_at > now:
        return True  # by a clock that was ahead
    return now - checked_at >= min(timedelta(days=1), max(switch_at - checked_at, timedelta(0)) / 4)


def condition(
    lifetime: Lifetime | None,
    transaction: Open | None,
    past: Past,
    rules: Rules,
    now: datetime,
    *,
    staged: bool = False,
) -> Condition:
    """The one word for how a keystore is; what a person has to act on comes first."""
    if lifetime is not None and lifetime.not_after <= now:
        return Condition.EXPIRED
    if past.failures:
        return Condition.FAILED
    if transaction is not None and transaction.poll_at is not None:
        return Condition.PENDING
    if lifetime is None:
        return Condition.MISSING
    if staged:
        return Condition.STAGED
    return Condition.DUE if renew_at(lifetime, rules) <= now else Condition.VALID


def backoff(kind: str, failures: int, lifetime: Lifetime | None, now: datetime) -> datetime:
    """When to try again after `failures` attempts failed in a row, the last with an error of this kind.

    The wait doubles, but a certificate near its end is still tried a number of times before it.
    """
    first, attempts, longest = _RHYTHM.get(kind, _USUAL)
    wait: timedelta = min(first * (1 << min(max(failures - 1, 0), 20)), longest)
    if lifetime is not None and lifetime.not_after > now:
        wait = min(wait, lifetime.remaining(now) / attempts)
    return later(now, max(wait, _SOONEST))


def is_expiring(lifetime: Lifetime, told_at: datetime | None, now: datetime) -> bool:
    """Whether to run the `expiring` hook: less than a tenth of the life left, told once per half of the rest."""
    if lifetime.remaining_share(now) > 0.1:
        return False
    if told_at is None or told_at < lifetime.not_before or told_at > now:
        return True
    rest_then = lifetime.not_after - told_at
    return timedelta(0) < rest_then and lifetime.not_after - now <= rest_then / 2 and now < lifetime.not_after
