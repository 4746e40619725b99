"""Kinds of CA the lab can be: certagent enrolls, renews and polls at each; openssl judges the chain."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.certificate import fingerprint
from certagent.config.key_types import KeyType
from certagent.lab import Settings
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.line import approve
from tests.renewal.site import DAY, Site, Sites, openssl

pytestmark = [pytest.mark.needs("openssl")]

KINDS = [
    pytest.param({"ca_key": KeyType.EC_P256}, "id-ecPublicKey", "ecdsa-with-SHA256", id="EC p256"),
    pytest.param({"ca_key": KeyType.EC_P384}, "id-ecPublicKey", "ecdsa-with-SHA256", id="EC p384"),
    pytest.param({"ca_key": KeyType.RSA_4096}, "rsaEncryption", "sha256WithRSAEncryption", id="RSA 4096"),
    pytest.param({"pss": True}, "rsaEncryption", "rsassaPss", id="RSA-PSS"),
    pytest.param({"intermediate": True}, "rsaEncryption", "sha256WithRSAEncryption", id="intermediate"),
    pytest.param({"intermediate": True, "ra": True}, "rsaEncryption", "sha256WithRSAEncryption", id="intermediate, RA"),
    pytest.param(
        {"intermediate": True, "ca_key": KeyType.EC_P256}, "id-ecPublicKey", "ecdsa-with-SHA256", id="intermediate, EC"
    ),
]


def judged(site: Site) -> None:
    """The certificate is good up to the root, and so is the CRL that it points to."""
    root = site.path("lab/root.pem")
    ca = site.path("lab/ca.pem")
    crl = site.path("crl.pem")
    crl.write_bytes(site.ca.crl().public_bytes(Encoding.PEM))
    at = ("-attime", str(int(site.clock().timestamp())), "-purpose", "sslserver", "-x509_strict")
    trust = ["-CAfile", str(root), "-untrusted", str(ca)] if root.exists() else ["-CAfile", str(ca)]
    verified = openssl("verify", *at, "-crl_check", "-CRLfile", str(crl), *trust, str(site.certificate))
    assert verified == f"{site.certificate}: OK\n"


@pytest.mark.parametrize(("settings", "key", "signature"), KINDS)
def test_enrolled_and_renewed(make_site: Sites, settings: dict[str, Any], key: str, signature: str) -> None:
    site = make_site(Settings(lifetime=90 * DAY, **settings))
    site.write()
    assert site.run().result is Result.ENROLLED, site.log
    judged(site)
    assert site.run(Wish.RENEW).result is Result.RENEWED, site.log
    judged(site)
    assert [record.kind for record in site.ca.issued()] == ["enrollment", "renewal"]
    ca = openssl("x509", "-in", str(site.path("lab/ca.pem")), "-noout", "-text")
    assert f"Public Key Algorithm: {key}" in ca
    assert f"Signature Algorithm: {signature}" in openssl("x509", "-in", str(site.certificate), "-noout", "-text")


@pytest.mark.parametrize(("settings", "key", "signature"), KINDS)
def test_it_stays_what_it_was_made_as(make_site: Sites, settings: dict[str, Any], key: str, signature: str) -> None:
    site = make_site(Settings(lifetime=90 * DAY, **settings))
    again = type(site.ca)(site.ca.store.directory, site.clock, Settings())
    assert list(again.ca_certificates()) == list(site.ca.ca_certificates())


def test_approval_by_a_person_through_an_intermediate_ec_ca(make_site: Sites) -> None:
    site = make_site(Settings(manual=True, intermediate=True, ca_key=KeyType.EC_P256))
    site.write()
    assert site.run().result is Result.PENDING
    approve(site)
    assert site.run(Wish.NOW).result is Result.ENROLLED
    judged(site)


def test_the_root_is_enough_to_believe_the_intermediate(make_site: Sites) -> None:
    site = make_site(Settings(intermediate=True, ra=True))
    site.write("certificate_format: fullchain", authority=f"fingerprint: {fingerprint(site.ca.generation.above[0])}")
    assert site.run().result is Result.ENROLLED, site.log
    assert site.certificate.read_bytes().count(b"BEGIN CERTIFICATE") == 2  # its own and the intermediate's


def test_a_ca_made_without_a_root_gets_none_later(make_site: Sites) -> None:
    site = make_site()
    later = type(site.ca)(site.ca.store.directory, site.clock, Settings(intermediate=True))
    assert later.generation.above == ()
    assert not site.path("lab/root.key").exists()


def test_revoked_at_the_ca_is_an_error_in_words_at_the_client(make_site: Sites) -> None:
    site = make_site()
    site.write()
    site.run()
    site.ca.store.revoke(site.leaf().serial_number, site.clock())
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert "badRequest (the signing certificate was revoked)" in str(outcome.message)
    assert site.pair_matches()


@pytest.mark.parametrize("ca_key", [KeyType.RSA_2048, KeyType.EC_P256])
def test_ec_keys_need_no_rsa_key_where_the_challenge_locks_the_envelopes(make_site: Sites, ca_key: KeyType) -> None:
    site = make_site(Settings(ca_key=ca_key))
    site.write("key_type: ec:p256", authority="key_transport: password")
    assert site.run().result is Result.ENROLLED, site.log
    assert site.run(Wish.RENEW).result is Result.RENEWED, site.log
    judged(site)
    assert [record.kind for record in site.ca.issued()] == ["enrollment", "renewal"]
    assert not list(site.path("state").rglob("transport.pem"))


def test_oaep(make_site: Sites) -> None:
    site = make_site()
    site.write(authority="key_transport: oaep")
    assert site.run().result is Result.ENROLLED, site.log
    assert site.run(Wish.RENEW).result is Result.RENEWED, site.log
    judged(site)
