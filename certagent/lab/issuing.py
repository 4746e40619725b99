"""What the lab CA signs: its own certificates, its RA's, its clients', and CRLs. Pure: `now` is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certagent.keys import PrivateKey, PublicKey, digest_for
from certagent.lab import checks
from certagent.scep import Signer

# id-kp-cmcRA, RFC 6402 §2.10: it tells an RA from any other holder of a certificate of this CA.
_CMC_RA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")


def name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "certagent lab, not for production"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def ca_certificate(
    key: PrivateKey,
    now: datetime,
    lifetime: timedelta,
    *,
    recipient: bool,
    begins: datetime | None = None,
    issuer: Signer | None = None,
    root: bool = False,
    pss: bool = False,
) -> x509.Certificate:
    """A CA certificate, self-signed or by `issuer`. `recipient`: requests are enveloped to it, as there is no RA.

    `begins`: valid from then, not from a little before `now`. `root`: there may be one more CA below it.
    """
    start = begins or now - backdate(lifetime)
    subject = name("certagent lab root CA" if root else "certagent lab CA")
    issuer_name = issuer.certificate.subject if issuer else subject
    usage = {"key_cert_sign", "crl_sign", "digital_signature"} | ({"key_encipherment"} if recipient else set())
    builder = _builder(subject, issuer_name, key.public_key(), start, now + lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=int(root)), critical=True)
    builder = builder.add_extension(_key_usage(usage), critical=True)
    if issuer is not None:
        builder = builder.add_extension(_authority_key(issuer), critical=False)
    return _signed(builder, issuer.key if issuer else key, pss=pss)


def ra_certificate(
    public_key: PublicKey, issuer: Signer, now: datetime, use: str, *, pss: bool = False
) -> x509.Certificate:
    """A certificate of the RA. `use`, its only key usage: `digital_signature` or `key_encipherment`."""
    role = {"digital_signature": "signing", "key_encipherment": "encryption"}[use]
    end = issuer.certificate.not_valid_after_utc
    subject = name(f"certagent lab RA {role}")
    start = _no_earlier(now - backdate(end - now), issuer)
    builder = _builder(subject, issuer.certificate.subject, public_key, start, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage({use}), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([_CMC_RA]), critical=False)
    builder = builder.add_extension(_authority_key(issuer), critical=False)
    return _signed(builder, issuer.key, pss=pss)


def leaf_certificate(
    csr: x509.CertificateSigningRequest,
    issuer: Signer,
    now: datetime,
    lifetime: timedelta,
    *,
    crl_url: str | None = None,
    pss: bool = False,
) -> x509.Certificate:
    """The certificate for a checked request (see `checks`). It does not outlive the CA's.

    `crl_url`: where the CRL is, for the certificate's distribution point.
    """
    key = checks.supported_key(csr)
    now = now.replace(microsecond=0)  # X.509 counts whole seconds; the lifetime is exactly as requested
    end = min(now + lifetime, issuer.certificate.not_valid_after_utc)
    start = _no_earlier(now - backdate(lifetime), issuer)
    builder = _builder(csr.subject, issuer.certificate.subject, key, start, end)
    # Only an RSA key can be used for key transport, so no other certificate must say so.
    usage = {"digital_signature"} | ({"key_encipherment"} if isinstance(key, rsa.RSAPublicKey) else set())
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(usage), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(_authority_key(issuer), critical=False)
    names = checks.alternative_names(csr.extensions)
    if names:
        # RFC 5280 §4.2.1.6: critical if the subject is empty.
        critical = not list(csr.subject)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=critical)
    if crl_url is not None:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    return _signed(builder, issuer.key, pss=pss)


def revocation_list(
    revoked: Mapping[int, datetime], issuer: Signer, now: datetime, lifetime: timedelta, *, pss: bool = False
) -> x509.CertificateRevocationList:
    """The CRL: serial number → when it was revoked. Its number is the second it was made in."""
    now = now.replace(microsecond=0)
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(now).next_update(now + lifetime)
    builder = builder.add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
    builder = builder.add_extension(_authority_key(issuer), critical=False)
    for serial, at in revoked.items():
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, digest_for(issuer.key, hashes.SHA256()), rsa_padding=_padding(issuer.key, pss=pss))


def backdate(lifetime: timedelta) -> timedelta:
    """How far to backdate notBefore, for clients whose clock is slow: a few whole seconds, zero for short lives."""
    return timedelta(seconds=min(300, lifetime // timedelta(seconds=100)))


def _no_earlier(start: datetime, issuer: Signer) -> datetime:
    return max(start, issuer.certificate.not_valid_before_utc)


def _signed(builder: x509.CertificateBuilder, key: PrivateKey, *, pss: bool) -> x509.Certificate:
    return builder.sign(key, digest_for(key, hashes.SHA256()), rsa_padding=_padding(key, pss=pss))


def _padding(key: PrivateKey, *, pss: bool) -> padding.PSS | None:
    """None means PKCS#1 v1.5, and is always returned for other keys than RSA."""
    if pss and isinstance(key, rsa.RSAPrivateKey):
        return padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return None


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
