"""What is known of one keystore's rollover: the current CA, the next CA, the shadow under it.

For `status`, `plan`, `health` and the metrics; what a worker does about it is in `transaction/rollover.py`.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from certagent import policy
from certagent.errors import StateError
from certagent.policy import Lifetime
from certagent.state import Ca, Cas, LastError, Track
from certagent.transaction.journal import Phase, Transaction
from certagent.transaction.next_step import Situation

_START_AGAIN = "look at the keystore's rollover/ in the state directory; if you move it away, the rollover starts again"


class Shadow(Struct, frozen=True):
    """A certificate under the next CA that waits until that CA takes over; `serial` in hex."""

    serial: str
    lifetime: Lifetime


class RolloverStatus(Struct, frozen=True):
    """How far a rollover has come.

    `ca` issued the certificate in place; it is None if that is not the authority's CA. `old` are the earlier CAs
    that `ca_file` still holds. At `begins_at` certagent asks for the next CA. `phase` is that of the shadow's
    transaction; `shadow` and `switch_at` are set once the shadow is complete. `last_error` is of the newest attempt.
    """

    ca: Ca | None = None
    begins_at: datetime | None = None
    next_ca: Ca | None = None
    old: tuple[Ca, ...] = ()
    phase: Phase | None = None
    shadow: Shadow | None = None
    switch_at: datetime | None = None
    last_error: LastError | None = None

    @property
    def begun(self) -> bool:
        """Whether there is anything to show."""
        return self.next_ca is not None or self.phase is not None or self.last_error is not None

    @property
    def refused(self) -> bool:
        """Whether a next CA was not trusted, or did not issue a certificate: somebody has to look."""
        return self.last_error is not None and self.last_error.kind in ("trust", "unfit", "rejected")

    def late(self, now: datetime) -> bool:
        """Whether the CA expires soon, and no next CA is trusted yet."""
        return self.ca is not None and self.next_ca is None and policy.next_ca_is_late(self.ca.lifetime, now)


def rollover_status(
    cas: Cas, situation: Situation, rollover: Transaction | None, track: Track
) -> RolloverStatus | None:
    """What is known of the rollover; None before the first contact, or if the CA is not the authority's.

    Raises StateError.
    """
    if cas.above is None and rollover is None and track.last_error is None:
        return None
    status = RolloverStatus(ca=cas.above, next_ca=cas.next, old=cas.old, last_error=track.last_error)
    if status.ca is not None and situation.lifetime is not None:
        begins_at = policy.rollover_begins(situation.lifetime, status.ca.lifetime, situation.rules)
        status = replace(status, begins_at=begins_at)
    return _with_shadow(status, rollover) if rollover else status


def _with_shadow(status: RolloverStatus, rollover: Transaction) -> RolloverStatus:
    status = replace(status, phase=rollover.phase)
    if rollover.phase is not Phase.ISSUED:
        return status
    from certagent import certificate as facts  # noqa: PLC0415 -- no cryptography without a shadow

    try:
        shadow = facts.load_der(rollover.certificate)
    except facts.UNREADABLE as error:
        raise StateError(f"the shadow kept in transaction {rollover.id} is damaged: {error}", _START_AGAIN) from None
    return replace(status, shadow=Shadow(rollover.serial, Lifetime.of(shadow)), switch_at=rollover.switch_at)
