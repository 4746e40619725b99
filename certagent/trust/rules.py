"""Whom to believe: pure rules. Values and `now` in; a value or TrustError out. No file, no network, no clock.

The rules (DESIGN §6, RFC 8894 §2.2 and §4.2):

1. A CA certificate is believed if its fingerprint is configured, if it is a configured trust anchor, or if it
   chains up to one of these through CA certificates. Nothing is believed on first use. What cannot be read
   counts as not sent.
2. The issuer is the lowest believed CA that the authority sends; if it sends its RA alone, the anchor above that.
   The issuer and every certificate above it must be valid now, and allowed by those above it: key usage, path length.
3. An RA certificate is believed if a believed CA issued it. One that has purposes, and none of them an RA's, is
   a sibling of our own certificate and no RA: any holder of such a certificate could otherwise stand in the
   middle and read challenge passwords. It needs its own configured fingerprint.
4. Weak signatures (SHA-1, MD5) on any certificate of the path need the authority's `accept`.
5. A certificate is accepted as our successor only if it holds our key, comes from the believed issuer, is valid
   now, is no CA, has the subject asked for and no name that was not, and is not the one in place.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent import certificate as facts
from certagent.config.values import Fingerprint
from certagent.errors import TrustError
from certagent.keys import public_bytes

# A device's clock may be a little behind its CA's; more than that is an error worth a person's look.
SKEW = timedelta(minutes=5)

# id-kp-cmcRA and Microsoft's request agent: an RA may have others beside these.
_RA_PURPOSES = frozenset({"1.3.6.1.5.5.7.3.28", "1.3.6.1.4.1.311.20.2.1"})


@dataclass(frozen=True)
class Pins:
    """What the configuration says may be believed."""

    fingerprints: tuple[Fingerprint, ...]
    anchors: tuple[x509.Certificate, ...]
    accept: frozenset[str] = frozenset()
    followed: frozenset[Fingerprint] = frozenset()
    """CAs known to have a successor: it issues in their stead as soon as it is valid and offered."""

    recipient: x509.Certificate | None = None
    signer: x509.Certificate | None = None
    """RA certificates that a person has named for a part; believed only under a believed CA, as others are."""

    def names(self, certificate: x509.Certificate) -> bool:
        """Whether the certificate is believed by itself."""
        if certificate in self.anchors:
            return True
        return any(facts.fingerprint(certificate, pin.algorithm) == pin for pin in self.fingerprints)


@dataclass(frozen=True)
class Believed:
    """An authority as far as it is believed: who issues, what is above it, who signs, whom requests are for.

    `recipient` None: nobody here has an RSA key, so that requests can only be locked with a password.
    """

    issuer: x509.Certificate
    above: tuple[x509.Certificate, ...]
    signers: tuple[x509.Certificate, ...]
    recipient: x509.Certificate | None

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The issuer and everything above it."""
        return (self.issuer, *self.above)

    @property
    def ras(self) -> tuple[x509.Certificate, ...]:
        """The RA certificates that have a part: signers, and the recipient."""
        every = dict.fromkeys((*self.signers, *([self.recipient] if self.recipient else [])))
        return tuple(each for each in every if each not in self.chain)


def believe(offered: Sequence[x509.Certificate], pins: Pins, now: datetime) -> Believed:
    """Sort out what an authority offers with GetCACert, or raise TrustError."""
    readable = [each for each in dict.fromkeys(offered) if facts.is_readable(each)]
    cas = _believed_cas(readable, pins)
    candidates = _could_issue(cas, readable)
    if not candidates:
        raise TrustError(_nothing_believed(offered, pins), _pin_hint(offered))
    issuer = _issuer(candidates, pins, now)
    above = facts.path_up(issuer, cas)
    for certificate in (issuer, *above):
        _check_now(certificate, "CA certificate", now)
        if not pins.names(certificate):
            facts.check_digest(certificate, pins.accept)
    if not pins.names(issuer):
        check_path((issuer, *above))
    return with_ras(issuer, above, readable, pins, now)


def with_ras(
    issuer: x509.Certificate,
    above: tuple[x509.Certificate, ...],
    offered: Sequence[x509.Certificate],
    pins: Pins,
    now: datetime,
) -> Believed:
    """A believed issuer with the RA certificates among what is offered (rule 3)."""
    ras = _believed_ras(offered, (issuer, *above), pins, now)
    # A named RA that this CA did not issue was another CA's: it has no part any more.
    signing = (pins.signer,) if pins.signer in ras and pins.signer else tuple(ra for ra in ras if _may_sign(ra))
    recipient = pins.recipient if pins.recipient in ras and pins.recipient else _recipient(ras, issuer)
    return Believed(issuer, above, (issuer, *signing), recipient)


