"""Which certificates to trust: pure rules. Values and `now` in; a value or TrustError out. No file, network or clock.

The rules (docs/security.md; RFC 8894 §2.2 and §4.2). Every path in them is one that `proof.prove` proves:

1. A CA certificate is trusted if its fingerprint is configured, if it is a configured trust anchor, if it is one of
   these renewed with the same key, or if a proven path leads from it to one of these. Nothing is trusted on first
   use. What cannot be read counts as not sent.
2. The issuer is the lowest trusted CA that the authority sends; if it sends only its RA, the anchor above the RA. Of
   an old and a new certificate of the same CA, it is the one that ends later. A CA whose successor has taken over is
   not trusted again.
3. An RA certificate is trusted if a proven path leads from it to the issuer or one above, and it is for an RA's
   purpose, or named by a person. Any other is a certificate like our own: its holder could otherwise stand in the
   middle and read challenge passwords.
4. Weak signatures (SHA-1, MD5) on any certificate of the path need the authority's `accept`.

`trust.fitness` decides what is accepted as a successor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec import Struct

from certagent import certificate as facts
from certagent.config.values import Fingerprint
from certagent.errors import TrustError
from certagent.trust.proof import Path, UnprovenError, comes_from, is_same_ca, is_twin, prove

# A device's clock may be a little behind its CA's; if it is more, a person should look at it.
SKEW = timedelta(minutes=5)

# id-kp-cmcRA and Microsoft's request agent: an RA may have other purposes besides these.
_RA_PURPOSES = frozenset({"1.3.6.1.5.5.7.3.28", "1.3.6.1.4.1.311.20.2.1"})


class Pins(Struct, frozen=True):
    """What the configuration says may be trusted."""

    fingerprints: tuple[Fingerprint, ...]
    anchors: tuple[x509.Certificate, ...]
    accept: frozenset[str] = frozenset()
    followed: frozenset[Fingerprint] = frozenset()
    """CAs that are known to have a successor, which issues in their place as soon as it is valid and offered."""

    recipient: x509.Certificate | None = None
    signer: x509.Certificate | None = None
    """RA certificates that a person has named for a role; like others, they are trusted only under a trusted CA."""

    past: frozenset[Fingerprint] = frozenset()
    """CAs whose successor has taken over."""

    withdrawn: frozenset[Fingerprint] = frozenset()
    """Next CAs that were announced, before another one was announced in their place."""

    known_ras: frozenset[Fingerprint] = frozenset()
    """RA certificates that were trusted before, under these same rules."""

    remembered: tuple[x509.Certificate, ...] = ()
    """CAs trusted before; the authority may have stopped sending one that is pinned only by its fingerprint."""

    def believed_among(self, offered: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
        """Rule 1: the anchors of every path, among what is offered and what is known."""
        every = dict.fromkeys((*offered, *self.anchors, *self.remembered))
        named = [each for each in every if self.names(each) and facts.fingerprint(each) not in self.past]
        # Without basicConstraints (X.509 v1), it is a CA only if a person says so, and only if it names itself.
        named = [each for each in named if facts.is_ca(each) or each.subject == each.issuer]
        twins = [each for each in offered if each not in named and any(is_twin(each, old) for old in named)]
        return (*named, *twins)

    def names(self, certificate: x509.Certificate) -> bool:
        """Whether the certificate is trusted by itself."""
        if certificate in self.anchors:
            return True
        return any(facts.fingerprint(certificate, pin.algorithm) == pin for pin in self.fingerprints)


class Believed(Struct, frozen=True):
    """The trusted part of an authority: who issues, which CAs are above, who signs, whom requests are for.

    `recipient` None: nobody here has an RSA key, so only a password can lock requests. `or_for`: other possible
    recipients, as far as certificates show. `passed_over`: RA certificates that a person named for a role (`recipient`,
    `signer`) that they do not have: this CA did not issue them, or offers others instead.
    """

    issuer: x509.Certificate
    above: tuple[x509.Certificate, ...]
    signers: tuple[x509.Certificate, ...]
    recipient: x509.Certificate | None
    or_for: tuple[x509.Certificate, ...] = ()
    passed_over: tuple[tuple[str, x509.Certificate], ...] = ()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The issuer and everything above it."""
        return (self.issuer, *self.above)

    @property
    def ras(self) -> tuple[x509.Certificate, ...]:
        """The RA certificates that have a role: signers, and the recipient."""
        every = dict.fromkeys((*self.signers, *([self.recipient] if self.recipient else [])))
        return tuple(each for each in every if not facts.is_ca(each) and each not in self.chain)


def believe(offered: Sequence[x509.Certificate], pins: Pins, now: datetime) -> Believed:
    """Sort out what an authority offers with GetCACert, or raise TrustError."""
    readable = [each for each in dict.fromkeys(offered) if facts.is_readable(each)]
    anchors = pins.believed_among(readable)
    paths, failures = _proven_cas(readable, anchors, pins, now)
    candidates = _could_issue(paths, readable)
    if not candidates:
        gone = [each for each in readable if facts.fingerprint(each) in pins.past]
        raise _gone_back(gone[0]) if gone else _why_nobody(offered, pins, failures)
    path = _issuer(candidates, paths, failures, pins)
    return with_ras(path.target, path.above, readable, pins, now)


