"""Subjects, names and extensions that a certificate is asked for with, as openssl and cryptography read them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID

from certagent.certificate import alternative_names, general_names, parse_subject
from certagent.config.names import ATTRIBUTES
from certagent.config.values import AlternativeName, Subject
from certagent.errors import ConfigError
from certagent.keys import PrivateKey
from certagent.scep import build_csr, certificate_template, kept_extensions

from .parts import NOW, name

USAGE = x509.Extension(
    x509.KeyUsage.oid,
    critical=True,
    value=x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    ),
)
PURPOSES = x509.Extension(
    x509.ExtendedKeyUsage.oid,
    critical=False,
    value=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, x509.ObjectIdentifier("1.3.6.1.5.5.7.3.17")]),
)


def ask(key: PrivateKey, subject: x509.Name, *extensions: x509.Extension[x509.ExtensionType]) -> bytes:
    return build_csr(key, subject, san=None, challenge=None, extensions=extensions)


def load(request: bytes) -> x509.CertificateSigningRequest:
    loaded = x509.load_der_x509_csr(request)
    assert loaded.is_signature_valid
    return loaded


def openssl_text(request: bytes, tmp_path: Path) -> str:
    file = tmp_path / "csr.der"
    file.write_bytes(request)
    command = ["openssl", "req", "-inform", "DER", "-in", str(file), "-verify", "-noout", "-text"]
    command += ["-nameopt", "RFC2253,-esc_msb,utf8"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    "subject",
    [
        pytest.param("CN=web,O=Example", id="plain"),
        pytest.param("CN=dev+serialNumber=42,O=Example", id="multi-valued"),
        pytest.param("CN=Gerät ß,O=Örtlich,L=東京", id="beyond ASCII"),
        pytest.param("CN=a\\,b\\+c,O=\\#x", id="escaped characters"),
        pytest.param("CN=x,DC=example,DC=net", id="domain components"),
        pytest.param("emailAddress=a@example.net,CN=x", id="emailAddress"),
        pytest.param("unstructuredName=r1.example.net,serialNumber=FTX1234", id="a router's"),
        pytest.param("2.5.4.97=NTRDE-1,CN=x", id="an attribute by its OID"),
        pytest.param(f"CN={'x' * 64},OU=a,OU=b,OU=c", id="long, and three units"),
    ],
)
def test_subjects(rsa_keys: list[PrivateKey], tmp_path: Path, subject: str) -> None:
    wanted = parse_subject(subject)
    request = ask(rsa_keys[0], wanted)
    assert load(request).subject == wanted
    assert load(request).subject.public_bytes() == wanted.public_bytes()
    assert "Subject: " in openssl_text(request, tmp_path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param("cn=web,o=Example,c=de", "CN=web,O=Example,C=de", id="small letters"),
        pytest.param("commonName=web,OrganizationName=Example", "CN=web,O=Example", id="in full"),
        pytest.param("CN=web,E=a@example.net", "CN=web,emailAddress=a@example.net", id="E"),
        pytest.param("EMAILADDRESS=a@example.net", "emailAddress=a@example.net", id="as keytool prints it"),
        pytest.param("S=Bavaria,L=Munich", "ST=Bavaria,L=Munich", id="S, as Windows writes it"),
        pytest.param("sn=Smith,g=Ann,SERIALNUMBER=1", "SN=Smith,GN=Ann,serialNumber=1", id="SN is a surname"),
        pytest.param("uid=7,dc=example,dc=net", "UID=7,DC=example,DC=net", id="a directory's"),
        pytest.param("OID.2.5.4.3=web", "CN=web", id="an OID with its prefix"),
        pytest.param("2.5.4.3=web", "CN=web", id="an OID that has a name"),
        pytest.param("cn=a=b\\,o=c", "CN=a=b\\,o=c", id="what looks like an attribute inside a value"),
        pytest.param("L=" + "\\c3\\a4" * 128, f"L={'ä' * 128}", id="characters are counted, not bytes"),
    ],
)
def test_an_attribute_may_be_written_in_other_ways(written: str, meant: str) -> None:
    assert parse_subject(written) == parse_subject(meant)
    assert parse_subject(Subject.parse(written)) == parse_subject(meant)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_attribute_is_held_to_its_bound(attribute: str) -> None:
    longest = ATTRIBUTES[attribute].longest
    value = "x" * (longest or 100)
    name = parse_subject(f"{attribute}={value}")
    assert [(each.oid.dotted_string, each.value) for each in name] == [(ATTRIBUTES[attribute].oid, value)]
    if longest is not None:
        with pytest.raises(ConfigError, match=f"{attribute} has {longest + 1} characters"):
            parse_subject(f"{attribute}={value}x")


@pytest.mark.needs("openssl")
def test_openssl_sees_a_multi_valued_name(rsa_keys: list[PrivateKey], tmp_path: Path) -> None:
    text = openssl_text(ask(rsa_keys[0], parse_subject("CN=Gerät+serialNumber=42,O=Example")), tmp_path)
    assert "Subject: CN=Gerät+serialNumber=42,O=Example" in text.replace(
        "serialNumber=42+CN=Gerät", "CN=Gerät+serialNumber=42"
    )


NAMES = (
    "dns:web.example.net",
    "ip:192.0.2.7",
    "ip:2001:db8::7",
    "email:a@example.net",
    "uri:urn:x:1",
    "upn:a@corp.test",
)


def test_every_kind_of_alternative_name(rsa_keys: list[PrivateKey]) -> None:
    san = general_names([AlternativeName(*word.split(":", 1)) for word in NAMES])
    request = load(build_csr(rsa_keys[0], name("CN=web"), san=san, challenge=None))
    found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert alternative_names(found.value) == set(NAMES)
    assert not found.critical


@pytest.mark.needs("openssl")
def test_usages(rsa_keys: list[PrivateKey], tmp_path: Path) -> None:
    request = ask(rsa_keys[0], name("CN=web"), USAGE, PURPOSES)
    assert list(load(request).extensions) == [USAGE, PURPOSES]
    text = openssl_text(request, tmp_path)
    assert "X509v3 Key Usage: critical\n                    Digital Signature, Key Encipherment" in text
    assert "TLS Web Server Authentication, ipsec Internet Key Exchange" in text


def test_usages_beside_names_and_a_challenge(rsa_keys: list[PrivateKey]) -> None:
    san = x509.SubjectAlternativeName([x509.DNSName("web")])
    request = load(build_csr(rsa_keys[0], name("CN=web"), san=san, challenge="secret", extensions=[PURPOSES]))
    assert [each.value for each in request.extensions] == [san, PURPOSES.value]
    assert request.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value == b"secret"


def test_an_extension_twice_is_a_mistake(rsa_keys: list[PrivateKey]) -> None:
    with pytest.raises(ConfigError, match=r"2\.5\.29\.15 is requested twice"):
        ask(rsa_keys[0], name("CN=web"), USAGE, USAGE)


# ── Microsoft's certificate template ──


@pytest.mark.parametrize("template", ["WebServer", "IPSECIntermediateOffline", "Gerät", "1 2"])
def test_template_by_name(rsa_keys: list[PrivateKey], template: str) -> None:
    (found,) = load(ask(rsa_keys[0], name("CN=web"), certificate_template(template))).extensions
    assert (found.oid.dotted_string, found.critical) == ("1.3.6.1.4.1.311.20.2", False)
    assert core.BMPString.load(found.value.public_bytes(), strict=True).native == template


@pytest.mark.parametrize(
    ("template", "oid", "major", "minor"),
    [
        ("1.3.6.1.4.1.311.21.8.1.2:100:3", "1.3.6.1.4.1.311.21.8.1.2", 100, 3),
        ("1.3.6.1.4.1.311.21.8.1.2:100", "1.3.6.1.4.1.311.21.8.1.2", 100, None),
        ("1.3.6.1.4.1.311.21.8.1.2", "1.3.6.1.4.1.311.21.8.1.2", None, None),
    ],
)
def test_template_by_oid(
    rsa_keys: list[PrivateKey], template: str, oid: str, major: int | None, minor: int | None
) -> None:
    (found,) = load(ask(rsa_keys[0], name("CN=web"), certificate_template(template))).extensions
    assert found.oid.dotted_string == "1.3.6.1.4.1.311.21.7"
    assert found.value == x509.MSCertificateTemplate(x509.ObjectIdentifier(oid), major, minor)


@pytest.mark.parametrize(
    "template",
    ["", "two\nlines", "\0", "\N{GRINNING FACE}", "9.9.9:1", f"1.3.6.1:{2**80}", "1.3:1:" + "9" * 5000],
    ids=["empty", "two lines", "NUL", "beyond the BMP", "no OID", "a version of 80 bits", "a version of 5000 digits"],
)
def test_no_template(template: str) -> None:
    with pytest.raises(ConfigError):
        certificate_template(template)


# ── what a renewal keeps ──


def test_a_renewal_keeps_usages_and_template_and_nothing_of_the_issuers(rsa_keys: list[PrivateKey]) -> None:
    key = rsa_keys[0]
    kept = [USAGE, PURPOSES, certificate_template("WebServer"), certificate_template("1.2.3.4:5")]
    issuers = [
        x509.BasicConstraints(ca=False, path_length=None),
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        x509.SubjectAlternativeName([x509.DNSName("web")]),
        x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)]),
    ]
    builder = x509.CertificateBuilder().subject_name(name("CN=web")).issuer_name(name("CN=CA")).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(NOW).not_valid_after(NOW.replace(year=2031))
    for value in issuers:
        builder = builder.add_extension(value, critical=False)
    for extension in kept:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    found = kept_extensions(builder.sign(key, hashes.SHA256()))
    assert list(found) == kept
    assert list(load(ask(key, name("CN=web"), *found)).extensions) == kept


# ── the digest ──


@pytest.mark.parametrize(
    ("digest", "used"),
    [("md5", "sha256"), ("sha1", "sha256"), ("sha224", "sha256"), ("sha256", "sha256"), ("sha512", "sha512")],
)
@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_never_signed_over_less_than_sha256(rsa_keys: list[PrivateKey], kind: str, digest: str, used: str) -> None:
    """Whatever the CA's messages are made with."""
    key = rsa_keys[0] if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    request = load(build_csr(key, name("CN=web"), san=None, challenge=None, digest=digest))
    algorithm = request.signature_hash_algorithm
    assert algorithm is not None
    assert algorithm.name == used
