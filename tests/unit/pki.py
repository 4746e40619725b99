"""Certificates of every kind, made as cases need them; keys are made once per session."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from asn1crypto import parser
from asn1crypto import pem as armor
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from OpenSSL import crypto

from certagent import keys
from certagent.certificate import to_der
from certagent.config.key_types import KeyType
from certagent.keys import PrivateKey
from certagent.scep.asn1 import split, tlv

NOW = datetime(2027, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CMC_RA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")
TLS = (Purpose.SERVER_AUTH, Purpose.CLIENT_AUTH)
_serials = itertools.count(1)


@cache
def key(name: str, key_type: KeyType = KeyType.EC_P256) -> PrivateKey:
    """One key for each name; the name goes for whom it belongs to."""
    return keys.generate(key_type)


def rsa_key(name: str) -> PrivateKey:
    return key(name, KeyType.RSA_2048)


@cache
def rsa_8192() -> rsa.RSAPrivateKey:
    """Made of two primes of 4096 bits that are known, because looking for such takes a minute.

    They are those of RFC 3526 (group 16) and RFC 7919 (ffdhe4096), which are made of pi and e.
    """

    def arctan_of_inverse(number: int) -> int:
        term, total, odd = unit // number, 0, 1
        while term:
            total += term // odd if odd % 4 == 1 else -(term // odd)
            term, odd = term // number**2, odd + 2
        return total

    unit, e, term, count = 1 << 4200, 0, 1 << 4200, 0
    while term:
        e, count = e + term, count + 1
        term //= count
    pi = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
    p, q = (
        2**4096 - 2**4032 - 1 + 2**64 * ((constant >> (4200 - 3966)) + add)
        for constant, add in ((pi, 240904), (e, 5736041))
    )
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def as_openssl_writes(own: keys.PrivateKey, *, seed: bool = True, passphrase: bytes | None = None) -> bytes:
    """PKCS#8 as OpenSSL itself writes it; `seed` False: an ML-DSA key without its seed, as some exports leave it."""
    loaded = crypto.load_privatekey(
        crypto.FILETYPE_ASN1, own.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if passphrase is not None:
            return crypto.dump_privatekey(crypto.FILETYPE_PEM, loaded, "aes256", passphrase)
        der = crypto.dump_privatekey(crypto.FILETYPE_ASN1, loaded)
    if not seed:
        version, algorithm, both = split(parser.parse(der)[4])
        _, expanded = split(parser.parse(parser.parse(both)[4])[4])
        der = tlv(version + algorithm + tlv(expanded, 0x04), 0x30)
    return bytes(armor.armor("PRIVATE KEY", der))


@dataclass(frozen=True)
class Party:
    """A certificate and the key it is for."""

    certificate: x509.Certificate
    key: PrivateKey


def party(
    name: str,
    issuer: Party | None = None,
    *,
    with_key: PrivateKey | None = None,
    ca: bool | None = False,
    path_length: int | None = None,
    usage: Iterable[str] | None = None,
    purposes: Iterable[x509.ObjectIdentifier] = (),
    san: Iterable[x509.GeneralName] = (),
    key_id: bool = False,
    start: datetime = NOW - 10 * DAY,
    end: datetime = NOW + 10 * DAY,
) -> Party:
    """A certificate over SHA-256, self-signed without an issuer. `ca` None: without basicConstraints."""
    own = with_key or key(name)
    subject = x509.Name.from_rfc4514_string(name if "=" in name or not name else f"CN={name}")
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(own.public_key())
        .serial_number(next(_serials))
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if usage is not None:
        builder = builder.add_extension(_usage(tuple(usage)), critical=True)
    if purposes := tuple(purposes):
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if san := tuple(san):
        builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
    if key_id:
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer.key if issuer else own).public_key())
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        builder = builder.add_extension(above, critical=False)
    signer = issuer.key if issuer else own
    return Party(builder.sign(signer, keys.digest_for(signer, hashes.SHA256())), own)


def _usage(words: tuple[str, ...]) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{word: word in words for word in every})


def remade(made: Party, issuer: Party | None = None, *, digest: str = "sha256", **fields: object) -> Party:
    """The certificate once more with other fields (asn1crypto's words; None: left out) or over a weak digest.

    For what cryptography's builder refuses to make.
    """
    signer = (issuer or made).key
    loaded = asn1_x509.Certificate.load(to_der(made.certificate))
    body = loaded["tbs_certificate"]
    for field, value in fields.items():
        if value is None:
            del body[field]
        else:
            body[field] = value
    algorithm = {"algorithm": f"{digest}_{'rsa' if isinstance(signer, rsa.RSAPrivateKey) else 'ecdsa'}"}
    body["signature"] = algorithm
    content = body.dump(force=True)
    method: hashes.HashAlgorithm = {"sha1": hashes.SHA1(), "md5": hashes.MD5(), "sha256": hashes.SHA256()}[digest]
    signature = keys.sign(signer, content, method)
    again = asn1_x509.Certificate(
        {
            "tbs_certificate": asn1_x509.TbsCertificate.load(content),
            "signature_algorithm": algorithm,
            "signature_value": signature,
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of serial numbers of zero and below
        return Party(x509.load_der_x509_certificate(again.dump(force=True)), made.key)
