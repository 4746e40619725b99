"""What SCEP needs around asn1crypto: BER in, DER out, and its many exceptions turned into ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from asn1crypto import cms, core, parser
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from certagent.certificate import WRITTEN_WRONG, load_der, to_der, unreadable_part
from certagent.errors import TransientError, TrustError
from certagent.scep import words

# Everything that asn1crypto and cryptography were seen to raise on malformed bytes.
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

# Far more than any real message has, and far less than would keep us busy: a library that looks at
# every element takes some 10 µs for each. Only headers count; the walk does not look into strings.
_MAX_ELEMENTS = 20_000
MAX_CERTIFICATES = 100
_MAX_CERTIFICATE = 64 * 1024  # bytes; the walk over headers does not look into extensions, which are strings
MAX_TOGETHER = 512 * 1024  # bytes of certificates in one answer; a hundred with RSA-8192 keys take half of that
MAX_LISTED = 500_000  # for data that may hold a CRL, whose entries no library of ours reads
_MAX_DEPTH = 64
_MAX_OID = 64  # bytes; asn1crypto's time grows with its square
_MAX_NAME = 8 * 1024  # bytes of an issuer's name, which is compared character by character
_MAX_CHUNK_DEPTH = 4


class _CutShortError(ValueError):
    """The data ends before the element does."""


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Turn whatever a parser raises inside the block into a TrustError about `what`."""
    try:
        yield
    except (*_PARSE_ERRORS, x509.DuplicateExtension):
        raise TrustError(f"{what} is malformed", "the CA, or something in between, sends broken data") from None


def tlv(contents: bytes, tag: int = 0x31) -> bytes:
    """`contents` under a DER header with a one-byte `tag` (0x31: SET)."""
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + contents


def outer(data: bytes, what: str, hint: str = "check the CA's log") -> None:
    """Check that `data` is exactly one whole BER SEQUENCE with an acceptable number of elements.

    Raises TransientError, with the `hint`, if it is not ASN.1 at all or is cut short; TrustError for anything else.
    """
    if beyond := len(data) - first(data, what, hint):
        raise TrustError(
            f"{what} has {beyond} bytes of extra data after its end",
            "the CA, or something in between, adds data to replies",
        )


def first(data: bytes, what: str, hint: str) -> int:
    """Where the BER SEQUENCE at the start of `data` ends; more may follow. Otherwise raises what `outer` raises."""
    if not data.startswith(b"\x30"):
        kind = "empty" if not data else "a web page" if words.is_page(data) else "not SCEP"
        said = words.told(data)
        raise TransientError(f"{what} is {kind}{f': {said}' if said else ''}", hint)
    with parsing(what):
        try:
            return measure(data)
        except _CutShortError:
            raise TransientError(f"{what} was cut off", "the connection or a proxy cut it off; try again") from None


def measure(data: bytes, start: int = 0, elements: int = _MAX_ELEMENTS) -> int:
    """Where the BER element that begins at `start` ends, after a walk over the headers of everything in it.

    `elements`: the most that is accepted; 1 µs for each. Raises ValueError if it is cut short, malformed, or too much.
    """
    ends: list[int | None] = []  # of the constructed elements around `at`; None: at their end-of-contents octets
    around = [len(data)]  # of the data, and of those of them whose length is given
    at = start
    for _ in range(elements):
        first, begin, length = _header(data, at)
        if length is None:
            ends.append(None)
            at = begin
        elif first == length == 0 and begin == at + 2 and ends and ends[-1] is None:
            ends.pop()
            at = begin
        else:
            at = begin + length
            if at > around[-1]:
                raise (
                    _CutShortError if len(around) == 1 else ValueError("an element ends after the one that contains it")
                )
            if first == 0x06 and length > _MAX_OID:
                raise ValueError("an absurdly long OBJECT IDENTIFIER")
            if first & 0x20:
                ends.append(at)
                around.append(at)
                at = begin
        while ends and ends[-1] == at:
            ends.pop()
            around.pop()
        if not ends:
            return at
        if len(ends) > _MAX_DEPTH:
            raise ValueError("too deep")
    raise ValueError("too many elements")


