"""Certificates with extensions of chance and true signatures: what is accepted, the openssl command verifies, too."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certagent import keys
from certagent.certificate import to_pem
from certagent.errors import CertagentError
from certagent.keys import public_bytes
from certagent.trust.fitness import Terms, accept_certificate, roles
from certagent.trust.proof_of_use import prove_use
from certagent.trust.rules import Believed
from tests.fitness.issued import DAY, UNKNOWN, Leaf, below
from tests.fitness.judged import ASKED, DEVICE, OLD, ROOT
from tests.unit.pki import NOW

PURPOSES = (Purpose.SERVER_AUTH, Purpose.CLIENT_AUTH, Purpose.CODE_SIGNING, Purpose.ANY_EXTENDED_KEY_USAGE)
USAGES = ("digital_signature", "key_encipherment", "content_commitment", "key_agreement", "crl_sign", "key_cert_sign")
NAMES = tuple(map(x509.DNSName, ("web.example.net", "www.example.net", "mail.example.net", "web.example.org")))
_NC = x509.NameConstraints([x509.DNSName("example.net")], None)
_POLICY = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), None)])


def some(of: Sequence[object], usual: Sequence[object]) -> st.SearchStrategy[tuple[object, ...]]:
    """Mostly what is usual, so that enough of them are accepted."""
    return st.one_of(st.just(tuple(usual)), st.lists(st.sampled_from(of), unique=True).map(tuple))


MORE = st.lists(
    st.sampled_from([(UNKNOWN, True), (UNKNOWN, False), (_POLICY, True), (_NC, True), (x509.OCSPNoCheck(), False)]),
    unique_by=lambda each: type(each[0]),
    max_size=1,
)
LEAVES = st.fixed_dictionaries(
    {
        "names": some(NAMES, NAMES[:2]),
        "usage": st.none() | some(USAGES, USAGES[:2]),
        "purposes": st.none() | some(PURPOSES, PURPOSES[:2]).filter(bool),
        "ca": st.sampled_from([False, None, True]),
        "more": st.just([]) | MORE,
        "life": st.sampled_from([90 * DAY, 20 * DAY, -DAY / 2]),
    }
)
ABOVE = st.none() | st.fixed_dictionaries({"usage": some(("crl_sign",), ("key_cert_sign",)), "more": MORE})


def made(fields: Mapping[str, object], above: Mapping[str, object] | None) -> list[x509.Certificate]:
    issuer, public = ROOT, DEVICE.public_key()
    between: list[x509.Certificate] = []
    if above is not None:
        issuer = below(ROOT, NOW, *above["more"], usage=above["usage"])  # type: ignore[misc, arg-type]
        between = [issuer.certificate]
    return [Leaf(**fields).issue(issuer, public, NOW), *between]  # type: ignore[arg-type]


def is_verified(directory: Path, mine: x509.Certificate, chain: Sequence[x509.Certificate], purpose: str) -> bool:
    (directory / "leaf.pem").write_bytes(to_pem([mine]))
    (directory / "chain.pem").write_bytes(to_pem(chain[:-1]))
    (directory / "root.pem").write_bytes(to_pem(chain[-1:]))
    words = ["openssl", "verify", "-attime", str(int(NOW.timestamp())), "-auth_level", "2", "-purpose", purpose]
    words += ["-trusted", str(directory / "root.pem")]
    words += ["-untrusted", str(directory / "chain.pem")] if chain[:-1] else []
    done = subprocess.run([*words, str(directory / "leaf.pem")], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openssl")


@pytest.mark.slow
@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(fields=LEAVES, above=ABOVE, renews=st.booleans())
def test_what_is_accepted_is_verified(
    directory: Path, fields: Mapping[str, object], above: Mapping[str, object] | None, renews: bool
) -> None:
    terms = Terms(in_place=OLD if renews else None, may_lose=frozenset({"san", "key_usage", "extended_key_usage"}))
    authority = Believed(ROOT.certificate, (), (ROOT.certificate,), ROOT.certificate)
    try:
        mine, chain = accept_certificate(made(fields, above), ASKED, authority, (), NOW, terms=terms)
        wanted = roles(mine, ASKED, terms)
        assert prove_use(DEVICE, mine, chain, roles=wanted, at=NOW) == ""
    except CertagentError:
        return
    purposes = {"server_auth": "sslserver", "client_auth": "sslclient"}
    for purpose in [purposes[each] for each in wanted] or ["any"]:
        assert is_verified(directory, mine, chain, purpose)
    public = mine.public_key()
    assert isinstance(public, keys.PublicKey)
    assert public_bytes(public) == public_bytes(DEVICE.public_key())


def test_enough_of_them_are_accepted() -> None:
    """Else the test above would show nothing."""
    counted = {True: 0, False: 0}

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None, database=None)
    @given(fields=LEAVES)
    def count(fields: Mapping[str, object]) -> None:
        authority = Believed(ROOT.certificate, (), (ROOT.certificate,), ROOT.certificate)
        try:
            accept_certificate(made(fields, None), ASKED, authority, (), NOW, terms=Terms(may_lose=frozenset({"san"})))
            counted[True] += 1
        except CertagentError:
            counted[False] += 1

    count()
    assert counted[True] >= 5
    assert counted[False] >= 5
