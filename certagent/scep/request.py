"""The parts of a request: the CSR, the self-signed certificate of a first request, IDs and nonces."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from asn1crypto import cms, core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import AttributeOID

from certagent.errors import ConfigError
from certagent.keys import PrivateKey, PublicKey, digest_for, public_bytes
from certagent.scep import asn1, encoding
from certagent.scep.message import NONCE_SIZE

_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,./:=?-]*")
_STRONG: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
# A self-signed certificate serves one transaction: backdated for clocks behind ours (some CAs compare),
# and valid for longer than any poll_limit a person would set.
_BACKDATED = timedelta(days=1)
_LIFETIME = timedelta(days=366)


def build_csr(
    key: PrivateKey,
    subject: x509.Name,
    *,
    san: x509.SubjectAlternativeName | None,
    challenge: str | None,
    extensions: Iterable[x509.Extension[x509.ExtensionType]] = (),
    digest: str = "sha256",
) -> bytes:
    """A DER PKCS#10 request (RFC 2986), signed by `key`, wherever that is kept.

    An empty `subject` with a `san` is allowed, and marks the names critical (RFC 5280 §4.2.1.6).
    `challenge` becomes a challengePassword: PrintableString if its characters allow that, otherwise UTF8String.
    `extensions` are requested in addition to the `san`: see `kept_extensions`, `certificate_template`. ConfigError for
    one that is given twice.

    `digest` is the messages'; if that is SHA-1, for a CA that claims nothing better, the CSR is still signed
    with SHA-256. Capabilities are about messages, but the CSR goes on to the CA software itself, which supported
    SHA-256 before it began to refuse SHA-1.
    """
    request = x509.CertificateSigningRequestBuilder(subject)
    if challenge is not None:
        # The library offers the tag to its own modules only, and without it always writes UTF8String.
        tag = _ASN1Type.PrintableString if _PRINTABLE.fullmatch(challenge) else _ASN1Type.UTF8String
        request = request.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode(), _tag=tag)
    if san is not None:
        request = request.add_extension(san, critical=not list(subject))
    for each in extensions:
        try:
            request = request.add_extension(each.value, each.critical)
        except ValueError:
            raise ConfigError(
                f"the certificate extension {each.oid.dotted_string} is requested twice",
                "a request may have each at most once",
            ) from None
    return request.sign(key, digest_for(key, _STRONG.get(digest, hashes.SHA256)())).public_bytes(Encoding.DER)


def certificate_template(name: str) -> x509.Extension[x509.ExtensionType]:
    """Microsoft's extension that tells an NDES or AD CS which template to use.

    A name (`WebServer`) makes the V1 extension 1.3.6.1.4.1.311.20.2; an OID, with or without `:major` and `:minor`
    versions (`1.3.6.1.4.1.311.21.8.1.2:100:3`), the V2 extension 1.3.6.1.4.1.311.21.7. Raises ConfigError.
    """
    if version := _TEMPLATE.fullmatch(name):
        oid, major, minor = version.groups()
        try:
            identifier = x509.ObjectIdentifier(oid)
            numbers = [int(number) if number else None for number in (major, minor)]
            v2 = x509.MSCertificateTemplate(identifier, *numbers)
            v2.public_bytes()
        except (ValueError, OverflowError):
            raise ConfigError(f"certificate template {name!r} is not an OID with versions", _TEMPLATE_HINT) from None
        return x509.Extension(v2.oid, critical=False, value=v2)
    if not name or not name.isprintable() or any(ord(character) > 0xFFFF for character in name):
        raise ConfigError(f"certificate template {name!r} is not a name", _TEMPLATE_HINT)
    v1 = x509.UnrecognizedExtension(_TEMPLATE_NAME, core.BMPString(name).dump())
    return x509.Extension(v1.oid, critical=False, value=v1)


_TEMPLATE = re.compile(r"(\d+(?:\.\d+)+)(?::(\d+)(?::(\d+))?)?", re.ASCII)
_TEMPLATE_HINT = "write its name, or its OID and version, e.g. 1.3.6.1.4.1.311.21.8.1.2:100:3"
_TEMPLATE_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2")


def kept_extensions(certificate: x509.Certificate) -> tuple[x509.Extension[x509.ExtensionType], ...]:
    """What a renewal asks for again: usages and template of the certificate in place, critical where they are now.

    Not the alternative names, which have a separate argument, and nothing that only the issuer decides.
    TrustError if the extensions cannot be read.
    """
    with asn1.parsing("a certificate's extensions"):
        return tuple(each for each in certificate.extensions if each.oid in _KEPT)


_KEPT = frozenset(
    {
        x509.KeyUsage.oid,
        x509.ExtendedKeyUsage.oid,
        x509.MSCertificateTemplate.oid,
        _TEMPLATE_NAME,
    }
)


def csr_challenge(request: bytes) -> str | None:
    """The challengePassword in a DER PKCS#10 request; None if there is none. Raises TrustError."""
    from asn1crypto import csr  # noqa: PLC0415 -- only CAs read requests

    with asn1.parsing("the request"):
        info = csr.CertificationRequest.load(request, strict=True)["certification_request_info"]
        for attribute in info["attributes"]:
            if attribute["type"].dotted == AttributeOID.CHALLENGE_PASSWORD.dotted_string:
                return str(attribute["values"][0].native)
    return None


