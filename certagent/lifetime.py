"""A certificate's lifetime, and when in it the certificate is renewed. Pure; other modules use it through `policy`."""

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

import msgspec

from certagent.config.values import Fraction, Threshold
from certagent.config.windows import Window
from certagent.moments import Moment, later

if TYPE_CHECKING:
    from cryptography import x509

# Used when `renew_at` does not fit into the certificate's lifetime.
_FALLBACK = Threshold(passed=Fraction(2 / 3))
_SOONEST = timedelta(seconds=1)

# The first certificate of a keystore is renewed no earlier than this, as a share of the time until its threshold.
_EARLIEST = 0.03

# After a renewal that did not help: this many more, evenly spread over the rest of the life.
_FRUITLESS = 5


class Lifetime(msgspec.Struct, frozen=True):
    """The validity of a certificate."""

    not_before: Moment
    not_after: Moment

    @classmethod
    def of(cls, certificate: "x509.Certificate") -> Self:
        return cls(certificate.not_valid_before_utc, certificate.not_valid_after_utc)

    @property
    def length(self) -> timedelta:
        """Zero for a certificate that ends before it begins."""
        return max(self.not_after - self.not_before, timedelta(0))

    def is_valid(self, now: datetime) -> bool:
        return self.not_before <= now < self.not_after

    def remaining(self, now: datetime) -> timedelta:
        return max(self.not_after - now, timedelta(0))

    def remaining_share(self, now: datetime) -> float:
        """1 for a new certificate, 0 for an expired one."""
        whole = self.length.total_seconds()
        return min(1.0, self.remaining(now).total_seconds() / whole) if whole > 0 else 0.0


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """When certagent put the certificate in place; its serial number and its end tell it from others.

    `not_before` is None if an older certagent, which did not record it, wrote this.
    `again_after`: it ends with its predecessor; after this time the CA is asked for a better one. Else None.
    `first`: of its CA in this keystore; an enrollment or a rollover brought it, not a renewal.
    """

    serial: str
    at: Moment
    not_after: Moment
    not_before: Moment | None = None
    again_after: timedelta | None = None
    first: bool = False

    def is_of(self, serial: str, not_after: datetime) -> bool:
        """Whether it is about the certificate with this serial number (in hex) and this end."""
        return (self.serial, self.not_after) == (serial, not_after)

    def is_valid(self, now: datetime) -> bool:
        """Whether the certificate is valid now, as far as we know."""
        return (self.not_before is None or self.not_before <= now) and now < self.not_after


class Rules(msgspec.Struct, frozen=True):
    """What the definition says about timing: `share` is this keystore's own part of the jitter, 0 to 1.

    `ca`: the lifetime of the CA that issued the certificate in place, if it is known to be the authority's.
    `switch_at`: when a staged shadow becomes the identity. `arrival`: of the certificate in place, if certagent put
    it there. `activate_in`: when swap and hooks may happen; empty for any time.

    With a `jitter` of 0% everything happens exactly when the rules say, pauses after failures included.
    """

    renew_at: Threshold
    jitter: Fraction
    share: float
    can_enroll: bool
    ca: Lifetime | None = None
    rollover_at: Threshold = Threshold(passed=Fraction(0.8))
    switch_at: datetime | None = None
    arrival: Arrival | None = None
    poll_interval: timedelta = timedelta(minutes=5)
    enrolls_revoked: bool = False
    activate_in: tuple[Window, ...] = ()

    @property
    def spreads_first(self) -> bool:
        """Whether the certificate in place is a first one that is renewed at a moment of its own."""
        is_first = self.arrival is not None and self.arrival.first
        return is_first and bool(self.jitter) and self.renew_at.passed is not None

    def pause_share(self, failures: int) -> float | None:
        """This keystore's share for the pause after so many failures, see `policy.backoff`; None without jitter."""
        return another_share(self.share, failures) if self.jitter else None

    def poll_share(self, polls: int) -> float | None:
        """The same for the pause after so many answers that the CA has not decided yet."""
        return another_share(self.share, f"poll {polls}") if self.jitter else None


def lifetime_of(certificate: "x509.Certificate | None") -> Lifetime | None:
    return None if certificate is None else Lifetime.of(certificate)


