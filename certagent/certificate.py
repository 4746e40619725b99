"""X.509 facts: reading, naming, comparing certificates, and who signed whom. No decision is made here."""

from __future__ import annotations

import ipaddress
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache

from asn1crypto import core, parser, pem
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from certagent import lenient, pem_blocks
from certagent.config import names
from certagent.config.values import AlternativeName, Fingerprint
from certagent.errors import ConfigError, KeystoreError, TrustError
from certagent.keys import PurePublicKey, public_bytes
from certagent.text import printable

UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
# What cryptography raises, some of it late, for damaged certificates, requests and CRLs. They share no base class.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_NAME = 300  # characters of a name that are shown
WRITTEN_WRONG = "the CA wrote something that RFC 5280 forbids; ask the CA's operator for a correct certificate"
_STRONG = frozenset({"sha224", "sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"})


@lru_cache(maxsize=32)  # a transaction's own certificates are loaded at each of its steps
def load_der(der: bytes) -> x509.Certificate:
    """Load a certificate so that its names can be read, whatever letters they contain. Raises one of UNREADABLE.

    Every certificate goes through here: cryptography alone refuses names that OpenSSL and everybody else accept.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about serial numbers of zero and the like: a line on stderr helps nobody
        try:
            found = x509.load_der_x509_certificate(der)
            _ = (found.subject, found.issuer, found.extensions)
        except UNREADABLE:
            try:
                return lenient.load(der)
            except UNREADABLE:
                return x509.load_der_x509_certificate(der)  # the letters were not the problem
        return found


def load_pem(data: bytes, where: str) -> tuple[x509.Certificate, ...]:
    """Every certificate in PEM text, in order; an empty tuple if there is none. Raises KeystoreError naming `where`.

    The trust settings of a TRUSTED CERTIFICATE (OpenSSL's own addition) are ignored.
    """
    return (_read_once if len(data) < 32768 else _read)(data, where)  # a bundle of roots is not kept in memory


def _read(data: bytes, where: str) -> tuple[x509.Certificate, ...]:
    if not _BEGUN.search(data):
        return ()
    with suppress(*UNREADABLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # cryptography skips TRUSTED CERTIFICATE blocks.
        if b"TRUSTED CERTIFICATE" not in data and all(map(is_readable, found := x509.load_pem_x509_certificates(data))):
            return tuple(found)
    blocks = pem_blocks.certificates(data)
    if len(blocks) != len(_BEGUN.findall(data)):
        raise KeystoreError(f"{where} is PEM text that was cut off or changed", "restore the file, or remove it")
    return tuple(
        _loaded(block, trusted, f"certificate {number} in {where}")
        for number, (trusted, block) in enumerate(blocks, start=1)
    )


_read_once = lru_cache(maxsize=16)(_read)  # a renewal reads the same few files a dozen times
_BEGUN = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")


def _loaded(block: bytes, trusted: bool, which: str) -> x509.Certificate:
    try:
        _, _, der = pem.unarmor(block)
        certificate = load_der(_first(der) if trusted else der)
    except UNREADABLE:
        raise KeystoreError(
            f"{which} cannot be read",
            "it is damaged, or the CA wrote a number, date or key in a form that RFC 5280 forbids",
        ) from None
    if part := unreadable_part(certificate):
        raise KeystoreError(f"{which} cannot be read: its {part}", WRITTEN_WRONG)
    return certificate


def _first(der: bytes) -> bytes:
    """The first of several values in a row."""
    return b"".join(parser.parse(der, strict=False)[3:])


_PARTS = {
    "subject": "subject",
    "issuer": "issuer",
    "extensions": "extensions",
    "not_valid_before_utc": "dates",
    "not_valid_after_utc": "dates",
}


def is_readable(certificate: x509.Certificate) -> bool:
    """Whether its names, extensions and key can be read: they are decoded late, and the sender may be hostile."""
    return not unreadable_part(certificate)


def unreadable_part(certificate: x509.Certificate) -> str:
    """The first part of a certificate that cannot be decoded; empty if all can."""
    for part, word in _PARTS.items():
        try:
            getattr(certificate, part)
        except UNREADABLE:
            return word
    try:
        public_bytes(certificate.public_key())
    except UNREADABLE:
        return "key"
    return ""


def to_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def to_der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def fingerprint(certificate: x509.Certificate, algorithm: str = "sha256") -> Fingerprint:
    return Fingerprint(algorithm, certificate.fingerprint(_HASHES[algorithm]()))


def serial_hex(certificate: x509.Certificate) -> str:
    """The serial number in upper-case hex, as `openssl x509 -serial` prints it."""
    digits = f"{certificate.serial_number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def subject_text(certificate: x509.Certificate) -> str:
    """The subject for people, see `name_text`; without a subject, the first alternative name."""
    if list(certificate.subject):
        return name_text(certificate.subject)
    return printable(next(iter(sorted(alternative_names(certificate))), "(no name)"), _NAME)


def name_text(name: x509.Name) -> str:
    """A name in RFC 4514 form, one printable line of bounded length; `(no name)` for an empty one."""
    return printable(name.rfc4514_string() or "(no name)", _NAME)


def names_text(names: Iterable[str]) -> str:
    """Alternative names for people: the first few, one printable line of bounded length."""
    return printable(", ".join(printable(name, _NAME // 3) for name in sorted(names)), _NAME)


_ATTRIBUTES = {word: x509.ObjectIdentifier(each.oid) for word, each in names.ATTRIBUTES.items()}


def parse_subject(text: str) -> x509.Name:
    """The name written in RFC 4514 form. Raises ConfigError."""
    try:
        return x509.Name.from_rfc4514_string(names.written_subject(text), _ATTRIBUTES)
    except ValueError as error:
        why, _, hint = str(error).partition("; ")
        why = why or "it cannot be parsed"
        raise ConfigError(
            f"subject {text[:100]!r}: {why}", hint or "write it as in RFC 4514, e.g. CN=web,O=Example"
        ) from None


def general_names(wanted: Iterable[AlternativeName]) -> x509.SubjectAlternativeName | None:
    """The extension for configured names; None if there are none. Raises ConfigError."""
    made: list[x509.GeneralName] = []
    for name in wanted:
        try:
            made.append(_general_name(name))
        except ValueError as error:
            raise ConfigError(f"san {name}: {error}", "write dns:, ip:, email:, uri: or upn: and the name") from None
    return x509.SubjectAlternativeName(made) if made else None


def _general_name(name: AlternativeName) -> x509.GeneralName:
    match name.kind:
        case "dns":
            return x509.DNSName(name.value)
        case "ip":
            return x509.IPAddress(ipaddress.ip_address(name.value))
        case "email":
            return x509.RFC822Name(name.value)
        case "uri":
            return x509.UniformResourceIdentifier(name.value)
        case _:
            return x509.OtherName(UPN, core.UTF8String(name.value).dump())


def usage_extensions(key_usage: Collection[str], purposes: Collection[str]) -> list[x509.Extension[x509.ExtensionType]]:
    """The extensions for configured usages and purposes, in the words of `config.names`, or OIDs."""
    made: list[x509.Extension[x509.ExtensionType]] = []
    if key_usage:
        usage = x509.KeyUsage(**{word: word in key_usage for word in _USAGES})
        made.append(x509.Extension(usage.oid, critical=True, value=usage))
    if purposes:
        oids = dict.fromkeys(names.PURPOSES.get(word, word) for word in purposes)
        extended = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in oids])
        made.append(x509.Extension(extended.oid, critical=False, value=extended))
    return made


_USAGES = (
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


def san_extension(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    except UNREADABLE as error:
        raise TrustError(
            f"a certificate's extensions cannot be read: {error}", "the CA made it wrong; ask the CA's operator"
        ) from None


def alternative_names(source: x509.Certificate | x509.SubjectAlternativeName | None) -> frozenset[str]:
    """The names as comparable words: `dns:web.example.net` (lower case), `ip:192.0.2.7` …"""
    found = san_extension(source) if isinstance(source, x509.Certificate) else source
    return frozenset(map(_word, found or ()))


def _word(name: x509.GeneralName) -> str:
    match name:
        case x509.DNSName():
            return f"dns:{name.value.lower()}"
        case x509.DirectoryName():
            return f"dir:{name.value.rfc4514_string()}"
        case x509.OtherName():
            return _other_word(name)
        case x509.IPAddress() | x509.RFC822Name() | x509.UniformResourceIdentifier():
            return f"{_PLAIN[type(name)]}:{name.value}"
        case _:
            return f"unknown:{name!r}"


_PLAIN: dict[type, str] = {x509.IPAddress: "ip", x509.RFC822Name: "email", x509.UniformResourceIdentifier: "uri"}


def _other_word(name: x509.OtherName) -> str:
    if name.type_id == UPN:
        try:
            return f"upn:{core.UTF8String.load(name.value).native}"
        except ValueError:
            pass
    return f"other:{name.type_id.dotted_string}:{name.value.hex()}"


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether basicConstraints says CA:TRUE; a certificate without the extension is not a CA."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False


def is_self_signed(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer and _signed_by(certificate, certificate)


def key_usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return None


def extended_key_usage(certificate: x509.Certificate) -> frozenset[str]:
    """The purposes as dotted OIDs; empty if the extension is absent."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return frozenset()
    return frozenset(purpose.dotted_string for purpose in usage)


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key made the certificate's signature, whatever the digest.

    cryptography's own check refuses SHA-1; callers decide which digests they accept.
    """
    return _signature_fits(certificate, lambda: certificate.tbs_certificate_bytes, issuer)


def _signature_fits(
    signed: x509.Certificate | x509.CertificateRevocationList, content: Callable[[], bytes], issuer: x509.Certificate
) -> bool:
    try:
        key = issuer.public_key()
        if isinstance(key, PurePublicKey):
            key.verify(signed.signature, content())
            return True
        digest = signed.signature_hash_algorithm
        if digest is None:
            return False
        if isinstance(key, rsa.RSAPublicKey):
            # cryptography names no padding for MD5, which is only ever used with this one.
            scheme = signed.signature_algorithm_parameters or padding.PKCS1v15()
            if not isinstance(scheme, padding.PSS | padding.PKCS1v15):
                return False
            key.verify(signed.signature, content(), scheme, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signed.signature, content(), ec.ECDSA(digest))
        else:
            return False
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _check_digest(
    signed: x509.Certificate | x509.CertificateRevocationList, what: str, accept: Collection[str]
) -> None:
    try:
        digest = signed.signature_hash_algorithm
    except UnsupportedAlgorithm:
        digest = None
    if digest is None:
        raise TrustError(
            f"{what} has a signature of a kind that certagent does not know",
            "certagent knows RSA and ECDSA with SHA-2, EdDSA and ML-DSA; ask the CA's operator",
        )
    word = digest.name
    if word not in _STRONG and word not in accept:
        raise TrustError(
            f"{what} is signed with {word}",
            f"if this CA supports nothing better, add `{word}` to the authority's `accept`",
        )


def crl_issued_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate, accept: Collection[str]) -> bool:
    """Whether `issuer` signed the CRL and may: name, signature, and key usage if it has any (RFC 5280 §6.3.3).

    Raises TrustError if it signed with a weak digest that `accept` does not name. Does not check how old the CRL is.
    """
    usage = key_usage(issuer)
    if crl.issuer != issuer.subject or (usage is not None and not usage.crl_sign):
        return False
    if not _signature_fits(crl, lambda: crl.tbs_certlist_bytes, issuer):
        return False
    if not isinstance(issuer.public_key(), PurePublicKey):  # otherwise there is no digest that could be weak
        _check_digest(crl, f"the CRL of {subject_text(issuer)}", accept)
    return True


def in_order(
    certificate: x509.Certificate, pool: Sequence[x509.Certificate], limit: int = 8
) -> tuple[x509.Certificate, ...]:
    """The issuers of `certificate` found in `pool`, nearest first, as far as they are known.

    This is the order for a file. It proves nothing; `trust.proof` does.
    """
    path: list[x509.Certificate] = []
    current = certificate
    while len(path) < limit and current.subject != current.issuer:
        issuer = next((each for each in pool if each not in path and _issued(current, each)), None)
        if issuer is None:
            break
        path.append(issuer)
        current = issuer
    return tuple(path)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    return certificate.issuer == issuer.subject and _signed_by(certificate, issuer)
