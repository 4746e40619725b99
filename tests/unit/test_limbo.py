"""Paths held against C2SP's x509-limbo: its cases by their names, made anew, with the verdicts it gives.

What it refuses is refused, but for what stands in `ACCEPTED`; what it accepts is proven, but for `OVER_REFUSED`; each
with its reason. Left out are cases about the name of a TLS peer, the depth that a verifier may be told, the Web PKI's
own rules, CRLs (`test_crl.py`), and its chains of real websites.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from asn1crypto import core
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from certagent.certificate import to_der
from certagent.scep.asn1 import tlv
from certagent.trust.proof import MAX_CAS
from tests.cost import cost

from .paths import (
    AKI,
    BASIC,
    PURPOSES,
    SAN,
    SIGNS,
    SKI,
    UNKNOWN,
    USAGE,
    Extension,
    Question,
    altered,
    asked,
    basic,
    constraints,
    leaf,
    made,
    of_root,
    of_sub,
    root,
    san,
    sub,
    usage,
)
from .pki import DAY, NOW, Party, key, remade

SECOND, MILLISECOND = timedelta(seconds=1), timedelta(milliseconds=1)
Make = Callable[[], Question]
EXAMPLE = "dns:example.com"


def whole(*changes: Extension, **fields: Any) -> Question:
    """Root, sub CA and leaf; `changes` are the leaf's."""
    top = root()
    middle = sub(top)
    return asked(top, middle, leaf(middle, *changes, **fields))


def of_leaf(*changes: Extension, **fields: Any) -> Question:
    top = root()
    return asked(top, leaf(top, *changes, **fields))


def ca_below(*limits: int | None, target: bool = False) -> Question:
    """A line of CAs with these path lengths under a root, and a leaf; `target`: the last CA is asked of itself."""
    line = [root()]
    for number, limit in enumerate(limits):
        line.append(sub(line[-1], basic(True, limit), subject=f"CN=sub {number}"))
    return asked(*line) if target else asked(*line, leaf(line[-1]))


# Basic constraints, key usage, extensions, names: rfc5280


def unrelated(*, anchor: bool) -> Question:
    """A CA with an unknown critical extension that no path leads over."""
    top = root()
    middle = sub(top)
    other = root((UNKNOWN, True), subject="CN=other")
    return asked(top, middle, leaf(middle), anchors=[other] if anchor else [], also=[] if anchor else [other])


def untrusted_root() -> Question:
    top = root()
    middle = sub(top)
    return asked(root(subject="CN=other"), top, middle, leaf(middle))


def ca_as_leaf() -> Question:
    top = root()
    return asked(top, sub(top, san("dns:ca.example.com")))


def swapped() -> Question:
    """The sub CA is the anchor, the root lies about."""
    top = root()
    middle = sub(top)
    return asked(middle, leaf(middle), also=[top])


def mismatched_algorithms() -> Question:
    top = root()
    changed = remade(leaf(top), top)
    der = to_der(changed.certificate)
    inner, outer = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040303")
    at = der.rindex(inner)
    other = x509.load_der_x509_certificate(der[:at] + outer + der[at + len(inner) :])
    return asked(top, Party(other, changed.key))


def twice_the_names() -> Question:
    top = root()
    names = {"extn_id": SAN.dotted_string, "extn_value": core.ParsableOctetString(san(EXAMPLE)[0].public_bytes())}
    return asked(top, remade(leaf(top), top, extensions=[names, names]))


def cross_signed_without_key_identifier() -> Question:
    other = root(subject="CN=other")
    top = sub(other, basic(True, 0), but=[AKI], subject="CN=root")
    return asked(other, top, leaf(top))


def aia(*, critical: bool) -> Extension:
    where = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.DNSName("example.com"))
    return x509.AuthorityInformationAccess([where]), critical


def of_sub_without(missing: type[x509.ExtensionType]) -> Question:
    return of_sub(but=[missing])


def with_serial(number: int) -> Question:
    top = root()
    return asked(top, altered(leaf(top), top, serial=core.Integer(number).dump()))


def absurd_key() -> Question:
    """An RSA key without numbers."""
    top = root()
    without = tlv(bytes.fromhex("300d06092a864886f70d0101010500") + b"\x03\x01\x00", 0x30)
    broken = altered(sub(top), top, key=without)
    return asked(top, broken, leaf(broken))