def jitter_share(keystore: str, host: str) -> float:
    """A number in [0, 1), fixed for a keystore on a host, so that not all hosts renew at the same moment."""
    digest = hashlib.sha256(f"{host}\0{keystore}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def another_share(share: float, what: object) -> float:
    """A number in [0, 1) for something else of the same keystore: independent of `share`, and as fixed."""
    digest = hashlib.sha256(f"{share!r}\0{what}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def renew_at(lifetime: Lifetime, rules: Rules) -> datetime:
    """When this certificate is to be renewed.

    Renewing does not help a certificate that ends with its CA: the next would end then too, and each renewal would come
    sooner. Nor does it help one whose successor under the next CA is about to take over anyway. A certificate that
    certagent put in place stays there for a while, however late in its life it came.
    """
    start, end = lifetime.not_before, lifetime.not_after
    if end <= start or (rules.ca is not None and end >= rules.ca.not_after):
        return end
    moment = _after_arrival(lifetime, rules.arrival, rules) if rules.arrival else _passed(lifetime, rules)
    switch = rules.switch_at
    if switch is not None and moment <= switch and switch - moment <= end - switch:
        # If the switch does not happen, at least half as much time is left as we waited for it.
        return switch + (end - switch) / 2
    return moment


def _passed(lifetime: Lifetime, rules: Rules) -> datetime:
    """The threshold in this lifetime, moved earlier by this keystore's part of the jitter."""
    start, end = lifetime.not_before, lifetime.not_after
    threshold = rules.renew_at if fits(rules.renew_at, lifetime) else _FALLBACK
    moment = threshold.moment(start, end)
    # Never back to the start: a jitter as large as the threshold would renew a certificate that was just issued.
    earlier = min((end - start) * float(rules.jitter), (moment - start) / 2)
    return moment - earlier * rules.share


def _after_arrival(lifetime: Lifetime, arrival: Arrival, rules: Rules) -> datetime:
    """Like `_passed`, for a certificate that came late in its life, for example from a CA that backdates. Its own
    threshold would renew it at once, and each successor too. So the time left when it came counts as its life."""
    left = Lifetime(arrival.at, lifetime.not_after)
    moment = _passed(lifetime, rules)
    if arrival.again_after is not None:
        moment = min(later(arrival.at, arrival.again_after), lifetime.not_after)
    elif moment - arrival.at < left.length / 10:
        moment = _passed(left, rules) if left.length else lifetime.not_after
    elif rules.spreads_first:
        moment = _anywhere(arrival.at, moment, rules)
    return max(moment, later(arrival.at, _SOONEST))


def _anywhere(arrived: datetime, moment: datetime, rules: Rules) -> datetime:
    """This keystore's own moment between the arrival of a first certificate and its renewal.

    Devices that were enrolled together, or changed to the next CA together, would renew together, again and again: the
    jitter alone takes years to part them. Once their first renewals are spread over the whole time, so are all others.
    """
    share = _EARLIEST + (1 - _EARLIEST) * another_share(rules.share, "first")
    return arrived + (moment - arrived) * share


def as_any_other(arrival: Arrival) -> Arrival:
    """The arrival of a certificate that is renewed at its threshold, though it may be a first one."""
    return msgspec.structs.replace(arrival, first=False)


def only_later(lifetime: Lifetime, rules: Rules, now: datetime) -> datetime | None:
    """The threshold of a first certificate whose own moment is before that; None if it is past, or for others.

    Nothing is lost if the CA refuses such an early renewal: some renew only in the last part of a certificate's life.
    """
    if rules.arrival is None or not rules.spreads_first:
        return None
    moment = renew_at(lifetime, msgspec.structs.replace(rules, arrival=as_any_other(rules.arrival)))
    return moment if now < moment else None


def came_late(lifetime: Lifetime, rules: Rules) -> bool:
    """Whether the certificate was already past its threshold when certagent put it in place."""
    return lifetime.length > timedelta(0) and rules.arrival is not None and _passed(lifetime, rules) <= rules.arrival.at


def arrival(serial: str, lifetime: Lifetime, before: Arrival | None, now: datetime, *, first: bool = False) -> Arrival:
    """The arrival of a certificate that certagent has just put in place; `before`: that of the certificate it renews.
    `first`: an enrollment or a rollover brought it.

    A renewal does not help if the successor ends no later, or hardly later, although time has passed. If it were
    renewed again like any other, each pause would be a third of the one before.
    """
    begins, ends, again_after = lifetime.not_before, lifetime.not_after, None
    left = ends - now
    if before is None or now < before.at or left <= timedelta(0):
        return Arrival(serial=serial, at=now, not_before=begins, not_after=ends, first=first)
    passed, gained = now - before.at, ends - before.not_after
    # Not for one that somebody renewed by hand a moment after the last renewal.
    if passed >= left / 200 and gained < passed / 10:
        again_after = max(left / _FRUITLESS, before.again_after or timedelta(0))
    return Arrival(serial=serial, at=now, not_before=begins, not_after=ends, again_after=again_after)


def fits(threshold: Threshold, lifetime: Lifetime) -> bool:
    """Whether a time before the end leaves at least a tenth of the lifetime; a share always fits.

    `30d` would renew a certificate of 7 days for ever, and also one of 30 days that its CA backdated by a minute.
    """
    start, end = lifetime.not_before, lifetime.not_after
    return threshold.passed is not None or threshold.moment(start, end) - start >= (end - start) / 10
