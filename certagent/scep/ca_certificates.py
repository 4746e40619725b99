"""GetCACert: from a CA's answer to certificates (RFC 8894 §4.2). `trust` decides which of them to trust."""

from __future__ import annotations

import base64
import binascii

from asn1crypto import pem
from cryptography import x509

from certagent.errors import TransientError, TrustError
from certagent.scep import asn1, encoding

_WHAT = "the CA's answer to GetCACert"
_ADDRESS = "is the authority's url the CA's SCEP address?"
_BLOCK = b"-----BEGIN "
_SEQUENCE = b"\x30"
_BETWEEN = b"\r\n\t "  # what servers put between elements


def read_ca_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of an answer, in its order: DER certificates and PKCS#7 bundles, one or several in a row.

    The bytes decide, whatever the Content-Type says; PEM and bare base64 are read too, and line ends may follow
    each element. Raises TransientError if it is none of these (a web page, a truncated answer), TrustError if it is
    malformed or an empty bundle.
    """
    is_pem = _BLOCK in data and not data.startswith(_SEQUENCE)
    ders = _blocks(data) if is_pem else _in_a_row(_decoded(data))
    bundles = [der for der in ders if _is_bundle(der)]
    found = (
        *asn1.readable([der for der in ders if der not in bundles], _WHAT),
        *(each for bundle in bundles for each in _bundled(bundle)),
    )
    if not found:
        raise TransientError(f"{_WHAT} holds no certificate", "does the CA need a ca_identifier?")
    return found


def _blocks(data: bytes) -> list[bytes]:
    """The content of the PEM blocks."""
    count = data.count(_BLOCK)
    if count > asn1.MAX_CERTIFICATES:
        raise TrustError(f"{_WHAT} holds {count} PEM blocks", f"no honest CA sends more than {asn1.MAX_CERTIFICATES}")
    with asn1.parsing(_WHAT):
        blocks = [der for _, _, der in pem.unarmor(data, multiple=True)]
        asn1.measure(encoding.sequence(*blocks))  # together they may be no larger than one bundle
    for der in blocks:
        asn1.outer(der, _WHAT)
    return blocks


def _decoded(data: bytes) -> bytes:
    """The decoded bytes of bare base64; anything else unchanged."""
    if data.startswith(_SEQUENCE):
        return data
    try:
        decoded = base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return data
    return decoded if decoded.startswith(_SEQUENCE) else data


def _in_a_row(data: bytes) -> list[bytes]:
    """The elements one after the other, without the line ends after each."""
    found: list[bytes] = []
    rest = data
    while rest or not found:
        end = asn1.first(rest, _WHAT, _ADDRESS)
        found.append(rest[:end])
        rest = rest[end:].lstrip(_BETWEEN)
        if rest and not rest.startswith(_SEQUENCE):
            asn1.outer(found[-1] + rest, _WHAT)  # raises the right error
        if rest and (len(data) > asn1.MAX_TOGETHER or len(found) == asn1.MAX_CERTIFICATES):
            raise TrustError(f"{_WHAT} is {len(data) // 1024} KiB long, one of many", "no honest CA sends that much")
    return found


def _is_bundle(der: bytes) -> bool:
    with asn1.parsing(_WHAT):
        return asn1.is_content_info(der)


def _bundled(der: bytes) -> tuple[x509.Certificate, ...]:
    return asn1.certificates_of(asn1.content_info(der, "signed_data", _WHAT), _WHAT)
