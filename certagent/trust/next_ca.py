"""Which CA may follow another: pure rules. Values and `now` in; a Successor or TrustError out.

The rules (docs/rollover.md; RFC 8894 §4.7.1; draft-nourse-scep-11 §5.2.6 has the flat form). Every path in them is one
that `proof.prove` proves, at the moment the next CA begins:

1. A next CA needs a proof, or it is not trusted:
   - the answer to GetNextCACert is signed by the current CA (nested form), or by one of its RAs whose own
     fingerprint is configured;
   - its fingerprint is configured (`next_fingerprint`, or `fingerprint`), or a path leads to a configured anchor;
   - the current CA has certified its key (a cross-certificate among what is offered).
   The flat form of GetNextCACert, and GetCACert, prove nothing by themselves.
2. It is a CA that may issue, with a sound key, and not the current one. It begins no earlier than the current CA, may
   begin in the future, but not after the current CA ends, and does not end before it. It was not announced before and
   then replaced by another one.
3. Its RA certificates are issued by it.
4. Once trusted, it stays trusted, as the successor of the CA it followed, for as long as that CA is trusted.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from msgspec.structs import replace

from certagent import certificate as facts
from certagent.config.values import Fingerprint
from certagent.errors import TrustError
from certagent.trust.proof import (
    MAX_CAS,
    Path,
    UnprovenError,
    check_fit,
    comes_from,
    is_proven,
    is_same_ca,
    is_twin,
    prove,
)
from certagent.trust.rules import Believed, Pins, with_ras

CHAINS = "it chains to a configured anchor"
RENEWED = "the same CA, renewed with the same key"
CERTIFIED = "its key is certified by the current CA"
# Written by 0.1, which did not check that the current CA's certificate for that key was valid, and was for a CA.
_CERTIFIED_ONCE = "certified by the current CA"
# Operators choose the dates by hand; a gap of a day between two CAs is normal, more is not.
_GAP = timedelta(days=1)


class Offer(msgspec.Struct, frozen=True):
    """CA certificates that may hold a next CA. `signed_by`: the current CA or RA whose signature covers all of them."""

    certificates: tuple[x509.Certificate, ...]
    signed_by: x509.Certificate | None = None


class Successor(msgspec.Struct, frozen=True):
    """A next CA that is trusted, and why."""

    believed: Believed
    proof: str

    @property
    def starts(self) -> datetime:
        """When the CA changes."""
        return self.believed.issuer.not_valid_before_utc

    def change(self, predecessor: x509.Certificate) -> "Change":
        """What is remembered about it."""
        return Change(
            successor=str(facts.fingerprint(self.believed.issuer)),
            predecessor=str(facts.fingerprint(predecessor)),
            proof=self.proof,
            above=tuple(str(facts.fingerprint(each)) for each in self.believed.above),
        )


def find_next(
    offer: Offer,
    current: Believed,
    pins: Pins,
    next_fingerprints: Iterable[Fingerprint],
    now: datetime,
) -> Successor | None:
    """The next CA in what is offered; None if there is only the current one.

    Raises TrustError if it has no proof: the hint is the line to configure once a person has checked the CA.
    """
    readable = tuple(each for each in dict.fromkeys(offer.certificates) if facts.is_readable(each))
    offer = Offer(readable, offer.signed_by)
    cas = [each for each in readable if facts.is_ca(each) and each not in current.chain]
    if len(cas) > MAX_CAS:
        raise TrustError(f"{len(cas)} CA certificates are offered, more than {MAX_CAS}", "no honest CA has so many")
    # A cross-certificate has the next CA's key but is not the next CA: it proves it.
    crosses = [each for each in cas if comes_from(each, current.issuer)]
    issuer = _candidate(cas, crosses, current, pins)
    if issuer is None:
        return None
    believed_pins = replace(pins, fingerprints=(*pins.fingerprints, *next_fingerprints))
    then = max(now, issuer.not_valid_before_utc)
    proof, path = _proof(issuer, offer, crosses, current, believed_pins, now=now)
    if not believed_pins.names(issuer):
        check_fit(issuer, pins.accept)
        _check_dates(issuer, current.issuer)
        if facts.fingerprint(issuer) in pins.withdrawn:
            raise TrustError(
                f"the next CA {facts.subject_text(issuer)} was announced before, and a different one since",
                f"somebody may be replaying an old answer; {_meant(issuer)}",
            )
    above = path.above
    # An RA of the next CA may become valid together with it.
    others = [each for each in readable if not comes_from(each, current.issuer)]  # the current CA has RAs too
    return Successor(with_ras(issuer, above, others, believed_pins, then), proof)


def _candidate(
    cas: Sequence[x509.Certificate], crosses: Sequence[x509.Certificate], current: Believed, pins: Pins
) -> x509.Certificate | None:
    """The one CA that would be the next; None if there is none. TrustError for several."""
    candidates = [each for each in cas if each not in crosses]
    lowest = [ca for ca in candidates if not any(comes_from(other, ca) for other in candidates)]
    if not lowest:
        lowest = [each for each in crosses if each.subject != current.issuer.subject]
    lowest = [each for each in lowest if _may_follow(each, current, pins)]
    if len(lowest) > 1:
        found = ", ".join(str(facts.fingerprint(ca)) for ca in lowest)
        raise TrustError(
            f"{len(lowest)} CAs are offered as the next CA: {found}",
            "ask the CA's operator which it is, and name it with next_fingerprint",
        )
    return next(iter(lowest), None)


def _may_follow(ca: x509.Certificate, current: Believed, pins: Pins) -> bool:
    """Rule 2: whether it is neither a past CA, nor the current one renewed with its key."""
    earlier = ca.not_valid_before_utc < current.issuer.not_valid_before_utc
    return not earlier and facts.fingerprint(ca) not in pins.followed and not is_twin(ca, current.issuer)


def _proof(
    issuer: x509.Certificate,
    offer: Offer,
    crosses: Sequence[x509.Certificate],
    current: Believed,
    pins: Pins,
    *,
    now: datetime,
) -> tuple[str, Path]:
    """Rule 1: the proof in words, and the path up to what is trusted; or TrustError."""
    then = max(now, issuer.not_valid_before_utc)
    pool = (*offer.certificates, *current.above)
    anchors = pins.believed_among(pool)
    signer = offer.signed_by
    if signer is not None and signer == current.issuer:
        return "signed by the current CA", _vouched(issuer, pool, anchors, pins, then)
    if signer is not None and signer in current.signers and pins.names(signer):
        return "signed by the RA whose fingerprint is configured", _vouched(issuer, pool, anchors, pins, then)
    if pins.names(issuer):
        others = [each for each in anchors if each != issuer]
        if is_proven(issuer, pool, others, then, accept=pins.accept, issuer=True):
            return "its fingerprint is configured", prove(issuer, pool, others, then, accept=pins.accept, issuer=True)
        return "its fingerprint is configured", prove(issuer, (), (issuer,), then, issuer=True)
    refusal: UnprovenError
    try:
        return CHAINS, prove(issuer, pool, anchors, then, accept=pins.accept, issuer=True)
    except UnprovenError as error:
        refusal = error
    for cross in crosses:
        if cross == issuer or is_same_ca(issuer, cross):
            at = max(now, cross.not_valid_before_utc)
            prove(cross, current.chain, (current.chain[-1],), at, accept=pins.accept, issuer=True)
            return CERTIFIED, prove(issuer, (), (issuer,), then, issuer=True)
    if refusal.why != "stranger":
        raise refusal
    name = facts.fingerprint(issuer)
    raise TrustError(
        f"a next CA is offered, {facts.subject_text(issuer)} ({name}), but nothing proves that it is genuine",
        f"if you have checked it with the CA's operator, add `next_fingerprint: {name}` to the authority",
    )


def _vouched(
    issuer: x509.Certificate,
    pool: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    pins: Pins,
    then: datetime,
) -> Path:
    """The path of a CA that the current one's signature covers: what came with it is trusted, too."""
    roots = [each for each in pool if each.subject == each.issuer and facts.is_ca(each)]
    others = [each for each in (*anchors, *roots) if each != issuer]
    try:
        return prove(issuer, pool, others, then, accept=pins.accept, issuer=True)
    except UnprovenError as error:
        if error.why == "not allowed":
            raise
    return prove(issuer, (), (issuer,), then, issuer=True)


