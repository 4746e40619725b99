"""What happens next, and when: pure decisions. Values and `now` in, answer out; no clock, no file, no network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from certagent.config.values import Fraction, Threshold
from certagent.config.windows import next_opening, shown
from certagent.lifetime import (
    Arrival,
    Lifetime,
    Rules,
    another_share,
    arrival,
    as_any_other,
    came_late,
    fits,
    jitter_share,
    lifetime_of,
    only_later,
    renew_at,
)
from certagent.moments import later
from certagent.pauses import backoff, poll_pause

__all__ = [
    "Action",
    "Arrival",
    "Condition",
    "Decision",
    "Lifetime",
    "Open",
    "Past",
    "Rules",
    "another_share",
    "arrival",
    "as_any_other",
    "ask_again_for_next_ca",
    "backoff",
    "came_late",
    "clock_is_sane",
    "comes_back",
    "condition",
    "decide",
    "decide_rollover",
    "fits",
    "is_expiring",
    "jitter_share",
    "lifetime_of",
    "look_at_staged_again",
    "next_ca_is_late",
    "only_later",
    "opening",
    "passes_over_hours",
    "pause_ends",
    "poll_pause",
    "renew_at",
    "rollover_begins",
    "serves_until",
    "sooner",
    "takes_over",
    "wait",
    "window_begins",
]

# Older than this release: no certificate made with it can be older. A device that boots without a
# battery-backed clock shows 1970 or its firmware's date.
_RELEASED = datetime(2026, 11, 1, tzinfo=UTC)
_FAR = datetime(9000, 1, 1, tzinfo=UTC)

# Not all devices ask for the next CA in the moment when its window opens, but within this time, or the window's first
# quarter.
_ROLLOVER_SPREAD = timedelta(days=30)
_ROLLOVER_FALLBACK = Threshold(passed=Fraction(0.8))  # if `rollover_at` does not fit into the CA's lifetime

_SOONEST = timedelta(seconds=1)

# At least this long before the certificate in place ends, it has a successor that the consumer knows, whatever
# `activate_in` says: a consumer may take a while, and so may a second try.
_MARGIN = timedelta(hours=1)

# The longest pause between two looks for a next CA.
_LONGEST_WAIT = timedelta(days=1)


class Condition(StrEnum):
    """The `state` of a keystore, as users see it."""

    MISSING = "missing"
    VALID = "valid"
    DUE = "due"
    READY = "ready"  # its successor is there, and waits for its time window
    PENDING = "pending"
    STAGED = "staged"
    FAILED = "failed"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    REVOKED = "revoked"


class Action(StrEnum):
    """The `next_action` users see."""

    ENROLL = "enroll"
    RENEW = "renew"
    POLL = "poll"
    RESUME = "resume"
    HOOKS = "hooks"
    ROLLOVER = "rollover"  # ask for the next CA, and for a shadow under it
    SWITCH = "switch"  # the next CA takes over: the shadow becomes the identity


class Open(Struct, frozen=True):
    """An open transaction, as far as it affects the next step.

    `poll_at` set: the CA has not decided yet. `switch_at` set: a rollover's shadow is complete, and waits until then.
    `begins_at` set: the successor is there, and the certificate in place serves until the successor becomes valid.
    `is_switch`: it makes such a shadow the identity. `is_put_back`: the old identity was put back, its hooks are owed.
    `poll_wait`: how long the CA asked us to wait.
    `keeps_hours`: the next step is a swap, or hooks, which keep to `activate_in`; `until` is the end of the
    certificate that the consumer still has while hooks wait.
    """

    poll_at: datetime | None = None
    hooks_owed: bool = False
    switch_at: datetime | None = None
    is_switch: bool = False
    is_put_back: bool = False
    begins_at: datetime | None = None
    keeps_hours: bool = False
    until: datetime | None = None
    poll_wait: timedelta | None = None


class Past(Struct, frozen=True):
    """How earlier attempts went: certagent tries nothing by itself before `retry_at`. `kind`: of the newest error;
    `wait`: how long the other side asked us to wait when it failed.
    """

    failures: int = 0
    retry_at: datetime | None = None
    kind: str = ""
    wait: timedelta | None = None


class Decision(Struct, frozen=True):
    """What comes next and when; `action` is None if somebody has to act first.

    `waits`: everything is ready, and it only waits for its time window in `activate_in`.
    """

    action: Action | None
    at: datetime | None
    reason: str
    waits: bool = False

    def is_due(self, now: datetime) -> bool:
        return self.action is not None and self.at is not None and self.at <= now


def clock_is_sane(now: datetime) -> bool:
    """Whether the clock can be right at all; until then certagent neither judges nor requests certificates."""
    return _RELEASED <= now < _FAR


def decide(lifetime: Lifetime | None, transaction: Open | None, past: Past, rules: Rules, now: datetime) -> Decision:
    """What the keystore needs next. An open transaction comes first, unless it only owes hooks and a renewal is due."""

    def after_backoff(moment: datetime) -> datetime:
        return max(moment, pause_ends(past, lifetime, now) or moment)

    renewal_at = renew_at(lifetime, rules) if lifetime else None
    if transaction is not None:
        if transaction.poll_at is not None:
            poll_at = _poll_at(transaction, rules, lifetime, now)
            return Decision(Action.POLL, after_backoff(poll_at), "the CA has not decided yet")
        if not transaction.hooks_owed:
            begins = max(transaction.begins_at or now, now)
            reason = "a transaction is open" if begins == now else "the successor is not valid yet"
            begins_at = after_backoff(begins)
            return wait(transaction, begins_at, lifetime, rules) or Decision(Action.RESUME, begins_at, reason)
        if renewal_at is None or renewal_at > now:
            begins_at = after_backoff(now)
            owed = Decision(Action.HOOKS, begins_at, "hooks have yet to run")
            return wait(transaction, begins_at, lifetime, rules) or owed
    if lifetime is None or renewal_at is None:
        if rules.can_enroll:
            return Decision(Action.ENROLL, after_backoff(now), "there is no certificate yet")
        return Decision(None, None, "there is no certificate, and no subject or san to request one with")
    reason = "a first certificate's own moment" if rules.spreads_first else "the renewal threshold"
    if lifetime.not_after <= now:
        reason = "the certificate has expired"
    if rules.arrival is not None and rules.arrival.again_after is not None and lifetime.not_after > now:
        reason = "the last renewal did not extend the certificate's life"
    return Decision(Action.RENEW, after_backoff(renewal_at), reason)


def wait(transaction: Open, moment: datetime, lifetime: Lifetime | None, rules: Rules) -> Decision | None:
    """What follows if a swap, or its hooks, could happen at `moment` but waits for its window; None if nothing waits.

    `lifetime`: of the certificate in place; without one, nothing waits.
    """
    if not transaction.keeps_hours or lifetime is None:
        return None
    opens = opening(moment, serves_until(transaction, lifetime), rules)
    if opens <= moment:
        return None
    if transaction.hooks_owed:
        return Decision(Action.HOOKS, opens, f"hooks have yet to run, and wait for {shown(opens)}", waits=True)
    if transaction.switch_at is not None:
        return Decision(Action.SWITCH, opens, f"the shadow is ready, and waits for {shown(opens)}", waits=True)
    return Decision(Action.RESUME, opens, f"the successor is ready, and waits for {shown(opens)}", waits=True)


def serves_until(transaction: Open, lifetime: Lifetime) -> datetime:
    """When the first of the certificates ends that are in use while the transaction waits."""
    return lifetime.not_after if transaction.until is None else min(transaction.until, lifetime.not_after)


def opening(moment: datetime, serves_until: datetime, rules: Rules) -> datetime:
    """When a swap, or its hooks, that could happen at `moment` may: in a window of `activate_in`; but at once if the
    certificate that serves until then, or its CA, would end before the window or shortly after.
    """
    if not rules.activate_in:
        return moment
    opens = next_opening(rules.activate_in, moment)
    end = min(serves_until, rules.ca.not_after) if rules.ca is not None else serves_until
    return opens if later(opens, _MARGIN) <= end else moment


def passes_over_hours(moment: datetime, serves_until: datetime, rules: Rules) -> bool:
    """Whether what happens at `moment` happens outside its hours, because the certificate would end first."""
    if not rules.activate_in or opening(moment, serves_until, rules) > moment:
        return False
    return next_opening(rules.activate_in, moment) > moment


def comes_back(in_place: Lifetime, kept: Lifetime, now: datetime) -> bool:
    """Whether the pair from before takes its place again: it is valid, and what followed it is not."""
    return clock_is_sane(now) and kept.is_valid(now) and not in_place.is_valid(now)


def takes_over(begins: datetime | None, old_not_after: datetime | None) -> datetime | None:
    """When a successor takes the place of the old certificate: at once (None) if there is nothing to wait for, and
    never after the old certificate's end. `begins` is the start of the successor's validity."""
    return min(begins, old_not_after) if begins is not None and old_not_after is not None else None


def rollover_begins(lifetime: Lifetime, ca: Lifetime, rules: Rules) -> datetime:
    """When to ask for the next CA: in the CA's rollover window, or when the CA's end would shorten a renewal."""
    window = window_begins(ca, rules.rollover_at)
    if rules.jitter and rules.rollover_at.passed is not None:
        spread = min((ca.not_after - window) / 4, _ROLLOVER_SPREAD)
        window = later(window, spread * another_share(rules.share, "rollover"))
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
    """What a rollover to the next CA needs next."""
    if preparation is not None and preparation.switch_at is not None:
        ready = replace(preparation, keeps_hours=True)
        takes_over = Decision(Action.SWITCH, preparation.switch_at, "the next CA takes over")
        return wait(ready, max(preparation.switch_at, now), lifetime, rules) or takes_over

    def after_backoff(moment: datetime) -> datetime:
        return max(moment, pause_ends(past, rules.ca, now) or moment)

    if preparation is not None:
        if preparation.poll_at is not None:
            poll_at = _poll_at(preparation, rules, rules.ca, now)
            return Decision(Action.POLL, after_backoff(poll_at), "the next CA has not decided yet")
        return Decision(Action.RESUME, after_backoff(now), "a rollover is being prepared")
    if lifetime is None or rules.ca is None:
        return Decision(None, None, "the CA that issued the certificate is not known")
    return Decision(Action.ROLLOVER, after_backoff(rollover_begins(lifetime, rules.ca, rules)), "the CA expires soon")


def pause_ends(past: Past, lifetime: Lifetime | None, now: datetime) -> datetime | None:
    """When certagent may try again by itself after a failed attempt; None if there is no pause.

    A pause that ends later than the same pause started now was set while the clock was ahead, so it is over.
    `lifetime`: of the certificate, or for a rollover of the CA, that the pause was computed from.
    """
    if past.retry_at is None:
        return None
    if past.failures:
        latest = backoff(past.kind, past.failures, lifetime, now, past.wait, share=1.0)
    else:
        latest = later(now, _LONGEST_WAIT) if lifetime is None else ask_again_for_next_ca(lifetime, now)
    return past.retry_at if past.retry_at <= latest else None


def _poll_at(pending: Open, rules: Rules, lifetime: Lifetime | None, now: datetime) -> datetime:
    """When to poll; at once if the planned time is further away than the configured rhythm allows."""
    poll_at = pending.poll_at or now
    pause = poll_pause(rules.poll_interval, pending.poll_wait, lifetime, now, share=1.0)
    return poll_at if poll_at <= later(now, pause) else now


def sooner(one: Decision, other: Decision, now: datetime) -> Decision:
    """Whichever comes first. In a draw, such as when both are due, a switch, which a worker does first; else `one`."""
    if one.at is None or one.action is None:
        return other if other.action is not None else one
    if other.at is None or other.action is None:
        return one
    if max(one.at, now) == max(other.at, now):
        return other if other.action is Action.SWITCH else one
    return other if other.at < one.at else one


def ask_again_for_next_ca(ca: Lifetime, now: datetime) -> datetime:
    """When to look again for a next CA that does not exist yet."""
    return later(now, min(max(ca.remaining(now) / 24, _SOONEST), _LONGEST_WAIT))


def next_ca_is_late(ca: Lifetime, now: datetime) -> bool:
    """Whether it is time to warn that no next CA has been announced."""
    return ca.remaining_share(now) < 0.1


def look_at_staged_again(checked_at: datetime, switch_at: datetime, now: datetime) -> bool:
    """Whether to check again that a shadow's next CA is still the one announced: daily, or sooner near the switch."""
    if checked_at > now:
        return True  # the clock was ahead then
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
    """The one word for how a keystore is; whatever needs action by somebody comes first."""
    if lifetime is not None and not lifetime.is_valid(now):
        return Condition.EXPIRED if lifetime.not_after <= now else Condition.NOT_YET_VALID
    if past.failures:
        return Condition.FAILED
    is_pending = transaction is not None and transaction.poll_at is not None
    if is_pending or lifetime is None:
        return Condition.PENDING if is_pending else Condition.MISSING
    if staged:
        return Condition.STAGED
    is_ready = transaction is not None and transaction.keeps_hours and not transaction.hooks_owed
    if is_ready and rules.activate_in:
        return Condition.READY
    return Condition.DUE if renew_at(lifetime, rules) <= now else Condition.VALID


def is_expiring(lifetime: Lifetime, told_at: datetime | None, now: datetime) -> bool:
    """Whether to run the `expiring` hook: under a tenth of the life is left; run once per half of the rest."""
    if lifetime.remaining_share(now) > 0.1:
        return False
    if told_at is None or told_at < lifetime.not_before or told_at > now:
        return True
    rest_then = lifetime.not_after - told_at
    return timedelta(0) < rest_then and lifetime.not_after - now <= rest_then / 2 and now < lifetime.not_after
