"""GetCACert: from what a CA answers to certificates (RFC 8894 §4.2). Whether to believe them is for `trust`."""

from __future__ import annotations

from asn1crypto import pem
from cryptography import x509

from certagent.errors import TransientError, TrustError
from certagent.scep import asn1

_WHAT = "the CA's answer to GetCACert"


def read_ca_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of one DER certificate or a PKCS#7 bundle, in the answer's order.

    The bytes decide, whatever the Content-Type said; PEM is read too. Raises TransientError for what is
    neither (a web page, a truncated answer), TrustError for something malformed or a bundle of nothing.
    """
    is_pem = data.lstrip().startswith(b"-----BEGIN ")
    found = _read_pem(data) if is_pem else _read(data)
    if not found:
        raise TransientError(f"{_WHAT} holds no certificate", "does the CA want a ca_identifier?")
    return found


def _read_pem(data: bytes) -> tuple[x509.Certificate, ...]:
    count = data.count(b"-----BEGIN ")
    if count > asn1.MAX_CERTIFICATES:
        raise TrustError(f"{_WHAT} holds {count} PEM blocks", f"no honest CA sends more than {asn1.MAX_CERTIFICATES}")
    with asn1.parsing(_WHAT):
        blocks = [der for _, _, der in pem.unarmor(data, multiple=True)]
        asn1.measure(asn1.tlv(b"".join(blocks), 0x30))  # all together are not more than one bundle may be
    bundles = [der for der in blocks if _is_bundle(der)]
    return (
        *asn1.readable([der for der in blocks if der not in bundles], _WHAT),
        *(c for b in bundles for c in _read(b)),
    )


def _is_bundle(der: bytes) -> bool:
    asn1.outer(der, _WHAT)
    with asn1.parsing(_WHAT):
        return asn1.is_content_info(der)


def _read(der: bytes) -> tuple[x509.Certificate, ...]:
    if _is_bundle(der):
        return asn1.certificates_of(asn1.content_info(der, "signed_data", _WHAT), _WHAT)
    return (asn1.load_certificate(der, _WHAT),)
