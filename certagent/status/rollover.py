"""The way from the CA of today to the next one, as far as it is known of one keystore (docs/rollover.md).

For `status`, `plan`, `health` and the metrics: what the worker does on this way stands in `rollover.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography import x509

from certagent import certificate as facts
from certagent import policy
from certagent.errors import StateError
from certagent.policy import Lifetime, Open, Past
from certagent.state import LastError, Track
from certagent.transaction.context import open_of
from certagent.transaction.journal import Phase, Transaction
from certagent.trust.authorities import Known

_BEGIN_ANEW = "look at the keystore's rollover/ in the state directory; once it is moved away, the rollover begins anew"


@dataclass(frozen=True)
class Ca:
    """A CA on the way. `fingerprint` as the configuration writes it; `proof`: why a next one is believed, in words."""

    subject: str
    fingerprint: str
    lifetime: Lifetime
    proof: str = ""


@dataclass(frozen=True)
class Shadow:
    """A certificate under the next CA that waits for it; `serial` in hex."""

    serial: str
    lifetime: Lifetime


@dataclass(frozen=True)
class RolloverStatus:
    """`ca`: above the certificate in place, None where it is not the authority's; `old`: CAs that `ca_file` keeps.

    `begins_at`: when the next CA is asked for. `phase`, `preparation`, `past`: how far that came, and how it went.
    `shadow` and `switch_at` are set once the shadow is complete.
    """

    ca: Ca | None = None
    begins_at: datetime | None = None
    next_ca: Ca | None = None
    old: tuple[Ca, ...] = ()
    phase: Phase | None = None
    preparation: Open | None = None
    past: Past = field(default_factory=Past)
    shadow: Shadow | None = None
    switch_at: datetime | None = None
    last_error: LastError | None = None

    @property
    def begun(self) -> bool:
        """Whether anything of a rollover is there to be told."""
        return self.next_ca is not None or self.phase is not None or self.last_error is not None

    @property
    def refused(self) -> bool:
        """Whether a next CA was not believed, or did not give a certificate: a person is wanted."""
        return self.last_error is not None and self.last_error.kind in ("trust", "rejected")

    def late(self, now: datetime) -> bool:
        """Whether the CA's end is near, and no next one is believed yet."""
        return self.ca is not None and self.next_ca is None and policy.next_ca_is_late(self.ca.lifetime, now)


def rollover_of(
    certificate: x509.Certificate | None,
    known: Known | None,
    rollover: Transaction | None,
    track: Track,
    rules: policy.Rules,
) -> RolloverStatus | None:
    """What is known of the road; None where there is nothing to know: no contact yet, or the CA of somebody else.

    Raises StateError.
    """
    above = _above(certificate, known)
    if above is None and rollover is None and track.last_error is None:
        return None
    road = RolloverStatus(
        ca=_ca(above) if above else None,
        next_ca=_next(known, above) if known else None,
        old=tuple(_ca(each) for each in known.old if each != above) if known else (),
        past=Past(track.failures, track.retry_at),
        last_error=track.last_error,
    )
    if road.ca is not None and certificate is not None:
        lifetime = Lifetime(certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        road = replace(road, begins_at=policy.rollover_begins(lifetime, road.ca.lifetime, rules))
    return _with_preparation(road, rollover) if rollover else road


def _above(certificate: x509.Certificate | None, known: Known | None) -> x509.Certificate | None:
    """The CA that issued the certificate in place: after a switch the next one, until the authority was asked again."""
    if certificate is None or known is None:
        return None
    candidates = (*known.chain[:1], *known.next_chain[:1], *known.old)
    return next((ca for ca in candidates if facts.issued_by(certificate, ca)), None)


def _next(known: Known, above: x509.Certificate | None) -> Ca | None:
    """The CA that takes over: the one announced; the authority's own if the certificate is still of an old one."""
    following = known.issuer if above in known.old else next(iter(known.next_chain), None)
    if following is None or following == above:
        return None
    name = str(facts.fingerprint(following))
    proofs = [change.proof for change in known.memory.changes if change.successor == name]
    return _ca(following, proofs[-1] if proofs else "")


def _ca(certificate: x509.Certificate, proof: str = "") -> Ca:
    lifetime = Lifetime(certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    return Ca(facts.subject_text(certificate), str(facts.fingerprint(certificate)), lifetime, proof)


def _with_preparation(road: RolloverStatus, rollover: Transaction) -> RolloverStatus:
    preparation = open_of(rollover)
    if rollover.phase is not Phase.ISSUED or preparation is None:
        return replace(road, phase=rollover.phase, preparation=preparation)
    try:
        shadow = x509.load_der_x509_certificate(rollover.certificate)
    except ValueError as error:
        raise StateError(f"the shadow kept in transaction {rollover.id} is damaged: {error}", _BEGIN_ANEW) from None
    return replace(
        road,
        phase=rollover.phase,
        preparation=replace(preparation, switch_at=rollover.switch_at),
        shadow=Shadow(rollover.serial, Lifetime(shadow.not_valid_before_utc, shadow.not_valid_after_utc)),
        switch_at=rollover.switch_at,
    )
