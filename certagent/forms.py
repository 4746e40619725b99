"""Says what an unexpected file is, in words, and gives the command that converts it.

Used once reading has failed. Nothing in the file is trusted; its name only appears in a message.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from asn1crypto import cms, crl, keys, pem, x509
from msgspec import Struct

from certagent import pem_blocks

_PKCS12 = "a PKCS#12 file"
_MD5 = "1.2.840.113549.2.6"  # HMAC with it
_NOT_READ = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)


class Form(Struct, frozen=True):
    """`what` follows "it is"; `remedy` says what to do, and names the file."""

    what: str
    remedy: str

    @property
    def is_pkcs12(self) -> bool:
        return self.what == _PKCS12


def recognised(content: bytes, path: str) -> Form | None:
    """What this is; None if it cannot be recognised."""
    for look in (_text, _labelled, _binary):
        if (form := look(content, path)) is not None:
            return form
    return None


def told(content: bytes, path: str, *, otherwise: str) -> tuple[str, str]:
    """The end of a sentence that says what a file does not contain, and the hint; `otherwise` if not recognised."""
    form = recognised(content, path)
    return (f": it is {form.what}", form.remedy) if form else ("", otherwise)


def _text(content: bytes, path: str) -> Form | None:
    if not content.strip():
        return Form("empty", "restore it, or make a new pair with `certagent enroll --force NAME`")
    if (
        content[:2] in (b"\xff\xfe", b"\xfe\xff")
        or content[:22:2] == b"-----BEGIN "
        or content[1:23:2] == b"-----BEGIN "
    ):
        return Form("UTF-16 text", f"`iconv -f UTF-16 -t UTF-8 {path} > NEW`")
    if content.startswith(b"\xef\xbb\xbf"):
        return Form("text with a byte order mark", f"`sed -i '1s/^\\xef\\xbb\\xbf//' {path}`")
    if re.match(rb"\s*<(!doctype|html|\?xml)", content[:200], re.IGNORECASE):
        return Form("a web page, or XML", "fetch the file itself")
    if content[:4] in (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce"):
        line = f"keytool -importkeystore -srckeystore {path} -destkeystore NEW -deststoretype PKCS12"
        return Form("a Java keystore (JKS)", f"`{line}`, and `type: pkcs12`")
    return None


_OF_LABELS: dict[bytes, tuple[str, str]] = {
    b"CERTIFICATE REQUEST": ("a certificate request (CSR)", "put the certificate that the CA issued for it there"),
    b"NEW CERTIFICATE REQUEST": ("a certificate request (CSR)", "put the certificate that the CA issued for it there"),
    b"PKCS7": ("PKCS#7", "`openssl pkcs7 -print_certs -in {path} -out NEW`"),
    b"CMS": ("PKCS#7", "`openssl cms -cmsout -inform PEM -in {path} -print` shows what it holds"),
    b"X509 CRL": ("a CRL", "correct the path"),
    b"PUBLIC KEY": ("a public key", "put the private key there"),
    b"RSA PUBLIC KEY": ("a public key", "put the private key there"),
    b"OPENSSH PRIVATE KEY": ("a key in OpenSSH's own format", "`ssh-keygen -p -m PEM -f {path}` rewrites it as PEM"),
    b"PGP PRIVATE KEY BLOCK": ("a PGP key", "correct the path"),
    b"PGP PUBLIC KEY BLOCK": ("a PGP key", "correct the path"),
    b"CERTIFICATE": ("a certificate", "correct the paths: are key and certificate swapped?"),
    b"PRIVATE KEY": ("a private key", "correct the paths: are key and certificate swapped?"),
    b"ENCRYPTED PRIVATE KEY": ("a private key", "correct the paths: are key and certificate swapped?"),
    b"RSA PRIVATE KEY": ("a private key", "correct the paths: are key and certificate swapped?"),
    b"EC PRIVATE KEY": ("a private key", "correct the paths: are key and certificate swapped?"),
}


def _labelled(content: bytes, path: str) -> Form | None:
    label = pem_blocks.first_label(content)
    found = _OF_LABELS.get(label)
    if found is not None:
        return Form(found[0], found[1].format(path=path))
    return Form("PEM text that was cut off", "restore the file") if b"-----BEGIN " in content and not label else None


def _binary(content: bytes, path: str) -> Form | None:
    der, bare = content, False
    if not content.startswith(b"\x30"):
        with suppress(binascii.Error):
            der, bare = base64.b64decode(b"".join(content.split()), validate=True), True
    for kind, part, what, remedy in _kinds():
        if der.startswith(b"\x30") and _is_one(der, kind, part):
            if bare:
                return Form(
                    f"{what}, as base64 without BEGIN and END lines", f"`base64 -d {path} > NEW`, then convert it"
                )
            return Form(what, remedy.format(path=path))
    return None


def _is_one(der: bytes, kind: Any, part: Callable[[Any], object]) -> bool:
    try:
        return bool(part(kind.load(der, strict=True)))
    except _NOT_READ:
        return False


_KEY = "`openssl pkey -inform DER -in {path} -out NEW`"


@cache
def _kinds() -> tuple[tuple[Any, Callable[[Any], object], str, str], ...]:
    """How to read each, what it must contain, what it is called, and what converts it."""
    from asn1crypto import csr, pkcs12  # noqa: PLC0415 -- nothing else reads these

    return (
        (
            x509.Certificate,
            lambda it: it["tbs_certificate"]["validity"].native,
            "a certificate in DER",
            "`openssl x509 -inform DER -in {path} -out NEW`",
        ),
        (
            csr.CertificationRequest,
            lambda it: it["certification_request_info"]["subject_pk_info"].native,
            "a certificate request (CSR) in DER",
            "put the certificate that the CA issued for it there",
        ),
        (crl.CertificateList, lambda it: it["tbs_cert_list"]["this_update"].native, "a CRL in DER", "correct the path"),
        (
            cms.ContentInfo,
            lambda it: it["content_type"].native == "signed_data",
            "PKCS#7 in DER",
            "`openssl pkcs7 -inform DER -print_certs -in {path} -out NEW`",
        ),
        (
            pkcs12.Pfx,
            lambda it: it["auth_safe"]["content_type"].native in ("data", "signed_data"),
            _PKCS12,
            "set `type: pkcs12`, or `openssl pkcs12 -in {path} -nodes -out NEW`",
        ),
        (keys.PrivateKeyInfo, lambda it: it["private_key_algorithm"]["algorithm"].native, "a private key in DER", _KEY),
        (
            keys.EncryptedPrivateKeyInfo,
            lambda it: it["encryption_algorithm"]["algorithm"].dotted,
            "an encrypted private key in DER",
            _KEY,
        ),
        (keys.RSAPrivateKey, lambda it: it["modulus"].native > 0, "a private key in DER", _KEY),
        (keys.ECPrivateKey, lambda it: it["private_key"].native, "a private key in DER", _KEY),
    )


# What cryptography decrypts (PKCS#8: RFC 8018 and RFC 7292; PKCS#1: OpenSSL's DEK-Info).
_KNOWN = {
    *("pbes1_md5_des", "pkcs12_sha1_tripledes_3key", "pkcs12_sha1_rc2_40", "pkcs12_sha1_rc4_128"),
    *("aes128_cbc", "aes192_cbc", "aes256_cbc", "tripledes_3key", "rc2"),
    *("AES-128-CBC", "AES-256-CBC", "DES-EDE3-CBC"),
}
_NAMES = {
    "1.2.392.200011.61.1.1.1.2": "Camellia-128",
    "1.2.392.200011.61.1.1.1.3": "Camellia-192",
    "1.2.392.200011.61.1.1.1.4": "Camellia-256",
    "1.2.410.200046.1.1.2": "ARIA-128",
    "1.2.410.200046.1.1.7": "ARIA-192",
    "1.2.410.200046.1.1.12": "ARIA-256",
    "1.2.410.200004.1.4": "SEED",
    "1.2.156.10197.1.104.2": "SM4",
    "1.3.6.1.4.1.3029.1.2": "Blowfish",
    "pkcs12_sha1_tripledes_2key": "2-key 3DES",
    "pkcs12_sha1_rc2_128": "RC2-128",
    "pkcs12_sha1_rc4_40": "RC4-40",
    "pbes1_md5_rc2": "RC2-64",
    "pbes1_sha1_rc2": "RC2-64",
    "pbes1_sha1_des": "DES",
    "des": "DES",
}


def unknown_encryption(block: bytes) -> str:
    """What a key's PEM block is encrypted with, if we cannot decrypt that; empty if we can."""
    try:
        label, headers, der = pem.unarmor(block)
        name = headers.get("DEK-Info", "").partition(",")[0]
        if label == "ENCRYPTED PRIVATE KEY":
            return unknown_algorithm(keys.EncryptedPrivateKeyInfo.load(der)["encryption_algorithm"])
    except _NOT_READ:
        return ""
    return "" if name in _KNOWN else name


def unknown_algorithm(algorithm: Any) -> str:
    """Like `unknown_encryption`, for an algorithm as PKCS#8 and PKCS#12 name it (asn1crypto's EncryptionAlgorithm)."""
    try:
        name: str = algorithm["algorithm"].native
        if name == "pbes2":
            parameters = algorithm["parameters"]
            name = parameters["encryption_scheme"]["algorithm"].native
            derived = parameters["key_derivation_func"]
            if derived["algorithm"].native == "pbkdf2" and derived["parameters"]["prf"]["algorithm"].native == _MD5:
                return "a password hashed with MD5"
    except _NOT_READ:
        return ""
    return "" if name in _KNOWN else _NAMES.get(name, name)
