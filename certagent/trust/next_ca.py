"""Who may follow a CA: pure rules. Values and `now` in; a Successor or TrustError out.

The rules (DESIGN §6; RFC 8894 §4.7.1; draft-nourse-scep-11 §5.2.6 has the flat form):

1. A next CA comes with a proof, or is not believed:
   - the answer to GetNextCACert is signed by the current CA (nested form), or by an RA of it whose own
     fingerprint is configured;
   - its fingerprint is configured (`next_fingerprint`, or `fingerprint`), or a configured anchor is above it;
   - the current CA has certified its key (a cross-certificate among what is offered).
   Only CA certificates that are valid at the time carry a proof, as far as key usage and path length allow.
   The flat form of GetNextCACert, and GetCACert, prove nothing by themselves.
2. It is a CA, it has not expired, it is another than the current one and begins no earlier: an old CA that is
   still shown beside its successor is none. It may begin in the future.
3. Its RA certificates are issued by it.
4. Once believed it stays so, as the successor of the one it followed, for as long as that one is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from certagent import certificate as facts
from certagent.config.values import Fingerprint
from certagent.errors import TrustError
from certagent.trust.rules import Believed, Pins, check_path, is_believable, with_ras

_FORGED = "nothing was installed; somebody may have forged it, the CA's operator should look"


@dataclass(frozen=True)
class Offer:
    """CA certificates that may hold a next CA. `signed_by`: the current CA or RA whose signature covers all of them."""

    certificates: tuple[x509.Certificate, ...]
    signed_by: x509.Certificate | None = None


@dataclass(frozen=True)
class Successor:
    """A next CA that is believed, and why."""

    believed: Believed
    proof: str

    @property
    def starts(self) -> datetime:
        """When the CA changes."""
        return self.believed.issuer.not_valid_before_utc


def find_next(
    offer: Offer,
    current: Believed,
    pins: Pins,
    next_fingerprints: Iterable[Fingerprint],
    now: datetime,
) -> Successor | None:
    """The next CA in what is offered; None if there is none but the current one.

    Raises TrustError for one that comes without a proof: its hint is the line that a person, having checked it,
    adds to the configuration.
    """
    readable = tuple(each for each in dict.fromkeys(offer.certificates) if facts.is_readable(each))
    offer = Offer(readable, offer.signed_by)
    cas = [each for each in readable if facts.is_ca(each) and each not in current.chain]
    # A cross-certificate holds the next CA's key but is not it: it vouches for it.
    crosses = [each for each in cas if facts.issued_by(each, current.issuer)]
    candidates = [each for each in cas if each not in crosses]
    lowest = [ca for ca in candidates if not any(other != ca and facts.issued_by(other, ca) for other in candidates)]
    if not lowest:
        lowest = [each for each in crosses if each.subject != current.issuer.subject]
    lowest = [each for each in lowest if _may_follow(each, current, pins)]
    if not lowest:
        return None
    if len(lowest) > 1:
        found = ", ".join(str(facts.fingerprint(ca)) for ca in lowest)
        raise TrustError(
            f"{len(lowest)} CAs are offered as the next one: {found}",
            "ask the CA's operator which it is, and name it with next_fingerprint",
        )
    issuer = lowest[0]
    believed_pins = replace(pins, fingerprints=(*pins.fingerprints, *next_fingerprints))
    proof = _proof(issuer, offer, crosses, current, believed_pins, now=now)
    above = facts.path_up(issuer, [*candidates, *current.above, *believed_pins.anchors])
    if not believed_pins.names(issuer):
        check_path((issuer, *above))
    if offer.signed_by is None:
        above = _up_to_named(above, believed_pins)
    for each in (issuer, *above):
        _check(each, believed_pins, now)
    # An RA of the next CA may begin with it.
    then = max(now, issuer.not_valid_before_utc)
    others = [each for each in readable if not facts.issued_by(each, current.issuer)]  # the current CA has RAs too
    return Successor(with_ras(issuer, above, others, believed_pins, then), proof)


def _up_to_named(above: tuple[x509.Certificate, ...], pins: Pins) -> tuple[x509.Certificate, ...]:
    """As much of a path as is believed by itself: a proof of a CA is none of those above it."""
    named = [number for number, each in enumerate(above, start=1) if pins.names(each)]
    return above[: max(named, default=0)]


def _may_follow(ca: x509.Certificate, current: Believed, pins: Pins) -> bool:
    """Rule 2: whether it is no CA of the past."""
    earlier = ca.not_valid_before_utc < current.issuer.not_valid_before_utc
    return not earlier and facts.fingerprint(ca) not in pins.followed


def _proof(
    issuer: x509.Certificate,
    offer: Offer,
    crosses: Sequence[x509.Certificate],
    current: Believed,
    pins: Pins,
    *,
    now: datetime,
) -> str:
    """Rule 1, in words; or TrustError."""
    signer = offer.signed_by
    if signer is not None and signer == current.issuer:
        return "signed by the current CA"
    if signer is not None and signer in current.signers and pins.names(signer):
        return "signed by the RA whose fingerprint is configured"
    if pins.names(issuer):
        return "its fingerprint is configured"
    then = max(now, issuer.not_valid_before_utc)
    pool = [*offer.certificates, *pins.anchors]
    carriers = [each for each in pool if is_believable(each, pins) and _is_valid(each, then)]
    path = facts.path_up(issuer, carriers)
    if any(pins.names(each) for each in path):
        _check_carriers((issuer, *path), pins, then)
        return "it chains to a configured anchor"
    for cross in crosses:
        if cross == issuer or (facts.same_key(cross, issuer) and cross.subject == issuer.subject):
            _check_carriers((cross, *current.chain), pins, max(now, cross.not_valid_before_utc))
            return "certified by the current CA"
    name = facts.fingerprint(issuer)
    raise TrustError(
        f"a next CA is offered, {facts.subject_text(issuer)} ({name}), and nothing proves that it is one",
        f"if you have checked it with the CA's operator, add `next_fingerprint: {name}` to the authority",
    )


def _check_carriers(path: Sequence[x509.Certificate], pins: Pins, at: datetime) -> None:
    """Hold what carries a proof, lowest first, to the rules: CAs alone, valid `at` that moment, each allowed by those
    above it. A device's certificate is no step: whoever holds its key could sign a CA of his own with it.
    """
    for each in path:
        if not is_believable(each, pins):
            raise TrustError(f"a next CA is offered under {facts.subject_text(each)}, which is no CA", _FORGED)
        if not _is_valid(each, at):
            raise TrustError(f"a next CA is offered under {facts.subject_text(each)}, which is not valid", _FORGED)
        if not pins.names(each):
            facts.check_digest(each, pins.accept)
    check_path(path)


def _is_valid(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at < certificate.not_valid_after_utc


def _check(certificate: x509.Certificate, pins: Pins, now: datetime) -> None:
    if not pins.names(certificate):
        facts.check_digest(certificate, pins.accept)
    if certificate.not_valid_after_utc <= now:
        raise TrustError(
            f"the next CA {facts.subject_text(certificate)} expired at {certificate.not_valid_after_utc:%F %T} UTC",
            "is the clock right?",
        )


@dataclass(frozen=True)
class Link:
    """One authenticated change of CA, as it is remembered: fingerprints of the CA, of the one it followed, and of
    those above it that were proven with it.
    """

    successor: Fingerprint
    predecessor: Fingerprint
    above: tuple[Fingerprint, ...] = ()


def extended(pins: Pins, links: Sequence[Link], believed_before: Sequence[x509.Certificate]) -> Pins:
    """Rule 4: the pins with every remembered successor whose line leads back to what the configuration names.

    `believed_before` are certificates of CAs believed before: where `pins` names one, or a CA above it, a line may
    begin at it. A pin taken out of the configuration takes its successors with it.
    """
    pool = [*believed_before, *pins.anchors]
    known = set(pins.fingerprints) | {facts.fingerprint(each) for each in believed_before if _rooted(each, pool, pins)}
    pending = list(links)
    while reached := [link for link in pending if link.predecessor in known]:
        known |= {link.successor for link in reached}
        pending = [link for link in pending if link not in reached]
    made = [link for link in links if link.successor in known]
    added = [each for link in made for each in (link.successor, *link.above) if each not in pins.fingerprints]
    followed = frozenset(link.predecessor for link in made)
    return replace(pins, fingerprints=(*pins.fingerprints, *dict.fromkeys(added)), followed=followed)


def _rooted(certificate: x509.Certificate, pool: Sequence[x509.Certificate], pins: Pins) -> bool:
    cas = [each for each in pool if is_believable(each, pins)]
    return pins.names(certificate) or any(pins.names(each) for each in facts.path_up(certificate, cas))