def _header(data: bytes, at: int) -> tuple[int, int, int | None]:
    """First byte, start of the contents, and their length (None: indefinite) of the BER element at `at`."""
    try:
        first, begin, length = data[at], at + 1, data[at + 1]
        if length < 0x80 and first & 0x1F != 0x1F:  # nearly always
            return first, at + 2, length
        if first & 0x1F == 0x1F:
            while data[begin] & 0x80:
                begin += 1
            begin += 1
        length = data[begin]
    except IndexError:
        raise _CutShortError from None
    begin += 1
    if length < 0x80:
        return first, begin, length
    if length == 0x80:
        if not first & 0x20:
            raise ValueError("a primitive element of indefinite length")
        return first, begin, None
    octets_after = length & 0x7F
    if begin + octets_after > len(data):
        raise _CutShortError
    return first, begin + octets_after, int.from_bytes(data[begin : begin + octets_after], "big")


def content_info(
    data: bytes, expected: str, what: str, *, or_else: str = ""
) -> cms.SignedData | cms.EnvelopedData | cms.AuthEnvelopedData:
    """The content of a CMS ContentInfo of the `expected` type (asn1crypto's word), or of another accepted type.

    Raises TrustError.
    """
    with parsing(what):
        info = no_more(cms.ContentInfo.load(data, strict=True))
        kind = info["content_type"].native
        if kind in (expected, or_else):
            return no_more(info["content"])
    raise TrustError(f"{what} is CMS {kind}, not {expected}", "is the authority's url the CA's SCEP address?")


def no_more(sequence: core.Sequence) -> core.Sequence:
    """The same value, if it has no extra elements, which asn1crypto ignores. Raises ValueError if it has."""
    if len(sequence) > len(sequence._fields):
        raise ValueError("more elements than the type has")
    return sequence


def load_certificate(der: bytes, what: str) -> x509.Certificate:
    """A certificate whose names, key, validity and extensions can all be read. Raises TrustError."""
    with parsing(f"a certificate in {what}"):
        if len(der) > _MAX_CERTIFICATE:
            raise ValueError("an absurdly large certificate")
        certificate = load_der(der)
        certificate.public_key()
        if not (part := unreadable_part(certificate)):
            return certificate
    raise TrustError(f"a certificate in {what} cannot be read: its {part}", WRITTEN_WRONG)


def certificates_of(signed: cms.SignedData, what: str) -> tuple[x509.Certificate, ...]:
    """The X.509 certificates in a SignedData, in its order. Their presence proves nothing.

    Those that cannot be read are left out, unless there are no others. Raises TrustError.
    """
    with parsing(what):
        found = _sequences(signed["certificates"])
    return readable(found, what)


def readable(ders: Sequence[bytes], what: str) -> tuple[x509.Certificate, ...]:
    """The certificates that can be read. Raises TrustError if none can, or there are too many."""
    if len(ders) > MAX_CERTIFICATES:
        raise TrustError(f"{what} holds {len(ders)} certificates", f"no honest CA sends more than {MAX_CERTIFICATES}")
    if (size := sum(map(len, ders))) > MAX_TOGETHER:
        raise TrustError(f"{what} holds certificates of {size // 1024} KiB", "no honest CA sends that much")
    certificates, refusal = [], None
    for der in ders:
        try:
            certificates.append(load_certificate(der, what))
        except TrustError as error:
            refusal = error
    if refusal is not None and not certificates:
        raise refusal
    return tuple(certificates)


def revocations_of(signed: cms.SignedData, what: str) -> tuple[x509.CertificateRevocationList, ...]:
    """The CRLs in a SignedData, in its order. Raises TrustError for one that cannot be read."""
    with parsing(f"a CRL in {what}"):
        return tuple(load_revocations(der) for der in _sequences(signed["crls"]))


def load_revocations(der: bytes) -> x509.CertificateRevocationList:
    """A CRL whose issuer, times and extensions can be read; its entries are not read."""
    if _beside_entries(der) > _MAX_CERTIFICATE:
        raise ValueError("a CRL with something other than entries")
    revocations = x509.load_der_x509_crl(der)
    _ = (revocations.issuer, revocations.extensions, revocations.last_update_utc, revocations.next_update_utc)
    _ = revocations.signature_algorithm_oid
    return revocations