def with_ras(
    issuer: x509.Certificate,
    above: tuple[x509.Certificate, ...],
    offered: Sequence[x509.Certificate],
    pins: Pins,
    now: datetime,
) -> Believed:
    """A trusted issuer with the RA certificates among what is offered (rule 3)."""
    by_file = [each for each in (pins.recipient, pins.signer) if each is not None]
    believed = _believed_ras([*dict.fromkeys((*offered, *by_file))], (issuer, *above), pins, now)
    ras = [ra for ra in believed if ra in offered]
    signing, recipients = [ra for ra in ras if _may_sign(ra)], _recipients(ras)
    parts = {"recipient": (pins.recipient, recipients), "signer": (pins.signer, signing)}
    # If this CA did not issue a named RA, it was another CA's; if it offers others and not this one, it was replaced.
    passed_over = {
        word: named
        for word, (named, others) in parts.items()
        if named is not None and (named not in believed or (named not in offered and others))
    }
    if pins.signer is not None and "signer" not in passed_over:
        signing = [pins.signer]
    if pins.recipient is not None and "recipient" not in passed_over:
        recipients = [pins.recipient, *(ra for ra in recipients if ra != pins.recipient)]
    elif not recipients and _has_rsa(issuer):
        # The CA, whatever its key usage says: some set only one of the two bits that SCEP wants (RFC 8894 §3.5.2).
        recipients = [issuer, *filter(_has_rsa, ras)]
    # A CA renewed with its key may sign under its old certificate's name.
    every = dict.fromkeys((*offered, *pins.anchors, *pins.remembered))
    twins = [each for each in every if each != issuer and facts.is_ca(each) and is_same_ca(each, issuer)]
    recipient = recipients[0] if recipients else None
    signers = (issuer, *twins, *signing)
    return Believed(issuer, above, signers, recipient, tuple(recipients[1:]), tuple(passed_over.items()))


Failures = Sequence[tuple[x509.Certificate, UnprovenError]]


def _proven_cas(
    offered: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], pins: Pins, now: datetime
) -> tuple[Sequence[Path], Failures]:
    """Rule 1: every CA that may issue, with its path up; and why the others may not."""
    paths, failures = [], []
    for each in dict.fromkeys((*offered, *pins.anchors)):
        # A CA's certificate for its own name that is not an anchor is its next one; rollover has its own rules.
        if each not in anchors and (not facts.is_ca(each) or each.subject == each.issuer):
            continue
        try:
            paths.append(_highest(each, offered, anchors, pins, now))
        except UnprovenError as error:
            failures.append((each, error))
    return paths, failures


def _highest(
    ca: x509.Certificate,
    offered: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    pins: Pins,
    now: datetime,
) -> Path:
    """The path of a CA; for an anchor that stands below another one, the path up to that one."""
    others = [each for each in anchors if each != ca]
    try:
        return soon(lambda at: prove(ca, offered, others, at, accept=pins.accept, issuer=True), now)
    except UnprovenError:
        if ca not in anchors:
            raise
    return soon(lambda at: prove(ca, (), (ca,), at, issuer=True), now)


def soon(proof: Callable[[datetime], Path], now: datetime, until: datetime | None = None) -> Path:
    """A path that is valid now, or a little later: at `until`, by default as far ahead as a CA's clock may be."""
    try:
        return proof(now)
    except UnprovenError as error:
        if error.why != "early":
            raise
        try:
            return proof(until or now + SKEW)
        except UnprovenError as then:
            raise (error if then.why in ("early", "expired") else then) from None


def _could_issue(paths: Sequence[Path], offered: Sequence[x509.Certificate]) -> Sequence[Path]:
    """Rule 2: an anchor that the authority does not send is the issuer only if it issued a certificate that is sent."""
    sent = [path for path in paths if path.target in offered]
    return sent or [path for path in paths if any(comes_from(each, path.target) for each in offered)]


def _issuer(candidates: Sequence[Path], paths: Sequence[Path], failures: Failures, pins: Pins) -> Path:
    """Rule 2: the lowest one; of several, the one that is named by a fingerprint."""
    above = {ca for path in paths for ca in path.above}
    # If two CAs certify each other (a cross-certified rollover), there is no lowest one.
    lowest = [path for path in candidates if path.target not in above] or list(candidates)
    for ca, error in failures:
        # The CA that should issue has expired, or may not issue: the one above does not take its place.
        over = [path for path in lowest if comes_from(ca, path.target)]
        lowest = [path for path in lowest if path not in over]
        if over and not lowest:
            raise error
    present = [path for path in lowest if facts.fingerprint(path.target) not in pins.past]
    if not present:
        raise _gone_back(lowest[0].target)
    newest = [path for path in present if not any(is_twin(other.target, path.target) for other in present)]
    named = [path for path in newest if pins.names(path.target)] or newest
    named = [path for path in named if facts.fingerprint(path.target) not in pins.followed] or named
    if len(named) > 1:
        found = ", ".join(str(facts.fingerprint(path.target)) for path in named)
        raise TrustError(
            f"the authority offers {len(named)} CA certificates that could be the issuer: {found}",
            "name only the one that issues, with `fingerprint`",
        )
    return named[0]