def _believed_cas(offered: Sequence[x509.Certificate], pins: Pins) -> tuple[x509.Certificate, ...]:
    """Rule 1. Anchors that the authority does not send count as present."""
    pool = tuple(dict.fromkeys((*offered, *pins.anchors)))
    believed = [each for each in pool if pins.names(each) and is_believable(each, pins)]
    # From these downward, whatever the order and however certificates cross. A CA's new certificate for its own
    # name is not believed for the old one's signature: that is a rollover, which has rules of its own.
    rest = [each for each in pool if facts.is_ca(each) and each.subject != each.issuer and each not in believed]
    while found := [each for each in rest if any(facts.issued_by(each, ca) for ca in believed)]:
        believed += found
        rest = [each for each in rest if each not in found]
    return tuple(believed)


def is_believable(certificate: x509.Certificate, pins: Pins) -> bool:
    """Whether it is a CA at all. Without basicConstraints (X.509 v1, Debian's scepserver of old) only a person's
    word makes one, and only of a certificate that names itself as its issuer.
    """
    return facts.is_ca(certificate) or (certificate.subject == certificate.issuer and pins.names(certificate))


def _could_issue(cas: Sequence[x509.Certificate], offered: Sequence[x509.Certificate]) -> Sequence[x509.Certificate]:
    """Rule 2: an anchor that the authority does not send is its issuer only where what it does send says so."""
    sent = [ca for ca in cas if ca in offered]
    return sent or [ca for ca in cas if any(facts.issued_by(each, ca) for each in offered)]


def _issuer(cas: Sequence[x509.Certificate], pins: Pins, now: datetime) -> x509.Certificate:
    """Rule 2: the lowest one; of several, the one that is valid and named by a fingerprint."""
    lowest = [ca for ca in cas if not any(other != ca and facts.issued_by(other, ca) for other in cas)]
    # Two CAs that certify each other (a cross-certified rollover) leave no lowest one.
    lowest = lowest or list(cas)
    valid = [ca for ca in lowest if ca.not_valid_before_utc <= now < ca.not_valid_after_utc] or lowest
    named = [ca for ca in valid if pins.names(ca)] or valid
    named = [ca for ca in named if facts.fingerprint(ca) not in pins.followed] or named
    if len(named) > 1:
        found = ", ".join(str(facts.fingerprint(ca)) for ca in named)
        raise TrustError(
            f"the authority offers {len(named)} CA certificates that could be the issuer: {found}",
            "name the one that issues, and only that, with `fingerprint`",
        )
    return named[0]


def _believed_ras(
    offered: Sequence[x509.Certificate], cas: Sequence[x509.Certificate], pins: Pins, now: datetime
) -> tuple[x509.Certificate, ...]:
    """Rule 3. A stranger among the certificates is passed over, unless nothing else could be the RA."""
    candidates = [each for each in offered if each not in cas and not facts.is_ca(each)]
    believed, refusal = [], None
    for candidate in candidates:
        try:
            _check_ra(candidate, cas, pins, now)
        except TrustError as error:
            # One that a person named by file was another CA's RA: it has no part any more, and is no alarm.
            refusal = refusal if candidate in (pins.recipient, pins.signer) else error
        else:
            believed.append(candidate)
    if refusal is not None and not believed:
        raise refusal
    return tuple(believed)


def _check_ra(candidate: x509.Certificate, cas: Sequence[x509.Certificate], pins: Pins, now: datetime) -> None:
    who = f"RA certificate {facts.subject_text(candidate)} ({facts.fingerprint(candidate)})"
    if not any(facts.issued_by(candidate, ca) for ca in cas):
        raise TrustError(f"{who} is not issued by the pinned CA", "somebody else answers here, or the RA was replaced")
    facts.check_digest(candidate, pins.accept)
    _check_now(candidate, "RA certificate", now)
    purposes = facts.extended_key_usage(candidate)
    named = pins.names(candidate) or candidate in (pins.recipient, pins.signer)
    if purposes and not purposes & _RA_PURPOSES and not named:
        raise TrustError(
            f"{who} is a certificate for other purposes than an RA's, as any device of this CA may hold",
            f"if it is the RA, add {facts.fingerprint(candidate)} to the authority's `fingerprint` list",
        )


def _may_sign(certificate: x509.Certificate) -> bool:
    usage = facts.key_usage(certificate)
    return usage is None or usage.digital_signature or usage.content_commitment


def _recipient(ras: Sequence[x509.Certificate], issuer: x509.Certificate) -> x509.Certificate | None:
    """Whom a request is enveloped to: an RA for key encipherment, else one for data encipherment, else the CA.

    The CA whatever its key usage says: some set but one of the two bits that SCEP wants (RFC 8894 §3.5.2).
    """
    rsa_ras = [ra for ra in ras if isinstance(ra.public_key(), rsa.RSAPublicKey)]
    usages = [(ra, facts.key_usage(ra)) for ra in rsa_ras]
    for ra, usage in usages:
        if usage is None or usage.key_encipherment:
            return ra
    for ra, usage in usages:
        if usage is not None and usage.data_encipherment:
            return ra
    return issuer if isinstance(issuer.public_key(), rsa.RSAPublicKey) else None


