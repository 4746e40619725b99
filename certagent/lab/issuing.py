"""What the lab CA signs: its own certificates, those of its RA, and the ones it issues. Pure: keys and `now` in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certagent.keys import PrivateKey, PublicKey
from certagent.lab import checks
from certagent.scep import Signer


def name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "certagent lab, not for production"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def ca_certificate(key: PrivateKey, now: datetime, lifetime: timedelta, *, recipient: bool) -> x509.Certificate:
    """A self-signed CA certificate. `recipient`: requests are enveloped to it, there is no RA."""
    subject = name("certagent lab CA")
    usage = {"key_cert_sign", "crl_sign", "digital_signature"} | ({"key_encipherment"} if recipient else set())
    builder = _builder(subject, subject, key.public_key(), now - backdate(lifetime), now + lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(usage), critical=True)
    return builder.sign(key, hashes.SHA256())


def ra_certificate(public_key: PublicKey, issuer: Signer, now: datetime, use: str) -> x509.Certificate:
    """A certificate of the RA. `use`, its only key usage: `digital_signature` or `key_encipherment`."""
    role = {"digital_signature": "signing", "key_encipherment": "encryption"}[use]
    end = issuer.certificate.not_valid_after_utc
    subject = name(f"certagent lab RA {role}")
    builder = _builder(subject, issuer.certificate.subject, public_key, now - backdate(end - now), end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage({use}), critical=True)
    builder = builder.add_extension(_authority_key(issuer), critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def leaf_certificate(
    csr: x509.CertificateSigningRequest, issuer: Signer, now: datetime, lifetime: timedelta
) -> x509.Certificate:
    """The certificate a checked request (see `checks`) gets. It never outlives the CA's."""
    key = checks.supported_key(csr)
    now = now.replace(microsecond=0)  # X.509 counts whole seconds; a lifetime is exactly what was asked for
    end = min(now + lifetime, issuer.certificate.not_valid_after_utc)
    builder = _builder(csr.subject, issuer.certificate.subject, key, now - backdate(lifetime), end)
    # An EC key cannot be used for key transport; saying so would be wrong in the other direction.
    usage = {"digital_signature"} | ({"key_encipherment"} if isinstance(key, rsa.RSAPublicKey) else set())
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(usage), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(_authority_key(issuer), critical=False)
    names = checks.alternative_names(csr.extensions)
    if names:
        # RFC 5280 §4.2.1.6: critical when it is all that names the subject.
        critical = not list(csr.subject)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=critical)
    return builder.sign(issuer.key, hashes.SHA256())


def backdate(lifetime: timedelta) -> timedelta:
    """How far notBefore lies back, for clients whose clock is slow: little, whole seconds, none for short lives."""
    return timedelta(seconds=min(300, lifetime // timedelta(seconds=100)))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _authority_key(issuer: Signer) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _key_usage(usage: Iterable[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital_signature" in usage,
        key_encipherment="key_encipherment" in usage,
        key_cert_sign="key_cert_sign" in usage,
        crl_sign="crl_sign" in usage,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