def _beside_entries(der: bytes) -> int:
    """How many bytes of a CRL are not its entries (RFC 5280 §5.1). Raises ValueError."""
    _, at, _ = _header(der, 0)
    _, at, length = _header(der, at)
    if length is None:
        raise ValueError("a CRL of indefinite length")
    size, end, after_time = len(der), at + length, False
    while at < end:
        first, begin, length = _header(der, at)
        if length is None:
            raise ValueError("a field of indefinite length")
        if after_time and first == 0x30:
            size -= length
        after_time = first in (0x17, 0x18)
        at = begin + length
    return size


def _sequences(choices: core.Asn1Value) -> list[bytes]:
    """The plain alternative of a SET OF CHOICE, a SEQUENCE: certificates, CRLs. The others have tags."""
    contents = b"" if isinstance(choices, core.Void) else choices.contents
    return [element for element in split(contents) if element[0] == 0x30]


def split(contents: bytes) -> list[bytes]:
    """The elements in the contents of a constructed value. Raises ValueError."""
    elements: list[bytes] = []
    at = 0
    while at < len(contents):
        if len(elements) == _MAX_ELEMENTS:
            raise ValueError("too many elements")
        _, begin, length = _header(contents, at)
        end = measure(contents, at) if length is None else begin + length
        if end > len(contents):
            raise _CutShortError
        elements.append(contents[at:end])
        at = end
    return elements


def contents(element: bytes) -> bytes:
    """The contents of an encoded element of definite length. Raises ValueError."""
    return bytes(parser.parse(element, strict=True)[4])


def octets(element: bytes, depth: int = 0) -> bytes:
    """The bytes of an encoded OCTET STRING under any tag, with its chunks joined. Raises ValueError.

    Done by hand, because asn1crypto refuses chunks inside a definite length, which micromdm's servers send.
    """
    class_, constructed, tag, _, contents, _ = parser.parse(element, strict=True)
    if depth and (class_, tag) != (0, 4):
        raise ValueError("not an OCTET STRING")
    if not constructed:
        return bytes(contents)
    if depth == _MAX_CHUNK_DEPTH:
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


def is_content_info(der: bytes) -> bool:
    """Whether it starts with an OBJECT IDENTIFIER; a certificate starts with a SEQUENCE. Raises ValueError."""
    return bool(parser.parse(der)[4][:1] == b"\x06")


def names_certificate(identifier: cms.SignerIdentifier, certificate: x509.Certificate) -> bool:
    """Whether a SignerIdentifier or RecipientIdentifier names `certificate`. Raises ValueError."""
    if identifier.dump() == issuer_and_serial(certificate):
        return True
    theirs, ours = identifier.chosen, _load(certificate)
    if len(identifier.dump()) > _MAX_NAME:
        raise ValueError("an absurdly large name")
    if identifier.name != "issuer_and_serial_number":
        return bool(identifier.name == "subject_key_identifier" and theirs.native == ours.key_identifier)
    if theirs["serial_number"].native != ours.serial_number:
        return False
    if theirs["issuer"].dump() == ours.issuer.dump():
        return True
    # asn1crypto compares names as RFC 5280 §7.1 says: string types and case do not matter.
    return bool(theirs["issuer"] == ours.issuer)


@lru_cache(maxsize=64)
def issuer_and_serial(certificate: x509.Certificate) -> bytes:
    """The IssuerAndSerialNumber (RFC 5652 §10.2.4) of a certificate, in its own bytes."""
    body, *_ = split(contents(to_der(certificate)))
    version, *fields = split(contents(body))
    serial, _, issuer, *_ = fields if version[0] == 0xA0 else (version, *fields)
    return tlv(issuer + serial, 0x30)


def certificate_set(certificates: Sequence[x509.Certificate]) -> bytes:
    """The `certificates` field of a SignedData, in this order, although DER would sort it.

    RFC 5652 §5 requires DER only for signed attributes; jscep takes the first CA in this field as the issuer.
    """
    return tlv(b"".join(map(to_der, certificates)), 0xA0)


def _load(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(to_der(certificate))