def self_signed(key: PrivateKey, subject: x509.Name, now: datetime) -> x509.Certificate:
    """The certificate that signs a first request and to which its reply is encrypted (RFC 8894 §2.3).

    It has the subject asked for; if that is empty, which RFC 5280 forbids for an issuer, a placeholder.
    """
    name = subject if list(subject) else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "SCEP request")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=isinstance(key, rsa.RSAPrivateKey),  # other keys cannot (RFC 8813 §3)
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(usage, critical=True)
        .sign(key, digest_for(key, hashes.SHA256()))
    )


def issuer_and_subject(issuer: x509.Name, subject: x509.Name) -> bytes:
    """The DER content of a CertPoll: the CA's subject and the CSR's (RFC 8894 §3.3.3)."""
    return encoding.sequence(issuer.public_bytes(), subject.public_bytes())


def parse_issuer_and_subject(data: bytes) -> tuple[bytes, bytes]:
    """The two DER names of a CertPoll, to compare with `same_name`. Raises TrustError."""
    with asn1.parsing("the poll"):
        names = core.SequenceOf.load(data, spec=asn1_x509.Name, strict=True)
        if len(names) != 2:
            raise ValueError
        return bytes(names[0].dump()), bytes(names[1].dump())


def issuer_and_serial(issuer: x509.Name, serial: int) -> bytes:
    """The DER content of a GetCert or GetCRL: which certificate it is about (RFC 8894 §3.3.4, RFC 5652 §10.2.4)."""
    return encoding.sequence(issuer.public_bytes(), encoding.integer(serial))


def parse_issuer_and_serial(data: bytes) -> tuple[bytes, int]:
    """The DER name, to compare with `same_name`, and the serial number in a query. Raises TrustError."""
    with asn1.parsing("the query"):
        query = cms.IssuerAndSerialNumber.load(data, strict=True)
        return bytes(query["issuer"].dump()), int(query["serial_number"].native)


def same_name(der: bytes, name: x509.Name) -> bool:
    """Whether a DER name equals `name`; string types, case and blanks do not count (RFC 5280 §7.1)."""
    with asn1.parsing("a name"):
        return bool(asn1_x509.Name.load(der, strict=True) == asn1_x509.Name.load(name.public_bytes()))


def new_transaction_id(public_key: PublicKey) -> str:
    """SHA-256 of the DER public key in hex: the same for every try and poll with one key (RFC 8894 §3.2.1.1)."""
    return hashlib.sha256(public_bytes(public_key)).hexdigest()


def random_transaction_id() -> str:
    """For requests that are not about a key of their own, and for `rekey: never`."""
    return secrets.token_hex(32)


def new_nonce() -> bytes:
    return secrets.token_bytes(NONCE_SIZE)
