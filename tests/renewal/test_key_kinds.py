"""Keys that only sign, and not with a digest: Ed25519, Ed448, ML-DSA, as the device's and as the CA's.

the device's key    requested as PKCSReq signed with an RSA transport key, authenticated by the challenge
the CA's key        verified wherever it signs: certificates, replies, CRLs; requests go to an RSA recipient
"""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent import keys, pem_blocks
from certagent.config.key_types import KeyType
from certagent.lab import Generation, LabCA, Settings
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from certagent.trust.proof import comes_from
from tests.renewal.line import PKCS_REQ, RENEWAL_REQ, BadLine, line
from tests.renewal.site import DAY, Site, Sites
from tests.unit.pki import as_openssl_writes

ONE_OF_EACH = [KeyType.ED25519, KeyType.ML_DSA_65]
KINDS = [
    *ONE_OF_EACH,
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in (KeyType.ED448, KeyType.ML_DSA_44, KeyType.ML_DSA_87)),
]


class SignsItself(BadLine):
    """The CA's own key signs the replies; only the recipient of requests is an RA with an RSA key."""

    @property
    def generation(self) -> Generation:
        made = super().generation
        return Generation(made.issuer, made.issuer, made.recipient, made.above)


@pytest.fixture
def rsa_site(make_site: Sites) -> Site:
    made: Site = make_site(Settings(lifetime=90 * DAY), ca=BadLine)
    return made


def kind_in_place(site: Site) -> str:
    assert site.pair_matches()
    return keys.type_of(site.leaf().public_key())


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_key_is_enrolled_and_renewed(rsa_site: Site, kind: KeyType) -> None:
    rsa_site.write(f"key_type: {kind}")
    assert rsa_site.run().result is Result.ENROLLED, rsa_site.log
    first = rsa_site.leaf()
    assert kind_in_place(rsa_site) == kind
    rsa_site.clock.advance(61 * DAY)
    assert rsa_site.run().result is Result.RENEWED, rsa_site.log
    assert kind_in_place(rsa_site) == kind
    assert first.public_key() != rsa_site.leaf().public_key()
    assert line(rsa_site).types() == [PKCS_REQ, PKCS_REQ]
    assert all(isinstance(request.signer.public_key(), rsa.RSAPublicKey) for request in line(rsa_site).asked)
    assert not rsa_site.path("state/keystores/web/transaction").exists()  # nor the transport key in it


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_a_device_key_is_kept(rsa_site: Site, kind: KeyType) -> None:
    rsa_site.write(f"key_type: {kind}\nrekey: never")
    rsa_site.run()
    first, written = rsa_site.leaf(), rsa_site.key.read_bytes()
    assert rsa_site.run(Wish.RENEW).result is Result.RENEWED, rsa_site.log
    assert first.public_key() == rsa_site.leaf().public_key()
    assert first.serial_number != rsa_site.leaf().serial_number
    assert rsa_site.key.read_bytes() == written


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_that_openssl_made_is_adopted_and_renewed(rsa_site: Site, kind: KeyType) -> None:
    """OpenSSL writes an ML-DSA key with its expanded form; certagent writes the seed alone, which OpenSSL reads."""
    rsa_site.write(f"key_type: {kind}\nrekey: never")
    rsa_site.run()
    in_place = keys.load_private(rsa_site.key.read_bytes(), None, "web.key")
    rsa_site.key.write_bytes(as_openssl_writes(in_place))
    assert rsa_site.run(Wish.RENEW).result is Result.RENEWED, rsa_site.log
    assert kind_in_place(rsa_site) == kind
    assert keys.match(in_place, rsa_site.leaf().public_key())


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_from_rsa_and_back(rsa_site: Site, kind: KeyType) -> None:
    """The RSA key signs for its successor; back, the challenge has to say who asks."""
    rsa_site.write("key_format: pkcs1")
    rsa_site.run()
    rsa_site.write(f"key_type: {kind}")
    assert rsa_site.run(Wish.RENEW).result is Result.RENEWED, rsa_site.log
    assert kind_in_place(rsa_site) == kind
    assert pem_blocks.key_format(rsa_site.key.read_bytes()) == "pkcs8"
    rsa_site.write()
    assert rsa_site.run(Wish.RENEW).result is Result.RENEWED, rsa_site.log
    assert kind_in_place(rsa_site) == "rsa:2048"
    assert line(rsa_site).types() == [PKCS_REQ, RENEWAL_REQ, PKCS_REQ]


def test_a_kept_key_is_not_rewritten_in_a_format_that_it_does_not_have(rsa_site: Site) -> None:
    rsa_site.write("key_type: ed25519\nrekey: never")
    rsa_site.run()
    rsa_site.write("key_format: pkcs1\nrekey: never")  # of RSA keys, were a new one made
    written = rsa_site.key.read_bytes()
    assert rsa_site.run().result in (Result.ADJUSTED, Result.NOTHING), rsa_site.log
    assert rsa_site.run().result is Result.NOTHING, rsa_site.log
    assert rsa_site.key.read_bytes() == written


@pytest.mark.slow
@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_check_says_that_such_a_key_needs_a_challenge(make_site: Sites, kind: KeyType) -> None:
    site = make_site(Settings(lifetime=90 * DAY), real_time=True)
    site.write(f"key_type: {kind}")
    assert site.run().result is Result.ENROLLED, site.log
    config = site.config.read_text()
    site.config.write_text("\n".join(each for each in config.splitlines() if "challenge:" not in each) + "\n")
    words = {KeyType.ED25519: "an Ed25519 key", KeyType.ML_DSA_65: "an ML-DSA key"}[kind]
    checked = site.command("check", "--offline").stdout
    assert f"{words} cannot sign a renewal over SCEP" in checked
    assert f"use {kind} keys" in checked  # whether this host's OpenSSL can


@pytest.mark.parametrize("ca", [BadLine, SignsItself], ids=["an RSA RA signs replies", "the CA's key signs replies"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_ca_is_believed_asked_and_answered(make_site: Sites, kind: KeyType, ca: type[LabCA]) -> None:
    site = make_site(Settings(lifetime=90 * DAY, ca_key=kind, intermediate=True), ca=ca)
    site.write(f"ca_file: {site.path('files/ca.pem')}")
    assert site.run().result is Result.ENROLLED, site.log
    assert site.run(Wish.RENEW).result is Result.RENEWED, site.log
    issuer = site.ca.generation.issuer.certificate
    assert keys.type_of(issuer.public_key()) == kind
    assert comes_from(site.leaf(), issuer)
    assert line(site).types() == [PKCS_REQ, RENEWAL_REQ]


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_a_ca_without_an_rsa_recipient_is_told_so(make_site: Sites, kind: KeyType) -> None:
    class WithoutRA(BadLine):
        @property
        def generation(self) -> Generation:
            made = super().generation
            return Generation(made.issuer, made.issuer, made.issuer, made.above)

    site = make_site(Settings(ca_key=kind), ca=WithoutRA)
    site.write()
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "the key of lab's CA is not RSA, and it offers no RSA encryption certificate" in str(outcome.message)
    assert "needs an RA with an RSA encryption certificate" in str(outcome.hint)
    assert line(site).heard == []