GENERAL: dict[str, tuple[bool, Make]] = {
    "rfc5280::ee-empty-issuer": (False, lambda: of_leaf(says="")),
    "rfc5280::ca-empty-subject": (False, lambda: of_root(subject="")),
    "rfc5280::unknown-critical-extension-ee": (False, lambda: of_leaf((UNKNOWN, True))),
    "rfc5280::unknown-critical-extension-root": (False, lambda: of_root((UNKNOWN, True))),
    "rfc5280::unknown-critical-extension-intermediate": (False, lambda: of_sub((UNKNOWN, True))),
    "rfc5280::unknown-critical-extension-unrelated-root": (True, lambda: unrelated(anchor=True)),
    "rfc5280::unknown-critical-extension-unrelated-intermediate": (True, lambda: unrelated(anchor=False)),
    "rfc5280::chain-untrusted-root": (False, untrusted_root),
    "rfc5280::intermediate-ca-without-ca-bit": (False, lambda: of_sub(basic(False))),
    "rfc5280::intermediate-ca-missing-basic-constraints": (False, lambda: of_sub(but=[BASIC])),
    "rfc5280::root-missing-basic-constraints": (False, lambda: of_root(but=[BASIC])),
    "rfc5280::root-non-critical-basic-constraints": (False, lambda: of_root(basic(True, critical=False))),
    "rfc5280::root-inconsistent-ca-extensions": (False, lambda: of_root(usage())),
    "rfc5280::ica-ku-keycertsign": (False, lambda: of_sub(basic(True, 0), usage())),
    "rfc5280::leaf-ku-keycertsign": (False, lambda: of_leaf(basic(False), usage("digital_signature", *SIGNS))),
    "rfc5280::ee-aia": (True, lambda: of_leaf(aia(critical=False))),
    "rfc5280::ee-critical-aia-invalid": (False, lambda: of_leaf(aia(critical=True))),
    "rfc5280::duplicate-extensions": (False, twice_the_names),
    "rfc5280::no-keyusage": (True, lambda: of_leaf(but=[USAGE])),
    "rfc5280::no-basicconstraints": (True, lambda: of_leaf(but=[BASIC])),
    "rfc5280::mismatching-signature-algorithm": (False, mismatched_algorithms),
    "rfc5280::ca-as-leaf": (True, ca_as_leaf),
    "rfc5280::root-and-intermediate-swapped": (True, swapped),
    "rfc5280::aki::critical-aki": (
        False,
        lambda: of_root((AKI.from_issuer_public_key(key("CN=root").public_key()), True)),
    ),
    "rfc5280::aki::leaf-missing-aki": (False, lambda: of_leaf(but=[AKI])),
    "rfc5280::aki::intermediate-missing-aki": (False, lambda: of_sub(but=[AKI])),
    "rfc5280::aki::self-signed-root-missing-aki": (True, of_root),
    "rfc5280::aki::cross-signed-root-missing-aki": (False, cross_signed_without_key_identifier),
    "rfc5280::ski::critical-ski": (False, lambda: of_root((SKI.from_public_key(key("CN=root").public_key()), True))),
    "rfc5280::ski::root-missing-ski": (False, lambda: of_root(but=[SKI])),
    "rfc5280::ski::intermediate-missing-ski": (False, lambda: of_sub(but=[SKI])),
    "rfc5280::eku::ee-without-eku": (True, lambda: of_leaf(but=[PURPOSES])),
    "rfc5280::eku::ee-eku-empty": (
        False,
        lambda: of_leaf((x509.UnrecognizedExtension(PURPOSES.oid, b"\x30\x00"), False)),
    ),
    "rfc5280::pc::ica-noncritical-pc": (False, lambda: of_sub((x509.PolicyConstraints(3, None), False))),
    "rfc5280::san::malformed": (False, lambda: of_leaf((x509.UnrecognizedExtension(SAN, b"example.com"), False))),
    "rfc5280::san::noncritical-with-empty-subject": (False, lambda: of_leaf(subject="")),
    "rfc5280::serial::too-long": (False, lambda: with_serial(1 << 172)),
    "rfc5280::serial::zero": (False, lambda: with_serial(0)),
    "rfc5280::serial::negative": (False, lambda: with_serial(-7)),
    "invalid::invalid-issuer-key": (False, absurd_key),
}