def _meant(ca: x509.Certificate) -> str:
    return f"if the CA's operator confirms this, add `next_fingerprint: {facts.fingerprint(ca)}` to the authority"


def _check_dates(ca: x509.Certificate, current: x509.Certificate) -> None:
    """Rule 2: one that leaves a gap, or ends before the CA it follows, is a mistake or an attack."""
    hint, name = _meant(ca), facts.subject_text(ca)
    if ca.not_valid_before_utc > current.not_valid_after_utc + _GAP:
        raise TrustError(
            f"the next CA {name} begins at {ca.not_valid_before_utc:%F %T} UTC, long after the current one expires",
            hint,
        )
    if ca.not_valid_after_utc < current.not_valid_after_utc:
        raise TrustError(
            f"the next CA {name} expires before the current one, at {ca.not_valid_after_utc:%F %T} UTC", hint
        )


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One authenticated change of CA, as it is remembered: fingerprints of the CA, of the one it followed, and of
    those above it that were proven with it; and its proof, in words.
    """

    successor: str
    predecessor: str
    proof: str = ""
    above: tuple[str, ...] = ()


def extended(
    pins: Pins, changes: Sequence[Change], believed_before: Sequence[x509.Certificate], issuer: str = ""
) -> Pins:
    """Rule 4: the pins with every remembered successor whose line leads back to what the configuration names.

    `believed_before` are certificates of CAs trusted before: if `pins` names one, or a CA above it, a line may begin
    there. Removing a pin from the configuration removes its successors too, and a successor that was trusted because of
    a path is trusted only while that path is proven. `issuer`: the fingerprint of the CA last seen as the issuer; those
    it followed belong to the past.
    """
    pool = [*believed_before, *pins.anchors]
    rooted = [each for each in pool if is_rooted(each, pool, pins)]
    known = {str(each) for each in (*pins.fingerprints, *map(facts.fingerprint, rooted))}
    pending = changes = [each for each in changes if _still_holds(each, pool, pins)]
    while reached := [each for each in pending if each.predecessor in known]:
        known |= {each.successor for each in reached}
        pending = [each for each in pending if each not in reached]
    made = [each for each in changes if each.successor in known and each.predecessor in known]
    added = _fingerprints(name for each in made for name in (each.successor, *each.above))
    return replace(
        pins,
        fingerprints=tuple(dict.fromkeys((*pins.fingerprints, *added))),
        followed=frozenset(_fingerprints(each.predecessor for each in made)),
        past=frozenset(_fingerprints(_before(issuer, made))),
        remembered=tuple(believed_before),
    )


def _fingerprints(names: Iterable[str]) -> list[Fingerprint]:
    return list(map(Fingerprint.parse, names))


def _before(issuer: str, changes: Sequence[Change]) -> set[str]:
    """The CAs that `issuer` has followed. A CA renewed with its key is not another CA."""
    found = {issuer}
    while more := {each.predecessor for each in changes if each.successor in found and each.proof != RENEWED} - found:
        found |= more
    return found - {issuer}


def _still_holds(change: Change, pool: Sequence[x509.Certificate], pins: Pins) -> bool:
    """Paths are proven again. The other proofs were a signature or a person's word, and count as recorded."""
    if change.proof == CHAINS:
        return any(str(facts.fingerprint(each)) == change.successor and is_rooted(each, pool, pins) for each in pool)
    return change.proof != _CERTIFIED_ONCE


def is_rooted(certificate: x509.Certificate, pool: Sequence[x509.Certificate], pins: Pins) -> bool:
    """Whether it is named, or a path led from it to what is named when both had begun, whatever has expired since."""
    if pins.names(certificate):
        return True
    begins = certificate.not_valid_before_utc
    return any(
        is_proven(
            certificate, pool, (anchor,), max(begins, anchor.not_valid_before_utc), accept=pins.accept, issuer=True
        )
        for anchor in pins.believed_among(pool)
    )


def renewals(believed: Believed, among: Sequence[x509.Certificate], pins: Pins) -> list[Change]:
    """The CAs of a trusted authority that are renewals, with the same key, of CAs that are named themselves."""
    return [
        Change(successor=str(facts.fingerprint(new)), predecessor=str(facts.fingerprint(old)), proof=RENEWED)
        for new in believed.chain
        for old in dict.fromkeys((*among, *pins.anchors, *pins.remembered))
        if pins.names(old) and is_twin(new, old)
    ]
