"""What is asked of the CA, seen from the CA's side: names, usages, templates, keys; and what a renewal keeps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from certagent import certificate as facts
from certagent.lab import LabCA, Settings
from certagent.scep import Request
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site, Sites

V1_TEMPLATE = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2")


class Attentive(LabCA):
    """Keeps every CSR, and may write subjects its own way."""

    def __init__(self, directory: Path, clock: Callable[[], datetime], settings: Settings | None = None) -> None:
        super().__init__(directory, clock, settings)
        self.csrs: list[x509.CertificateSigningRequest] = []
        self.requests: list[Request] = []
        self.own_way = False

    def authenticate(self, request: Request, csr: x509.CertificateSigningRequest) -> str:
        self.requests.append(request)
        return super().authenticate(request, csr)

    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        self.csrs.append(csr)
        return super().issue(csr)


def attentive(site: Site) -> Attentive:
    assert isinstance(site.ca, Attentive)
    return site.ca


def asked(site: Site) -> x509.Extensions:
    return attentive(site).csrs[-1].extensions


def test_a_keystore_is_enrolled_and_renewed_by_alternative_names_alone(make_site: Sites) -> None:
    site = make_site(ca=Attentive)
    site.write("san: [dns:web.example.net, ip:192.0.2.7]", subject=False)
    assert site.run().result is Result.ENROLLED
    csr = attentive(site).csrs[-1]
    assert list(csr.subject) == []
    assert csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    site.clock.advance(60 * DAY)
    assert site.run().result is Result.RENEWED
    assert facts.alternative_names(site.leaf()) == {"dns:web.example.net", "ip:192.0.2.7"}
    assert list(site.leaf().subject) == []
    assert site.run(Wish.ENROLL).result is Result.ENROLLED


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("key_usage: [digitalSignature]\nextended_key_usage: [serverAuth]", id="as RFC 5280 spells them"),
        pytest.param("key_usage: [digital_signature]\nextended_key_usage: [server_auth]", id="as Python does"),
        pytest.param("key_usage: [digitalSignature]\nextended_key_usage: [id-kp-serverAuth, serverAuth]", id="twice"),
        pytest.param("key_usage: [digitalSignature]\nextended_key_usage: [1.3.6.1.5.5.7.3.1]", id="by its OID"),
    ],
)
def test_usages_are_asked_for_however_they_are_spelled(make_site: Sites, written: str) -> None:
    site = make_site(ca=Attentive)
    site.write(written)
    assert site.run().result is Result.ENROLLED
    assert asked(site).get_extension_for_class(x509.KeyUsage).value.digital_signature
    purposes = asked(site).get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_usages_and_template_are_asked_for_at_the_first_enrollment(make_site: Sites) -> None:
    site = make_site(ca=Attentive)
    site.write(
        "key_usage: [digital_signature, key_agreement]\n"
        "extended_key_usage: [client_auth, 1.3.6.1.5.5.7.3.17]\n"
        "may_lose: [1.3.6.1.5.5.7.3.17]\n"
        "template: WebServer"
    )
    assert site.run().result is Result.ENROLLED
    usage = asked(site).get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_agreement, usage.key_encipherment) == (True, True, False)
    purposes = asked(site).get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.IPSEC_IKE]
    assert asked(site).get_extension_for_oid(V1_TEMPLATE).value.public_bytes().endswith("WebServer".encode("utf-16-be"))


def test_a_renewal_asks_for_the_usages_of_the_certificate_in_place(make_site: Sites) -> None:
    site = make_site(ca=Attentive)
    site.write()
    site.run()
    in_place = site.leaf().extensions.get_extension_for_class(x509.KeyUsage).value
    site.write("key_usage: [content_commitment]")
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert asked(site).get_extension_for_class(x509.KeyUsage).value == in_place


SUBJECTS = [
    pytest.param("CN=web,O=Example\\, Inc.", id="escaped comma"),
    pytest.param("CN=web+serialNumber=42,O=Example", id="multi-valued RDN"),
    pytest.param("CN=Größe,O=株式会社", id="non-ASCII"),
    pytest.param("UID=7,DC=example,DC=net", id="domain components"),
    pytest.param("C=DE,ST=Bayern,L=München,O=Example,OU=Netz,CN=r1", id="all the usual"),
]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_any_subject_is_enrolled_and_renewed_as_written(make_site: Sites, subject: str) -> None:
    site = make_site(ca=Attentive)
    site.write(f"subject: '{subject}'", subject=False)
    assert site.run().result is Result.ENROLLED
    wanted = facts.parse_subject(subject)
    assert site.leaf().subject == wanted
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert site.leaf().subject == wanted


def test_names_of_every_kind_are_asked_for_and_kept(make_site: Sites) -> None:
    site = make_site(ca=Attentive)
    names = [
        "dns:web.example.net",
        "ip:192.0.2.7",
        "ip:2001:db8::7",
        "email:a@example.net",
        "uri:urn:x:1",
        "upn:a@corp",
    ]
    site.write(f"subject: CN=web\nsan: [{', '.join(repr(name) for name in names)}]", subject=False)
    assert site.run().result is Result.ENROLLED
    assert facts.alternative_names(site.leaf()) == frozenset(names)
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert facts.alternative_names(site.leaf()) == frozenset(names)


@pytest.mark.parametrize("key_type", ["rsa:3072", "ec:p256", "ec:p384"])
def test_keys_of_each_type_are_enrolled_and_renewed(make_site: Sites, key_type: str) -> None:
    site = make_site(ca=Attentive)
    site.write(f"key_type: {key_type}")
    assert site.run().result is Result.ENROLLED
    first = site.leaf()
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert site.pair_matches()
    assert site.leaf().public_key() != first.public_key()
    public = site.leaf().public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        assert public.curve.key_size == int(key_type[-3:])
        assert not (site.keystore_directory / "transaction").exists()  # and the transport key with it


@pytest.mark.parametrize("key_transport", ["rsa", "oaep", "password"])
def test_requests_travel_as_configured(make_site: Sites, key_transport: str) -> None:
    site = make_site(ca=Attentive)
    site.write(authority=f"key_transport: {key_transport}")
    assert site.run().result is Result.ENROLLED
    assert attentive(site).requests[-1].key_transport == key_transport
    assert site.run(Wish.RENEW).result is Result.RENEWED


class OwnWay(LabCA):
    """Adds a serial number to every subject, as some CAs do."""

    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        extra = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, "4711")])
        return super().issue(_Renamed(csr, x509.Name([*csr.subject.rdns, extra])))  # type: ignore[arg-type]  # a CSR in all that issue() looks at


class _Renamed:
    def __init__(self, csr: x509.CertificateSigningRequest, subject: x509.Name) -> None:
        self._csr, self.subject = csr, subject

    def __getattr__(self, name: str) -> object:
        return getattr(self._csr, name)


def test_a_subject_written_the_cas_own_way_is_refused_unless_allowed(make_site: Sites) -> None:
    site = make_site(ca=OwnWay)
    site.write()
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "set check_subject: key" in str(outcome.hint)
    site.write("check_subject: key")
    assert site.run(Wish.NOW).result is Result.ENROLLED
    assert "4711" in site.leaf().subject.rfc4514_string()
    assert len(site.ca.issued()) == 1  # the same one, now accepted


def test_an_ra_named_by_file_is_the_recipient_and_the_signer(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, ra=True), ca=Attentive)
    generation = site.ca.generation
    for word, signer in (("recipient", generation.recipient), ("signer", generation.signer)):
        site.path(f"{word}.pem").write_bytes(facts.to_pem([signer.certificate]))
    site.write(authority=f"recipient: {site.path('recipient.pem')}\nsigner: {site.path('signer.pem')}")
    assert site.run().result is Result.ENROLLED


def test_a_named_ra_of_another_ca_is_passed_over(make_site: Sites, tmp_path: Path) -> None:
    site = make_site(ca=Attentive)
    other = LabCA(tmp_path / "other", site.clock, Settings(ra=True)).generation
    for word, signer in (("recipient", other.recipient), ("signer", other.signer)):
        site.path(f"{word}.pem").write_bytes(facts.to_pem([signer.certificate]))
    site.write(authority=f"recipient: {site.path('recipient.pem')}\nsigner: {site.path('signer.pem')}")
    assert site.run().result is Result.ENROLLED


def test_an_answer_by_another_ra_than_the_named_signer_is_refused(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, ra=True), ca=Attentive)
    generation = site.ca.generation
    site.path("signer.pem").write_bytes(facts.to_pem([generation.recipient.certificate]))
    site.write(authority=f"signer: {site.path('signer.pem')}")
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "signed by an unknown party" in str(outcome.message)
    assert not site.certificate.exists()