# Validity


def lasting(begins: timedelta, ends: timedelta, at: timedelta) -> Question:
    """All three of the line, from and to so much from now."""
    dates: dict[str, Any] = {"begins": NOW + begins, "ends": NOW + ends}
    top = root(**dates)
    middle = sub(top, **dates)
    return asked(top, middle, leaf(middle, **dates), at=NOW + at)


def expired(*, which: int) -> Question:
    ends = [NOW - DAY if number == which else NOW + DAY for number in range(3)]
    top = root(ends=ends[0])
    middle = sub(top, ends=ends[1])
    return asked(top, middle, leaf(middle, ends=ends[2]))


ZERO = timedelta()
VALIDITY: dict[str, tuple[bool, Make]] = {
    "rfc5280::validity::expired-root": (False, lambda: expired(which=0)),
    "rfc5280::validity::expired-intermediate": (False, lambda: expired(which=1)),
    "rfc5280::validity::expired-leaf": (False, lambda: expired(which=2)),
    "rfc5280::validity::notbefore-exact": (True, lambda: lasting(ZERO, DAY, ZERO)),
    "rfc5280::validity::notbefore-fractional": (False, lambda: lasting(ZERO, DAY, -MILLISECOND)),
    "rfc5280::validity::notafter-exact": (True, lambda: lasting(-DAY, ZERO, ZERO)),
    "rfc5280::validity::notafter-fractional": (True, lambda: lasting(-DAY, ZERO, 5 * MILLISECOND)),
    "rfc5280::validity::expired-1-second": (False, lambda: lasting(-DAY, ZERO, SECOND)),
    "rfc5280::validity::expired-5-seconds": (False, lambda: lasting(-DAY, ZERO, 5 * SECOND)),
    "rfc5280::validity::not-yet-valid-1-second": (False, lambda: lasting(SECOND, DAY, ZERO)),
    "rfc5280::validity::not-yet-valid-5-seconds": (False, lambda: lasting(5 * SECOND, DAY, ZERO)),
}


# Path length


def self_issued() -> Question:
    top = root()
    first = sub(top, basic(True, 1))
    second = sub(first, basic(True, 1), own=key("second"))
    third = sub(second, basic(True, 0), subject="CN=third")
    return asked(top, first, second, third, leaf(third))


PATHLEN: dict[str, tuple[bool, Make]] = {
    "pathlen::ee-with-intermediate-pathlen-0": (True, lambda: ca_below(0)),
    "pathlen::ee-with-intermediate-pathlen-1": (True, lambda: ca_below(1)),
    "pathlen::ee-with-intermediate-pathlen-2": (True, lambda: ca_below(2)),
    "pathlen::validation-ignores-pathlen-in-leaf": (True, lambda: ca_below(0, 0, target=True)),
    "pathlen::intermediate-violates-pathlen-0": (False, lambda: ca_below(0, 0)),
    "pathlen::intermediate-pathlen-may-increase": (True, lambda: ca_below(1, 2)),
    "pathlen::intermediate-pathlen-too-long": (False, lambda: ca_below(1, 0, 0)),
    "pathlen::self-issued-certs-pathlen": (True, self_issued),
}


# Name constraints


def by_root(
    names: Sequence[str],
    permits: Sequence[str] = (),
    excludes: Sequence[str] = (),
    *,
    subject: str = "",
    critical: bool = True,
) -> Question:
    top = root(constraints(permits, excludes, critical=critical))
    return asked(top, leaf(top, san(*names, critical=not subject), subject=subject))


def by_sub(names: Sequence[str], permits: Sequence[str] = (), excludes: Sequence[str] = ()) -> Question:
    top = root()
    middle = sub(top, constraints(permits, excludes))
    return asked(top, middle, leaf(middle, san(*names, critical=True), subject=""))


def by_two(first: Extension, *second: Extension, names: Sequence[str], by_the_root: bool = False) -> Question:
    """Constraints of one CA, and a CA below it with extensions of its own."""
    top = root(*([first] if by_the_root else []))
    upper = sub(top, *([] if by_the_root else [first]))
    lower = sub(upper, *second, subject="CN=lower")
    return asked(top, upper, lower, leaf(lower, san(*names, critical=True), subject=""))


