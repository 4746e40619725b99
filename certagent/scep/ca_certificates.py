"""GetCACert: from what a CA answers to certificates (RFC 8894 §4.2). Whether to believe them is for `trust`."""

from __future__ import annotations

from asn1crypto import pem
from cryptography import x509

from certagent.errors import TransientError
from certagent.scep import asn1

_WHAT = "the CA's answer to GetCACert"


def read_ca_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of one DER certificate or a PKCS#7 bundle, in the answer's order.

    The bytes decide, whatever the Content-Type said; PEM is read too. Raises TransientError for what is
    neither (a web page, a truncated answer), TrustError for something malformed or a bundle of nothing.
    """
    if data.lstrip().startswith(b"-----BEGIN "):
        with asn1.parsing(_WHAT):
            blocks = [der for _, _, der in pem.unarmor(data, multiple=True)]
    else:
        blocks = [data]
    found = tuple(certificate for der in blocks for certificate in _read(der))
    if not found:
        raise TransientError(f"{_WHAT} holds no certificate", "does the CA want a ca_identifier?")
    return found


def _read(der: bytes) -> tuple[x509.Certificate, ...]:
    asn1.outer(der, _WHAT)
    with asn1.parsing(_WHAT):
        is_bundle = asn1.is_content_info(der)
    if not is_bundle:
        return (asn1.load_certificate(der, _WHAT),)
    return asn1.certificates_of(asn1.content_info(der, "signed_data", _WHAT), _WHAT)
