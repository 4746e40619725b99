"""Reads certificates that cryptography refuses because of the letters in a name.

Many CAs write `R&D`, `dev_7` or `*.example` as a PrintableString, which cannot contain such letters, or Latin-1 as a
T61String. OpenSSL accepts them, and so do all consumers. certagent reads such a certificate from a copy in which these
strings are UTF8Strings. It hashes, compares, verifies, sends and writes the original bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from asn1crypto import pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

_OCTETS, _UTF8, _PRINTABLE, _EXTENSIONS = 0x04, 0x0C, 0x13, 0xA3
_READ_AS_UTF8 = frozenset({0x12, 0x14, 0x16, 0x1A})  # Numeric-, T61-, IA5- and VisibleString
_RSA = bytes.fromhex("06092a864886f70d0101010500")  # rsaEncryption, with its parameters
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")
# No honest certificate comes close; the copies of a hundred hostile ones take a fraction of a second.
_MAX_SIZE, _MAX_ELEMENTS, _MAX_DEPTH = 64 * 1024, 2000, 24


def load(der: bytes) -> x509.Certificate:
    """Raises ValueError if the letters of its names are not the problem, or not the only one."""
    copy = _Copy().of(der)
    if copy == der:
        raise ValueError("its names are not the problem")
    return cast(x509.Certificate, _Certificate(der, x509.load_der_x509_certificate(copy)))


def proper(name: x509.Name) -> x509.Name:
    """The same name, in string types that allow its letters, so that everybody can read a request."""
    return x509.Name(name.rdns)


def name(der: bytes) -> x509.Name:
    """The name with this encoding. cryptography reads names only as a part of something: here, of an unsigned request.

    Raises ValueError.
    """
    key = _element(0x30, _element(0x30, _RSA) + _element(0x03, b"\0"))
    info = _element(0x30, b"\x02\x01\x00" + der + key + _element(0xA0, b""))
    return x509.load_der_x509_csr(_element(0x30, info + _element(0x30, _RSA) + _element(0x03, b"\0"))).subject


class _Name(x509.Name):
    """A name as read from the copy, with the bytes of the original."""

    def __init__(self, copy: x509.Name, der: bytes) -> None:
        super().__init__(copy.rdns)
        self._der = der

    def public_bytes(self, backend: Any = None) -> bytes:
        return self._der


class _Certificate:
    """Stands in for an x509.Certificate, which cannot be subclassed: its copy answers for the content."""

    def __init__(self, der: bytes, copy: x509.Certificate) -> None:
        self._der, self._copy = der, copy
        [(_, contents, _)] = _elements(der)
        _, body, self.tbs_certificate_bytes = next(_elements(contents))
        fields = [(tag, whole) for tag, _, whole in _elements(body)]
        # A v1 certificate has no version; then serialNumber, signature, issuer, validity, subject (RFC 5280 §4.1).
        first = int(fields[0][0] == 0xA0)
        self.issuer = _Name(copy.issuer, fields[first + 2][1])
        self.subject = _Name(copy.subject, fields[first + 4][1])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._copy, name)

    @property  # type: ignore[misc]  # nobody sets it
    def __class__(self) -> Any:
        """What `isinstance` checks."""
        return x509.Certificate

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Certificate) and self._der == other._der

    def __hash__(self) -> int:
        return hash(self._der)

    def __repr__(self) -> str:
        return f"<Certificate(subject={self.subject!r})>"

    def public_bytes(self, encoding: serialization.Encoding) -> bytes:
        return self._der if encoding is serialization.Encoding.DER else pem.armor("CERTIFICATE", self._der)

    def fingerprint(self, algorithm: hashes.HashAlgorithm) -> bytes:
        digest = hashes.Hash(algorithm)
        digest.update(self._der)
        return digest.finalize()


class _Copy:
    """A certificate in which every string that cryptography would not read becomes a UTF8String."""

    def __init__(self) -> None:
        self._elements = 0

    def of(self, der: bytes) -> bytes:
        if len(der) > _MAX_SIZE:
            raise ValueError("an absurdly large certificate")
        return self._rewritten(der, depth=0, extension=False)

    def _rewritten(self, data: bytes, *, depth: int, extension: bool) -> bytes:
        """`extension`: inside the extensions, whose values are DER inside OCTET STRINGs, five levels down."""
        if depth > _MAX_DEPTH:
            raise ValueError("too deep")
        made = []
        for tag, contents, whole in _elements(data):
            self._elements += 1
            if self._elements > _MAX_ELEMENTS:
                raise ValueError("too many elements")
            if tag & 0x20 or (tag == _OCTETS and extension and depth == 5):
                within = extension or (tag == _EXTENSIONS and depth == 2)
                new = self._rewritten(contents, depth=depth + 1, extension=within)
                made.append(whole if new == contents else _element(tag, new))
            else:
                made.append(whole if _is_read(tag, contents) else _element(_UTF8, _text(contents).encode()))
        return b"".join(made)


def _is_read(tag: int, contents: bytes) -> bool:
    """Whether cryptography can read it."""
    if tag == _PRINTABLE:
        return _LETTERS.issuperset(contents)
    if tag not in _READ_AS_UTF8:
        return True  # or nobody can: OpenSSL also refuses an invalid UTF8String
    try:
        contents.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(contents: bytes) -> str:
    """UTF-8 if valid, else Latin-1, where any byte is a letter. OpenSSL reads a T61String the same way."""
    try:
        return contents.decode()
    except UnicodeDecodeError:
        return contents.decode("latin-1")


def _elements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Tag, contents and all bytes of each DER element in a row. Raises ValueError if it is not DER."""
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1] if at + 1 < len(data) else 0x80
        begin = at + 2
        if size > 0x80:
            begin += size & 0x7F
            size = int.from_bytes(data[at + 2 : begin])
        elif size == 0x80:
            raise ValueError("not DER")
        if tag & 0x1F == 0x1F or begin + size > len(data):
            raise ValueError("not DER")
        yield tag, data[begin : begin + size], data[at : begin + size]
        at = begin + size


def _element(tag: int, contents: bytes) -> bytes:
    if len(contents) < 0x80:
        return bytes((tag, len(contents))) + contents
    size = len(contents).to_bytes((len(contents).bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(size))) + size + contents