def not_for_leaves(*, critical: bool) -> Question:
    return of_leaf(constraints([EXAMPLE], critical=critical))


def self_issued_below() -> Question:
    words = {"subject": "CN=not-example.com"}
    top = root(constraints([EXAMPLE]), **words)
    middle = sub(top, san("dns:not-example.com"), own=key("second"), **words)
    return asked(top, middle, leaf(middle, subject=""))


def self_issued_leaf() -> Question:
    top = root(constraints([EXAMPLE]))
    middle = sub(top, subject="CN=not-example.com", own=key("second"))
    return asked(top, middle, leaf(middle, san("dns:not-example.com"), subject="CN=not-example.com"))


def two_ways(*, second_anchor: bool) -> Question:
    """A sub CA certified twice: by one whose constraints its own name breaks, and by another."""
    one, other = root(subject="CN=one"), root(subject="CN=other")
    limits = constraints([] if second_anchor else ["dns:permitted.example.com"], ["dns:forbidden.example.com"])
    upper = sub(one, limits, subject="CN=upper")
    forbidden = san("dns:forbidden.example.com")
    lower = sub(upper if second_anchor else other, forbidden, subject="CN=lower", own=key("lower"))
    again = sub(other if second_anchor else upper, subject="CN=lower", own=key("lower"))
    target = leaf(lower, san("dns:permitted.example.com"), subject="")
    return Question(target, (upper, lower, again), (one, other) if second_anchor else (one,))