def _gone_back(ca: x509.Certificate) -> TrustError:
    return TrustError(
        f"the authority shows {facts.subject_text(ca)} ({facts.fingerprint(ca)}), a CA that has already been replaced",
        "somebody may be replaying an old answer; if the CA really went back, remove the authority's authority.json "
        "from state_dir, so that only the configuration counts",
    )


def _believed_ras(
    offered: Sequence[x509.Certificate], cas: Sequence[x509.Certificate], pins: Pins, now: datetime
) -> tuple[x509.Certificate, ...]:
    """Rule 3. An unknown certificate is skipped, unless nothing else could be the RA."""
    candidates = [each for each in offered if each not in cas and not facts.is_ca(each)]
    believed, refusal = [], None
    for candidate in candidates:
        try:
            _check_ra(candidate, cas, pins, now)
        except TrustError as error:
            # If a person named it by file, it was another CA's RA: it no longer has a role, and is not an alarm.
            refusal = refusal if candidate in (pins.recipient, pins.signer) else error
        else:
            believed.append(candidate)
    if refusal is not None and not believed:
        raise refusal
    # Of several, the newest is the one in use, whatever their order in the answer.
    return tuple(sorted(believed, key=lambda ra: (ra.not_valid_before_utc, facts.to_der(ra)), reverse=True))


def _check_ra(candidate: x509.Certificate, cas: Sequence[x509.Certificate], pins: Pins, now: datetime) -> None:
    who = f"RA certificate {facts.subject_text(candidate)} ({facts.fingerprint(candidate)})"
    named = pins.names(candidate) or candidate in (pins.recipient, pins.signer)
    # An RA of another CA is trusted only by its own fingerprint.
    anchors = (*cas, candidate) if pins.names(candidate) else cas
    try:
        soon(lambda at: prove(candidate, (), anchors, at, accept=pins.accept), now)
    except UnprovenError as error:
        if error.why == "stranger":
            raise TrustError(
                f"{who} is not issued by the pinned CA", "another server answers here, or the RA was replaced"
            ) from None
        raise TrustError(f"RA {error}", error.hint) from None
    purposes = facts.extended_key_usage(candidate)
    if named or purposes & _RA_PURPOSES or (not purposes and facts.fingerprint(candidate) in pins.known_ras):
        return
    what = "has purposes other than an RA's" if purposes else "does not say that it belongs to an RA"
    raise TrustError(
        f"{who} {what}, like that of any device of this CA",
        f"if it is the RA's, add {facts.fingerprint(candidate)} to the authority's `fingerprint` list",
    )


def _may_sign(certificate: x509.Certificate) -> bool:
    usage = facts.key_usage(certificate)
    return usage is None or usage.digital_signature or usage.content_commitment


def _recipients(ras: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The RAs that requests may be encrypted to: those for key encipherment, otherwise for data encipherment."""
    usages = [(ra, facts.key_usage(ra)) for ra in ras if _has_rsa(ra)]
    for_keys = [ra for ra, usage in usages if usage is None or usage.key_encipherment]
    return for_keys or [ra for ra, usage in usages if usage is not None and usage.data_encipherment]


def _has_rsa(certificate: x509.Certificate) -> bool:
    return isinstance(certificate.public_key(), rsa.RSAPublicKey)


def _why_nobody(offered: Sequence[x509.Certificate], pins: Pins, failures: Failures) -> TrustError:
    """What to say if no CA is trusted: what is wrong with the likely one, otherwise what was found."""
    near = [error for _, error in failures if error.why != "stranger"]
    if near:
        return min(near, key=lambda error: (error.why == "digest", str(error)))
    return TrustError(_nothing_believed(offered, pins), _pin_hint(offered, pins))


def _nothing_believed(offered: Sequence[x509.Certificate], pins: Pins) -> str:
    for each in offered:
        if pins.names(each):
            return (
                f"the certificate with the configured fingerprint, {facts.fingerprint(each)}, is not a CA certificate"
            )
    wanted = " or ".join(map(str, pins.fingerprints)) or "the configured trust anchor"
    cas = [each for each in offered if facts.is_ca(each)] or list(offered)
    found = ", ".join(str(facts.fingerprint(each)) for each in cas) or "no certificate"
    return f"the authority's CA is not the configured one: found {found}, wanted {wanted}"


def _pin_hint(offered: Sequence[x509.Certificate], pins: Pins) -> str:
    if not offered:
        return "is the url that of the SCEP service, and is ca_identifier right?"
    if not pins.fingerprints:
        return "nothing secret was sent; does trust_anchor hold the root certificate of this CA?"
    return (
        "nothing secret was sent; confirm the fingerprint with the CA's operator over another channel "
        "before changing it"
    )