def _check_now(certificate: x509.Certificate, what: str, now: datetime, may_begin: datetime | None = None) -> None:
    name = facts.subject_text(certificate)
    if certificate.not_valid_after_utc <= now:
        raise TrustError(
            f"the {what} {name} expired at {certificate.not_valid_after_utc:%F %T} UTC", "is the clock right?"
        )
    if certificate.not_valid_before_utc > max(now, may_begin or now) + SKEW:
        raise TrustError(
            f"the {what} {name} is valid from {certificate.not_valid_before_utc:%F %T} UTC only", "is the clock right?"
        )


def _nothing_believed(offered: Sequence[x509.Certificate], pins: Pins) -> str:
    for each in offered:
        if pins.names(each):
            return f"the certificate with the configured fingerprint, {facts.fingerprint(each)}, is no CA certificate"
    wanted = " or ".join(map(str, pins.fingerprints)) or "the configured trust anchor"
    cas = [each for each in offered if facts.is_ca(each)] or list(offered)
    found = ", ".join(str(facts.fingerprint(each)) for each in cas) or "no certificate"
    return f"the authority's CA is not the configured one: found {found}, wanted {wanted}"


def _pin_hint(offered: Sequence[x509.Certificate]) -> str:
    if not offered:
        return "does the URL lead to the SCEP service, and is ca_identifier right?"
    return "nothing secret was sent; compare the fingerprint with the CA's operator by another way before changing it"


@dataclass(frozen=True)
class Asked:
    """What the certificate that comes back is held against. `key`: DER SubjectPublicKeyInfo; `names`: words.

    `subject` None: the CA may write the subject its own way (`check_subject: key`).
    """

    key: bytes
    subject: x509.Name | None
    names: frozenset[str]
    old: x509.Certificate | None = None


def accept_certificate(
    received: Sequence[x509.Certificate],
    asked: Asked,
    authority: Believed,
    accept: Collection[str],
    now: datetime,
    *,
    may_begin: datetime | None = None,
) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """Rule 5: the one certificate for our key, with the chain above it; or TrustError.

    `may_begin`: how late its validity may begin; only a rollover's may begin in the future.
    """
    received = [each for each in dict.fromkeys(received) if facts.is_readable(each)]
    ours = [each for each in received if public_bytes(each.public_key()) == asked.key]
    if len(ours) != 1:
        found = "no certificate for our key" if not ours else f"{len(ours)} certificates for our key"
        raise TrustError(f"the CA's answer holds {found}", "nothing was installed; the CA's operator should look")
    mine = ours[0]
    chain = _chain(mine, received, authority)
    for certificate in (mine, *chain):
        if certificate not in authority.chain:
            facts.check_digest(certificate, accept)
            _check_now(certificate, "certificate", now, may_begin)
    if chain[0] != authority.issuer:
        check_path(chain)
    if mine == asked.old:
        raise TrustError("the CA sent the certificate in place once more", "it may want a new key: rekey: always")
    if facts.is_ca(mine):
        raise TrustError("the CA issued a CA certificate to us", "nothing was installed; the CA's operator should look")
    if asked.subject is not None and mine.subject != asked.subject:
        raise TrustError(
            f"the CA issued {mine.subject.rfc4514_string() or '(no subject)'!r}, "
            f"not {asked.subject.rfc4514_string() or '(no subject)'!r} as asked",
            "ask for the subject as this CA writes it, or set check_subject: key",
        )
    unasked = facts.alternative_names(mine) - asked.names
    if unasked:
        raise TrustError(
            f"the certificate has names nobody asked for: {', '.join(sorted(unasked))}", "nothing was installed"
        )
    return mine, chain


def _chain(
    mine: x509.Certificate, received: Sequence[x509.Certificate], authority: Believed
) -> tuple[x509.Certificate, ...]:
    """The path from our certificate up to a believed CA, and on as the authority's own chain goes."""
    pool = [*authority.chain, *(each for each in received if facts.is_ca(each) and each not in authority.chain)]
    path = facts.path_up(mine, pool)
    for number, each in enumerate(path):
        if each in authority.chain:
            return (*path[:number], *authority.chain[authority.chain.index(each) :])
    raise TrustError("the certificate is not issued by the pinned CA", "nothing was installed")


def check_path(chain: Sequence[x509.Certificate]) -> None:
    """Hold CA certificates, lowest first, to what those above allow: peers would refuse the chain (RFC 5280 §6.1.4).

    Raises TrustError. What a person has named by itself needs no such path.
    """
    for number, ca in enumerate(chain):
        # A CA's certificate for its own name, over another key, does not count.
        below = sum(each.subject != each.issuer for each in chain[:number])
        if not facts.may_issue(ca, below):
            raise TrustError(
                f"the CA certificate {facts.subject_text(ca)} does not allow what is issued below it",
                "nothing was installed; the CA's operator should look at its key usage and path length",
            )