PRIVATE = "other:1.3.6.1.4.1.55555.3"
NARROW: dict[str, tuple[bool, Make]] = {
    "permitted-dns-mismatch": (False, lambda: by_root(["dns:not-example.com"], [EXAMPLE])),
    "excluded-dns-match": (False, lambda: by_sub([EXAMPLE], excludes=[EXAMPLE])),
    "permitted-dns-match": (True, lambda: by_root([EXAMPLE], [EXAMPLE])),
    "permitted-dns-match-noncritical": (False, lambda: by_root([EXAMPLE], [EXAMPLE], critical=False)),
    "permitted-dns-match-more": (True, lambda: by_root(["dns:foo.bar.example.com"], [EXAMPLE])),
    "excluded-dns-match-second": (
        False,
        lambda: by_root([EXAMPLE, "dns:not-allowed.example.com"], excludes=["dns:not-allowed.example.com"]),
    ),
    "permitted-ip-mismatch": (False, lambda: by_root(["ip:192.0.3.1"], ["ip:192.0.2.0/24"])),
    "excluded-ipv4-match": (False, lambda: by_root(["ip:192.0.2.1"], excludes=["ip:192.0.2.0/24"])),
    "excluded-ipv6-match": (False, lambda: by_root(["ip:::1"], excludes=["ip:::1/128"])),
    "permitted-ipv4-match": (True, lambda: by_root(["ip:192.0.2.1"], ["ip:192.0.2.0/24"])),
    "permitted-ipv6-match": (True, lambda: by_root(["ip:::1"], ["ip:::1/128"])),
    "permitted-dn-mismatch": (False, lambda: by_root(["dir:CN=not-foo"], ["dir:CN=foo"], subject="CN=not-foo")),
    "excluded-dn-match": (False, lambda: by_root(["dir:CN=foo"], excludes=["dir:CN=foo"], subject="CN=foo")),
    "permitted-dn-match": (True, lambda: by_root(["dir:CN=foo"], ["dir:CN=foo"], subject="CN=foo")),
    "permitted-dn-match-subject-san-mismatch": (
        False,
        lambda: by_root(["dir:CN=foo"], ["dir:CN=foo"], subject="CN=not-foo"),
    ),
    "excluded-dn-match-sub-mismatch": (
        False,
        lambda: by_root(["dir:CN=not-foo"], excludes=["dir:CN=foo"], subject="CN=foo"),
    ),
    "permitted-self-issued": (True, self_issued_below),
    "excluded-self-issued-leaf": (False, self_issued_leaf),
    "excluded-match-permitted-and-excluded": (False, lambda: by_root([EXAMPLE], [EXAMPLE], [EXAMPLE])),
    "permitted-different-constraint-type": (True, lambda: by_root([EXAMPLE], ["ip:192.0.2.0/24"])),
    "excluded-different-constraint-type": (True, lambda: by_root([EXAMPLE], excludes=["ip:192.0.2.0/24"])),
    "invalid-dnsname-wildcard": (False, lambda: by_root(["dns:foo.example.com"], ["dns:*.example.com"])),
    "invalid-dnsname-leading-period": (False, lambda: by_root(["dns:foo.example.com"], ["dns:.example.com"])),
    "invalid-ipv4-address": (False, lambda: by_root(["ip:127.0.0.1"], ["ip:127.0.0.1"])),
    "invalid-ipv6-address": (False, lambda: by_root(["ip:::1"], ["ip:::1"])),
    "invalid-email-address": (
        False,
        lambda: by_root(["email:example@example.com"], ["email:invalid@invalid@example.com"]),
    ),
    "not-allowed-in-ee-noncritical": (False, lambda: not_for_leaves(critical=False)),
    "not-allowed-in-ee-critical": (False, lambda: not_for_leaves(critical=True)),
    "intermediate-with-san-rejected-by-intermediate-nc": (
        False,
        lambda: by_two(
            constraints(["dns:permitted.example.com"], ["dns:forbidden.example.com"]),
            san("dns:forbidden.example.com"),
            names=["dns:permitted.example.com"],
        ),
    ),
    "intermediate-with-san-rejected-by-root-nc": (
        False,
        lambda: by_two(
            constraints(["dns:permitted.example.com"], ["dns:forbidden.example.com"]),
            san("dns:forbidden.example.com"),
            names=["dns:permitted.example.com"],
            by_the_root=True,
        ),
    ),
    "restrictive-permits-in-intermediates-narrows": (
        False,
        lambda: by_two(
            constraints(["dns:foo.example.com", "dns:bar.example.com"]),
            constraints(["dns:bar.example.com"]),
            names=["dns:foo.example.com"],
        ),
    ),
    "restrictive-permits-in-intermediates-widens": (
        False,
        lambda: by_two(
            constraints(["dns:bar.example.com"]),
            constraints(["dns:foo.example.com", "dns:bar.example.com"]),
            names=["dns:foo.example.com"],
        ),
    ),
    "nc-permits-invalid-dns-san": (False, lambda: by_sub(["dns:.example.com", "dns:foo.example.com"], [EXAMPLE])),
    "nc-permits-invalid-ip-san": (
        False,
        lambda: by_sub(["ip:192.0.2.0/24", "ip:192.0.2.1"], ["ip:192.0.2.0/24"]),
    ),
    "nc-permits-invalid-email-san": (
        False,
        lambda: by_sub(["email:good@example.com", "email:invalid@address@example.com"], ["email:example.com"]),
    ),
    "nc-forbids-alternate-chain-ica": (True, lambda: two_ways(second_anchor=False)),
    "nc-forbids-same-chain-ica": (True, lambda: two_ways(second_anchor=True)),
    "nc-permits-email-exact": (True, lambda: by_sub(["email:foo@example.com"], ["email:foo@example.com"])),
    "nc-permits-email-domain": (True, lambda: by_sub(["email:foo@example.com"], ["email:example.com"])),
    "nc-permits-email-literal-asterisk-exact-match": (
        True,
        lambda: by_sub(["email:*@example.com"], ["email:*@example.com"]),
    ),
    "nc-permits-email-literal-asterisk-rejects-user": (
        False,
        lambda: by_sub(["email:user@example.com"], ["email:*@example.com"]),
    ),
    "nc-permits-email-literal-asterisk-rejects-subdomain": (
        False,
        lambda: by_sub(["email:*@subdomain.example.com"], ["email:*@example.com"]),
    ),
    "nc-permits-email-literal-double-asterisk": (
        True,
        lambda: by_sub(["email:**@example.com"], ["email:**@example.com"]),
    ),
    "nc-permits-email-literal-double-asterisk-rejects-single": (
        False,
        lambda: by_sub(["email:*@example.com"], ["email:**@example.com"]),
    ),
    "nc-permits-email-literal-mid-asterisk": (
        True,
        lambda: by_sub(["email:user*@example.com"], ["email:user*@example.com"]),
    ),
    "nc-forbids-othername": (False, lambda: by_sub([EXAMPLE, PRIVATE], [EXAMPLE], [PRIVATE])),
    "nc-forbids-othername-noop": (True, lambda: by_sub([EXAMPLE], [EXAMPLE], [PRIVATE])),
    "nc-forbids-dnsname-wildcard-san": (
        False,
        lambda: by_sub(["dns:*.example.com"], [EXAMPLE], ["dns:bar.example.com"]),
    ),
}


