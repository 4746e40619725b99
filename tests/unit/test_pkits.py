"""Paths held against NIST's PKITS: nothing is proven that it refuses, and each over-refusal has its reason.

The groups that are about paths: signatures (4.1), dates (4.2), names (4.3), self-issued certificates (4.5), basic
constraints (4.6), key usage (4.7), name constraints (4.13), extensions (4.16). The others are about policies and CRLs.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from functools import cache
from importlib.resources import files

import pytest
from cryptography import x509

from certagent import certificate as facts
from certagent.trust.proof import Path, UnprovenError, prove
from tests.unit.pki import NOW

GROUPS = re.compile(
    r"(Valid|Invalid)(CertificatePath|CASignature|EESignature|DSA|CAnot|EEnot|pre2000UTC|GeneralizedTimenot|NameChaining"
    r"|NameUIDs|RFC3280|Rollover|UTF8|BasicSelfIssued|MissingbasicConstraints|cAFalse|basicConstraints|pathLenConstraint"
    r"|SelfIssuedpathLen|keyUsage|DNname|RFC822name|DNSname|DNandRFC822|URIname|Unknown(Not)?CriticalCertificate)"
)
# Invalid for what a CRL says, or for who signed the CRL: their paths are good.
ABOUT_CRLS = {
    "InvalidBasicSelfIssuedCRLSigningKeyTest7EE",
    "InvalidBasicSelfIssuedNewWithOldTest5EE",
    "InvalidBasicSelfIssuedOldWithNewTest2EE",
    "InvalidkeyUsageCriticalcRLSignFalseTest4EE",
    "InvalidkeyUsageNotCriticalcRLSignFalseTest5EE",
}
# Refused although valid, and why.
OVER_REFUSED = {
    "ValidDSASignaturesTest4EE": "DSA keys are of no use to SCEP",
}


@cache
def certificates() -> dict[str, x509.Certificate]:
    directory = files("cryptography_vectors") / "x509/PKITS_data/certs"
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a negative serial number
        for each in sorted(directory.iterdir(), key=lambda each: each.name):
            with contextlib.suppress(ValueError):  # DSA parameters that are inherited: cryptography cannot read them
                found[each.name.removesuffix(".crt")] = x509.load_der_x509_certificate(each.read_bytes())
    return found


def named_above(certificate: x509.Certificate) -> list[x509.Certificate]:
    """Every CA of PKITS that the issuers' names lead to, whether or not it signed: names in lower case, no blanks."""

    def word(name: x509.Name) -> str:
        return "".join(name.rfc4514_string().lower().replace("\\", "").split())

    found: list[x509.Certificate] = []
    names = {word(certificate.issuer)}
    while more := [
        e for e in certificates().values() if e not in found and facts.is_ca(e) and word(e.subject) in names
    ]:
        found += more
        names |= {word(each.issuer) for each in more}
    return found


def proven(name: str) -> Path:
    target = certificates()[name]
    anchor = certificates()["TrustAnchorRootCertificate"]
    return prove(target, [each for each in named_above(target) if each != anchor], [anchor], NOW)


def cases(verdict: str) -> list[str]:
    every = [each for each in certificates() if (found := GROUPS.match(each)) and found[1] == verdict]
    return [each for each in every if each not in ABOUT_CRLS]


@pytest.mark.parametrize("name", cases("Invalid"))
def test_what_pkits_refuses_is_refused(name: str) -> None:
    with pytest.raises(UnprovenError) as caught:
        proven(name)
    assert caught.value.hint


@pytest.mark.parametrize("name", [each for each in cases("Valid") if each not in OVER_REFUSED])
def test_what_pkits_accepts_is_proven(name: str) -> None:
    path = proven(name)
    assert path.target == certificates()[name]
    assert path.certificates[-1] == certificates()["TrustAnchorRootCertificate"]


@pytest.mark.parametrize("name", OVER_REFUSED)
def test_refused_more_than_pkits_asks_for_a_reason(name: str) -> None:
    with pytest.raises(UnprovenError):
        proven(name)


def test_the_groups_are_there() -> None:
    assert (len(cases("Valid")), len(cases("Invalid"))) == (43, 46)
