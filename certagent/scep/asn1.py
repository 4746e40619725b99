"""The seam to asn1crypto: BER in, DER out, and its many exceptions turned into ours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from asn1crypto import cms, core, parser
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from certagent.certificate import to_der
from certagent.errors import TransientError, TrustError

# Everything asn1crypto and cryptography were seen to raise on bytes that are not what they claim to be.
_PARSE_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

# Far above what any sender makes of a message, far below what would keep us busy.
_MAX_ELEMENTS = 512
_MAX_DEPTH = 4


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Turn whatever a parser raises inside the block into a TrustError about `what`."""
    try:
        yield
    except (*_PARSE_ERRORS, x509.DuplicateExtension):
        raise TrustError(f"{what} is malformed", "the CA, or something between, sends broken data") from None


def tlv(contents: bytes, tag: int = 0x31) -> bytes:
    """`contents` under a DER header with a one-byte `tag` (0x31: SET)."""
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + contents


def outer(data: bytes, what: str) -> None:
    """Check that `data` is one whole BER SEQUENCE and nothing else.

    Raises TransientError for what is no ASN.1 at all or was cut short, TrustError for trailing bytes.
    """
    if not data.startswith(b"\x30"):
        kind = "empty" if not data else "a web page" if data.lstrip()[:1] == b"<" else "not SCEP"
        raise TransientError(f"{what} is {kind}", "is the authority's url the CA's SCEP address?")
    try:
        size = parser.peek(data)
    except _PARSE_ERRORS:
        raise TransientError(f"{what} was cut short", "the connection or a proxy broke it off; try again") from None
    if size != len(data):
        raise TrustError(
            f"{what} carries {len(data) - size} bytes after its end", "the CA, or something between, adds to replies"
        )


def content_info(data: bytes, expected: str, what: str) -> cms.SignedData | cms.EnvelopedData:
    """The content of a CMS ContentInfo of the `expected` type (asn1crypto's word). Raises TrustError."""
    with parsing(what):
        info = cms.ContentInfo.load(data, strict=True)
        kind = info["content_type"].native
        if kind == expected:
            return info["content"]
    raise TrustError(f"{what} is CMS {kind}, not {expected}", "is the authority's url the CA's SCEP address?")


def load_certificate(der: bytes, what: str) -> x509.Certificate:
    """A certificate whose names, key, validity and extensions are known to be readable. Raises TrustError."""
    with parsing(f"a certificate in {what}"), warnings.catch_warnings():
        # Serial numbers of zero and the like: old CAs have them, and a warning on stderr helps nobody.
        warnings.simplefilter("ignore")
        certificate = x509.load_der_x509_certificate(der)
        certificate.public_key()
        _ = (certificate.subject, certificate.issuer, certificate.serial_number)
        _ = (certificate.extensions, certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        return certificate


def certificates_of(signed: cms.SignedData, what: str) -> tuple[x509.Certificate, ...]:
    """The X.509 certificates a SignedData carries, in its order. They prove nothing by being there."""
    with parsing(what):
        if isinstance(signed["certificates"], core.Void):
            return ()
        choices = [choice for choice in signed["certificates"] if choice.name == "certificate"]
        return tuple(load_certificate(choice.chosen.dump(), what) for choice in choices)


def split(contents: bytes) -> list[bytes]:
    """The elements that the contents of a constructed value are made of. Raises ValueError."""
    elements: list[bytes] = []
    while contents:
        if len(elements) == _MAX_ELEMENTS:
            raise ValueError("too many elements")
        size = parser.peek(contents)
        elements.append(contents[:size])
        contents = contents[size:]
    return elements


def octets(element: bytes, depth: int = 0) -> bytes:
    """The bytes of an encoded OCTET STRING under any tag, its chunks joined. Raises ValueError.

    By hand, because asn1crypto refuses chunks inside a definite length, which micromdm's servers send.
    """
    class_, constructed, tag, _, contents, _ = parser.parse(element, strict=True)
    if depth and (class_, tag) != (0, 4):
        raise ValueError("not an OCTET STRING")
    if not constructed:
        return bytes(contents)
    if depth == _MAX_DEPTH:
        raise ValueError("chunks within chunks")
    return b"".join(octets(chunk, depth + 1) for chunk in split(contents))


def encapsulated(signed: cms.SignedData) -> bytes | None:
    """The content that a SignedData signs; None if it is absent. Raises ValueError."""
    fields = split(signed["encap_content_info"].contents)
    if len(fields) == 1:
        return None
    _, explicit = fields
    (content,) = split(parser.parse(explicit)[4])
    return octets(content, depth=1)


def names_certificate(identifier: cms.SignerIdentifier, certificate: x509.Certificate) -> bool:
    """Whether a SignerIdentifier or RecipientIdentifier means `certificate`."""
    theirs, ours = identifier.chosen, _load(certificate)
    if identifier.name != "issuer_and_serial_number":
        return bool(identifier.name == "subject_key_identifier" and theirs.native == ours.key_identifier)
    if theirs["serial_number"].native != ours.serial_number:
        return False
    # asn1crypto compares names as RFC 5280 §7.1 says: other string types and case are the same name.
    return bool(theirs["issuer"] == ours.issuer)


def issuer_and_serial(certificate: x509.Certificate) -> cms.IssuerAndSerialNumber:
    ours = _load(certificate)
    return cms.IssuerAndSerialNumber({"issuer": ours.issuer, "serial_number": ours.serial_number})


def certificate_set(certificates: Sequence[x509.Certificate]) -> list[cms.CertificateChoices]:
    """What the `certificates` field of a SignedData is made of."""
    return [cms.CertificateChoices("certificate", _load(certificate)) for certificate in certificates]


def _load(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(to_der(certificate))