# Graphs that keep a search busy, and what went wrong elsewhere


def chain_of_pain() -> Question:
    """The root, cross-certified by another in a certificate that has expired."""
    top, other = root(), root(subject="CN=other")
    cross = sub(other, basic(True, 1), subject="CN=root", own=key("CN=root"), ends=NOW - DAY)
    return asked(top, leaf(top), anchors=[other], also=[cross])


def crossed(one: str, other: str) -> Question:
    """Two CAs that certify each other, and nobody else does."""
    first, second = root(subject=one, own=key("first")), root(subject=other, own=key("second"))
    pair = (sub(second, subject=one, own=key("first")), sub(first, subject=other, own=key("second")))
    return asked(root(), leaf(first), also=pair)


def ring_with_a_root() -> Question:
    """CVE-2024-0567: three CAs that certify each other, one of them the anchor."""
    cas = {word: root(subject=f"CN={word}") for word in "ABC"}
    crosses = [
        sub(above, subject=f"CN={below}", own=key(f"CN={below}"))
        for below in cas
        for word, above in cas.items()
        if word != below
    ]
    lower = [sub(ca, subject=f"CN={word}1") for word, ca in cas.items()]
    return asked(cas["A"], leaf(lower[0]), also=[*crosses, *lower])


def many(kind: str, count: int = 2048) -> list[str]:
    return [f"dns:{kind}{number}.test" for number in range(count)]


def quadratic(*, names: bool, subjects: bool) -> Question:
    top = root(constraints([*many("t"), "dns:test"], many("x")))
    subject = ",".join(f"1.2.840.113549.1.9.1=t{number}@test" for number in range(2048)) if subjects else ""
    extra = [san(*many("t"), critical=not subjects)] if names else []
    return asked(top, made(subject, top, usage("digital_signature"), *extra))


def long_line(*, same_name: bool, same_key: bool, count: int = 100) -> Question:
    """A hundred CAs in a line that leads to no anchor."""
    line: list[Party] = []
    for number in range(count):
        subject = "CN=many" if same_name else f"CN=many {number}"
        own = key("many" if same_key else f"many {number}")
        without: dict[str, Any] = {"but": [SKI, AKI], "subject": subject, "own": own}
        line.append(sub(line[-1], **without) if line else root(**without))
    return asked(root(), leaf(line[-1]), also=line)


GRAPHS: dict[str, tuple[bool, Make]] = {
    "pathological::multiple-chains-expired-intermediate": (True, chain_of_pain),
    "pathological::intermediate-cycle-distinct-cas": (False, lambda: crossed("CN=one", "CN=other")),
    "pathological::intermediate-cycle-same-logical-ca": (False, lambda: crossed("CN=one", "CN=one")),
    "pathological::nc-dos-1": (False, lambda: quadratic(names=True, subjects=True)),
    "pathological::nc-dos-2": (False, lambda: quadratic(names=True, subjects=False)),
    "pathological::nc-dos-3": (False, lambda: quadratic(names=False, subjects=True)),
    **{
        f"pathological::pathological-chain-{names}-subject-{keys}-key": (
            False,
            partial(long_line, same_name=names == "same", same_key=keys == "same"),
        )
        for names in ("distinct", "same")
        for keys in ("distinct", "same")
    },
    "cve::cve-2024-0567": (True, ring_with_a_root),
    "cve::cve-2025-61727": (False, lambda: by_sub(["dns:*.example.com"], [EXAMPLE], ["dns:bar.example.com"])),
    "cve::cve-2025-61727-nc-permits-variant": (
        False,
        lambda: by_sub(["dns:*.example.com"], ["dns:foo.example.com"]),
    ),
}

CASES: dict[str, tuple[bool, Make]] = {
    **GENERAL,
    **VALIDITY,
    **PATHLEN,
    **{f"rfc5280::nc::{name}": case for name, case in NARROW.items()},
    **GRAPHS,
}

