"""An authority and a device without a single RSA key: envelopes locked with the challenge (RFC 8894 §3.1)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from certagent import certificate as facts
from certagent import keys
from certagent.config.key_types import KeyType
from certagent.lab import Generation, LabCA, Settings
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from certagent.trust.proof import comes_from
from tests.renewal.line import CERT_POLL, PKCS_REQ, RENEWAL_REQ, BadLine, approve, line
from tests.renewal.site import DAY, Site, Sites

KINDS = [
    KeyType.EC_P256,
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in KeyType if kind.family not in ("rsa", "ec")),
]
EC = Settings(lifetime=90 * DAY, ca_key=KeyType.EC_P256)


class WithoutRA(BadLine):
    """An EC CA that receives requests itself; the lab gives such a CA an RA with an RSA key."""

    @property
    def generation(self) -> Generation:
        made = super().generation
        return Generation(made.issuer, made.issuer, made.issuer, made.above)


def device(make_site: Sites, settings: Settings = EC, ca: type[LabCA] = WithoutRA, authority: str = "") -> Site:
    site = make_site(settings, ca=ca)
    site.write(f"key_type: {settings.ca_key}\nca_file: " + str(site.path("files/ca.pem")), authority=authority)
    return site


@pytest.mark.parametrize("kind", KINDS)
def test_enrolled_and_renewed_without_an_rsa_key_anywhere(make_site: Sites, kind: KeyType) -> None:
    site = device(make_site, replace(EC, ca_key=kind), authority="key_transport: password")
    assert site.run().result is Result.ENROLLED, site.log
    first = site.leaf()
    site.clock.advance(61 * DAY)
    assert site.run().result is Result.RENEWED, site.log
    assert site.pair_matches()
    assert first.public_key() != site.leaf().public_key()
    assert line(site).types() == [PKCS_REQ, RENEWAL_REQ]
    ca = site.ca.generation.issuer.certificate
    for certificate in (ca, first, site.leaf(), *(request.signer for request in line(site).asked)):
        assert keys.type_of(certificate.public_key()) == kind
    assert {request.key_transport for request in line(site).asked} == {"password"}


def test_a_request_that_waits_for_a_person_is_polled(make_site: Sites) -> None:
    site = device(make_site, Settings(ca_key=KeyType.EC_P256, manual=True), authority="key_transport: password")
    assert site.run().result is Result.PENDING
    approve(site)
    assert site.run(Wish.NOW).result is Result.ENROLLED, site.log
    assert line(site).types() == [PKCS_REQ, CERT_POLL]


def test_an_answer_that_was_lost_is_asked_for_with_the_same_bytes(make_site: Sites) -> None:
    site = device(make_site, authority="key_transport: password")
    line(site).lost = 1
    assert site.run().result is Result.FAILED
    assert site.run(Wish.NOW).result is Result.ENROLLED, site.log
    assert len(set(line(site).heard)) == 1


@pytest.mark.parametrize("authority", ["key_transport: rsa", "key_transport: oaep"])
def test_where_an_rsa_key_is_needed_nothing_is_made_or_sent_without_one(make_site: Sites, authority: str) -> None:
    site = device(make_site, authority=authority)
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "is not RSA" in str(outcome.message)
    assert "key_transport: password" in str(outcome.hint)
    assert line(site).heard == []
    assert not site.path("state/keystores/web/shadow").exists()


def test_check_says_so_too(make_site: Sites) -> None:
    site = make_site(EC, ca=WithoutRA, real_time=True)
    site.write("key_type: ec:p256")
    assert "is not RSA" in site.command("check").stdout
    site.write("key_type: ec:p256", authority="key_transport: password")
    checked = site.command("check").stdout
    assert "answers:" in checked
    assert "behind an RA" not in checked


@pytest.mark.parametrize("ca", [WithoutRA, BadLine], ids=["EC alone", "with an RSA recipient"])
def test_the_next_ca_is_trusted_in_advance_and_asked_when_it_has_taken_over(make_site: Sites, ca: type[LabCA]) -> None:
    """No recipient says in advance which CA such a request is for."""
    settings = Settings(
        lifetime=90 * DAY, ca_lifetime=365 * DAY, ca_key=KeyType.EC_P256, rollover=70 * DAY, overlap=20 * DAY
    )
    site = device(make_site, settings, ca, authority="key_transport: password")
    old = site.ca.generation.issuer.certificate
    born = site.clock.now
    while site.clock.now < born + 340 * DAY:
        assert site.run().result in (Result.ENROLLED, Result.RENEWED, Result.NOTHING, Result.TRUSTED), site.log
        site.clock.advance(5 * DAY)
    trusted = facts.load_pem(site.path("files/ca.pem").read_bytes(), "ca.pem")
    assert len(trusted) == 2
    assert comes_from(site.leaf(), old)
    site.clock.now = born + 366 * DAY
    site.run()
    assert not comes_from(site.leaf(), old), site.log
    assert comes_from(site.leaf(), trusted[1])
    assert site.pair_matches()
    assert not {"failed", "abandoned", "staged"} & set(site.events())
    assert len(site.ca.issued()) == len({request.transaction_id for request in line(site).asked})
