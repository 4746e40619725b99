"""What requests are made of."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from asn1crypto import csr as asn1_csr
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from certagent import keys
from certagent.config.key_types import KeyType
from certagent.errors import TrustError
from certagent.keys import PrivateKey
from certagent.scep import (
    build_csr,
    csr_challenge,
    issuer_and_subject,
    new_nonce,
    new_transaction_id,
    parse_issuer_and_subject,
    random_transaction_id,
    self_signed,
)

from .parts import NOW, name

SAN = x509.SubjectAlternativeName([x509.DNSName("web.example.net"), x509.DNSName("example.net")])


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize("key_type", [KeyType.RSA_2048, KeyType.EC_P256, KeyType.EC_P384])
def test_csr(rsa_keys: list[PrivateKey], key_type: KeyType, digest: str) -> None:
    key = rsa_keys[0] if key_type is KeyType.RSA_2048 else keys.generate(key_type)
    request = x509.load_der_x509_csr(build_csr(key, name("CN=web,O=Example"), san=SAN, challenge="s", digest=digest))
    assert request.is_signature_valid
    assert keys.match(key, request.public_key())
    assert request.subject == name("CN=web,O=Example")
    assert request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == SAN


def test_csr_without_a_subject(rsa_keys: list[PrivateKey]) -> None:
    request = x509.load_der_x509_csr(build_csr(rsa_keys[0], x509.Name([]), san=SAN, challenge=None))
    assert request.subject == x509.Name([])
    assert request.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_csr_with_a_subject_alone(rsa_keys: list[PrivateKey]) -> None:
    request = x509.load_der_x509_csr(build_csr(rsa_keys[0], name("CN=web"), san=None, challenge=None))
    assert not list(request.extensions)
    assert not list(request.attributes)


@pytest.mark.parametrize(
    ("challenge", "string_type"),
    [
        pytest.param("Secret 12", "printable_string", id="PrintableString where it fits"),
        pytest.param("", "printable_string", id="empty"),
        pytest.param("under_score", "utf8_string", id="a character PrintableString has not"),
        pytest.param("geheim: süß", "utf8_string", id="beyond ASCII"),
        pytest.param("line\n", "utf8_string", id="newline"),
    ],
)
def test_challenge(rsa_keys: list[PrivateKey], challenge: str, string_type: str) -> None:
    request = build_csr(rsa_keys[0], name("CN=web"), san=None, challenge=challenge)
    assert csr_challenge(request) == challenge
    attributes = asn1_csr.CertificationRequest.load(request)["certification_request_info"]["attributes"]
    assert attributes[0]["values"][0].name == string_type


def test_no_challenge(rsa_keys: list[PrivateKey]) -> None:
    assert csr_challenge(build_csr(rsa_keys[0], name("CN=web"), san=SAN, challenge=None)) is None


class TokenKey(RSAPrivateKey):
    """A key as a token driver makes it: cryptography's interface, and another's work behind it."""

    def __init__(self, behind: RSAPrivateKey) -> None:
        self._behind = behind

    def sign(self, data, padding, algorithm):  # type: ignore[no-untyped-def]
        return self._behind.sign(data, padding, algorithm)

    def decrypt(self, ciphertext: bytes, padding: padding.AsymmetricPadding) -> bytes:
        return self._behind.decrypt(ciphertext, padding)

    def public_key(self):  # type: ignore[no-untyped-def]
        return self._behind.public_key()

    @property
    def key_size(self) -> int:
        return self._behind.key_size

    def private_numbers(self):  # type: ignore[no-untyped-def]
        raise AssertionError("a token does not show its key")

    def private_bytes(self, encoding, format, encryption_algorithm):  # type: ignore[no-untyped-def]  # noqa: A002 -- as the base has it
        raise AssertionError("a token does not show its key")

    def __copy__(self) -> TokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> TokenKey:
        return self


def test_a_key_may_live_elsewhere(rsa_keys: list[PrivateKey]) -> None:
    assert isinstance(rsa_keys[0], RSAPrivateKey)
    key = TokenKey(rsa_keys[0])
    assert x509.load_der_x509_csr(build_csr(key, name("CN=web"), san=SAN, challenge="s")).is_signature_valid
    certificate = self_signed(key, name("CN=web"), NOW)
    certificate.verify_directly_issued_by(certificate)


def test_self_signed(rsa_keys: list[PrivateKey]) -> None:
    certificate = self_signed(rsa_keys[0], name("CN=web"), NOW)
    certificate.verify_directly_issued_by(certificate)
    assert certificate.subject == certificate.issuer == name("CN=web")
    assert 0 < certificate.serial_number < 2**159, "at most 20 bytes, and positive"
    assert certificate.not_valid_before_utc < NOW - timedelta(hours=1), "clocks behind ours must take it"
    assert certificate.not_valid_after_utc > NOW + timedelta(days=90), "it opens the reply after a long wait"
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_encipherment


def test_a_self_signed_certificate_of_an_ec_key_claims_no_key_encipherment() -> None:
    certificate = self_signed(keys.generate(KeyType.EC_P256), name("CN=web"), NOW)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment) == (True, False)


def test_self_signed_without_a_subject_has_an_issuer(rsa_keys: list[PrivateKey]) -> None:
    assert list(self_signed(rsa_keys[0], x509.Name([]), NOW).issuer)


def test_poll_content() -> None:
    issuer, subject = name("CN=CA,O=Example"), name("CN=web")
    names = parse_issuer_and_subject(issuer_and_subject(issuer, subject))
    assert names == (issuer.public_bytes(), subject.public_bytes())


@pytest.mark.parametrize("data", [b"", b"\x30\x00", b"\x30\x02\x30\x00", b"\x30\x06" + b"\x30\x00" * 3, b"\x04\x00"])
def test_poll_content_that_is_none(data: bytes) -> None:
    with pytest.raises(TrustError):
        parse_issuer_and_subject(data)


def test_transaction_id_is_stable_for_a_key(rsa_keys: list[PrivateKey]) -> None:
    one, other = (key.public_key() for key in rsa_keys[:2])
    assert new_transaction_id(one) == new_transaction_id(one) != new_transaction_id(other)
    assert len(new_transaction_id(one)) == 64


def test_random_values_differ() -> None:
    assert random_transaction_id() != random_transaction_id()
    assert new_nonce() != new_nonce()
    assert len(new_nonce()) == 16


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_openssl_reads_the_csr(rsa_keys: list[PrivateKey], tmp_path: Path, digest: str) -> None:
    file = tmp_path / "csr.der"
    file.write_bytes(build_csr(rsa_keys[0], name("CN=web"), san=SAN, challenge="Secret 12", digest=digest))
    command = ["openssl", "req", "-inform", "DER", "-in", str(file), "-verify", "-noout", "-text"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "DNS:web.example.net" in text
    assert "challengePassword" in text