# What passes here and not there: certificates that their CA should not have made so, which says nothing against a path.

ISSUERS = "a duty of who issues (RFC 5280 §4.2), not of who validates (§6.1); real CAs neglect it"
WIDER = (
    "OpenSSL, and so whoever it is shown to, reads the name or the constraint so; no name passes that nobody asked for"
)
ACCEPTED = {
    "rfc5280::root-missing-basic-constraints": "an anchor that a person named, and a CA by its key usage",
    "rfc5280::root-non-critical-basic-constraints": ISSUERS,
    "rfc5280::leaf-ku-keycertsign": f"{ISSUERS}; it issues nothing that is proven",
    "rfc5280::aki::leaf-missing-aki": ISSUERS,
    "rfc5280::aki::intermediate-missing-aki": ISSUERS,
    "rfc5280::aki::cross-signed-root-missing-aki": ISSUERS,
    "rfc5280::ski::root-missing-ski": ISSUERS,
    "rfc5280::ski::intermediate-missing-ski": ISSUERS,
    "rfc5280::eku::ee-eku-empty": f"{ISSUERS}; as an RA it counts as one without purposes",
    "rfc5280::pc::ica-noncritical-pc": f"{ISSUERS}; policies are not asked for",
    "rfc5280::san::noncritical-with-empty-subject": ISSUERS,
    "rfc5280::serial::too-long": "serial numbers are what they are: see docs/scep.md",
    "rfc5280::serial::zero": "serial numbers are what they are: see docs/scep.md",
    "rfc5280::serial::negative": "serial numbers are what they are: see docs/scep.md",
    "rfc5280::nc::permitted-dns-match-noncritical": f"{ISSUERS}; the constraint holds all the same",
    "rfc5280::nc::not-allowed-in-ee-noncritical": ISSUERS,
    "rfc5280::nc::not-allowed-in-ee-critical": ISSUERS,
    "rfc5280::nc::invalid-dnsname-leading-period": f"{WIDER}; it permits less than without the period",
    "rfc5280::nc::nc-permits-invalid-dns-san": WIDER,
    "rfc5280::nc::nc-permits-invalid-email-san": WIDER,
    "rfc5280::nc::nc-forbids-dnsname-wildcard-san": WIDER,
    "cve::cve-2025-61727": WIDER,
}
LAST_SECOND = (
    "a certificate's last second is not used: OpenSSL before 4.0, which consumers have, ends it a second earlier"
)
OVER_REFUSED = {
    "rfc5280::validity::notafter-exact": LAST_SECOND,
    "rfc5280::validity::notafter-fractional": LAST_SECOND,
}


def verdict(name: str) -> set[str]:
    return {answer.partition(":")[0] for answer in CASES[name][1]().answers()}


@pytest.mark.parametrize("name", [name for name, (valid, _) in CASES.items() if not valid and name not in ACCEPTED])
def test_what_limbo_refuses_is_refused(name: str) -> None:
    assert verdict(name) == {"refused"}


@pytest.mark.parametrize("name", [name for name, (valid, _) in CASES.items() if valid and name not in OVER_REFUSED])
def test_what_limbo_accepts_is_proven(name: str) -> None:
    assert verdict(name) == {"proven"}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_limbo_refuses_and_is_proven_has_its_reason(name: str) -> None:
    assert not CASES[name][0]
    assert verdict(name) == {"proven"}


@pytest.mark.parametrize("name", OVER_REFUSED)
def test_what_limbo_accepts_and_is_refused_has_its_reason(name: str) -> None:
    assert CASES[name][0]
    assert verdict(name) == {"refused"}


@pytest.mark.parametrize("name", [name for name in GRAPHS if "nc-dos" in name or "pathological-chain" in name])
def test_what_is_to_keep_a_verifier_busy_does_not(name: str) -> None:
    question = CASES[name][1]()
    assert cost(question.asked_in_vain) < 50


@pytest.mark.parametrize("same_name", [False, True])
@pytest.mark.parametrize("same_key", [False, True])
def test_as_many_cas_as_may_come_keep_nobody_busy(*, same_name: bool, same_key: bool) -> None:
    question = long_line(same_name=same_name, same_key=same_key, count=MAX_CAS)
    assert cost(question.asked_in_vain) < 50
