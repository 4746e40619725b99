"""What lies in a file's place is named, with the line that converts it: forms made by OpenSSL itself."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent import certificate, forms, keys
from certagent.errors import CertagentError, KeystoreError

LEGACY = ("-provider", "legacy", "-provider", "default")


@dataclass(frozen=True)
class Place:
    """A pair in `key.pem` and `leaf.pem`, made once."""

    directory: Path

    def openssl(self, *words: str) -> bytes:
        return subprocess.run(["openssl", *words], cwd=self.directory, check=True, capture_output=True).stdout

    @property
    def leaf(self) -> bytes:
        return (self.directory / "leaf.pem").read_bytes()

    @property
    def key(self) -> bytes:
        return (self.directory / "key.pem").read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("forms"))
    made.openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem"),
        *("-out", "leaf.pem", "-days", "9", "-subj", "/CN=web"),
    )
    return made


Make = Callable[[Place], bytes]

READ: list[tuple[str, Make]] = [
    (
        "X509 CERTIFICATE",
        lambda it: it.leaf.replace(b"BEGIN CERT", b"BEGIN X509 CERT").replace(b"END C", b"END X509 C"),
    ),
    ("TRUSTED CERTIFICATE", lambda it: it.openssl("x509", "-trustout", "-addtrust", "serverAuth", "-in", "leaf.pem")),
    ("text around it", lambda it: b"Subject: web\n" + it.leaf + b"\nand more"),
    ("a chain of all three", lambda it: it.leaf + it.openssl("x509", "-trustout", "-in", "leaf.pem") + it.leaf),
]


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in READ])
def test_what_openssl_reads_as_a_certificate_is_read(place: Place, make: Make) -> None:
    [plain] = certificate.load_pem(place.leaf, "leaf.pem")
    assert set(certificate.load_pem(make(place), "leaf.pem")) == {plain}


@pytest.mark.parametrize("label", ["", "X509 ", "TRUSTED "])
def test_a_certificate_that_was_cut_is_told(place: Place, label: str) -> None:
    leaf = place.leaf.replace(b"BEGIN CERT", f"BEGIN {label}CERT".encode()).replace(b"END C", f"END {label}C".encode())
    for cut in (leaf[:200], leaf[:200] + b"\n" + place.leaf, leaf.partition(b"-----END")[0]):
        with pytest.raises(KeystoreError, match=r"leaf\.pem is PEM text that was cut off or changed"):
            certificate.load_pem(cut, "leaf.pem")


NO_CERTIFICATE: list[tuple[str, Make, str, str]] = [
    ("DER", lambda it: it.openssl("x509", "-outform", "DER", "-in", "leaf.pem"), "a certificate in DER", "-inform DER"),
    ("UTF-16", lambda it: it.leaf.decode().encode("utf-16"), "UTF-16 text", "iconv"),
    ("UTF-16 without a mark", lambda it: it.leaf.decode().encode("utf-16-le"), "UTF-16 text", "iconv"),
    ("PKCS#7", lambda it: it.openssl("crl2pkcs7", "-nocrl", "-certfile", "leaf.pem"), "PKCS#7", "-print_certs"),
    (
        "PKCS#7 in DER",
        lambda it: it.openssl("crl2pkcs7", "-nocrl", "-certfile", "leaf.pem", "-outform", "DER"),
        "PKCS#7 in DER",
        "-print_certs",
    ),
    (
        "CSR",
        lambda it: it.openssl("req", "-new", "-key", "key.pem", "-subj", "/CN=x"),
        "request (CSR)",
        "issued for it",
    ),
    (
        "CSR in DER",
        lambda it: it.openssl("req", "-new", "-key", "key.pem", "-subj", "/CN=x", "-outform", "DER"),
        "request (CSR) in DER",
        "issued for it",
    ),
    ("public key", lambda it: it.openssl("pkey", "-pubout", "-in", "key.pem"), "a public key", "private key"),
    ("private key", lambda it: it.key, "a private key", "swapped"),
    ("nothing", lambda _it: b"\n", "empty", "restore it"),
    ("a page", lambda _it: b"<!DOCTYPE html><html>no such file", "a web page", "fetch"),
    ("cut", lambda it: it.leaf[:200], "cut", "restore"),
    (
        "base64 alone",
        lambda it: base64.encodebytes(it.openssl("x509", "-outform", "DER", "-in", "leaf.pem")),
        "as base64 without BEGIN",
        "base64 -d",
    ),
    (
        "PKCS#12",
        lambda it: it.openssl("pkcs12", "-export", "-in", "leaf.pem", "-inkey", "key.pem", "-passout", "pass:x"),
        "a PKCS#12 file",
        "type: pkcs12",
    ),
    ("Java", lambda _it: b"\xfe\xed\xfe\xed\0\0\0\2", "a Java keystore", "keytool"),
]
NO_KEY: list[tuple[str, Make, str, str]] = [
    ("certificate", lambda it: it.leaf, "a certificate", "swapped"),
    (
        "DER",
        lambda it: it.openssl("pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in", "key.pem"),
        "in DER",
        "pkey",
    ),
    ("SEC 1 in DER", lambda it: it.openssl("ec", "-outform", "DER", "-in", "key.pem"), "a private key in DER", "pkey"),
    (
        "encrypted DER",
        lambda it: it.openssl("pkcs8", "-topk8", "-outform", "DER", "-in", "key.pem", "-passout", "pass:x"),
        "an encrypted private key in DER",
        "pkey",
    ),
    (
        "OpenSSH",
        lambda _it: b"-----BEGIN OPENSSH PRIVATE KEY-----\nAA==\n-----END OPENSSH PRIVATE KEY-----\n",
        "OpenSSH",
        "-m PEM",
    ),
]


@pytest.mark.parametrize(("make", "what", "remedy"), [pytest.param(*rest, id=name) for name, *rest in NO_CERTIFICATE])
def test_what_is_no_certificate_is_named(place: Place, make: Make, what: str, remedy: str) -> None:
    form = forms.recognised(make(place), "/etc/ssl/web.pem")
    assert form is not None
    assert what in form.what
    assert remedy in form.remedy


@pytest.mark.parametrize(("make", "what", "remedy"), [pytest.param(*rest, id=name) for name, *rest in NO_KEY])
def test_what_is_no_key_is_named(place: Place, make: Make, what: str, remedy: str) -> None:
    with pytest.raises(KeystoreError, match=r"holds no private key: it is ") as caught:
        keys.load_private(make(place), None, "/etc/ssl/web.key")
    assert what in str(caught.value)
    assert remedy in caught.value.hint


@given(st.binary(max_size=200))
def test_anything_else_is_left_without_a_name(content: bytes) -> None:
    """And nothing that a file may hold is a fault of ours."""
    form = forms.recognised(content, "file")
    assert form is None or form.what


# How OpenSSL encrypts keys: what is read, and the name of what is not.
PKCS8 = [
    ("-v1 PBE-MD5-DES", ""),
    ("-v1 PBE-SHA1-3DES", ""),
    ("-v1 PBE-SHA1-2DES", "2-key 3DES"),
    ("-v1 PBE-SHA1-RC2-128", "RC2-128"),
    ("-v1 PBE-SHA1-RC2-40", ""),
    ("-v1 PBE-SHA1-RC4-128", ""),
    ("-v1 PBE-SHA1-RC4-40", "RC4-40"),
    ("-v1 PBE-SHA1-DES", "DES"),
    ("-v2 aes128", ""),
    ("-v2 aes192", ""),
    ("-v2 aes256", ""),
    ("-v2 des3", ""),
    ("-v2 camellia128", "Camellia-128"),
    ("-v2 camellia256", "Camellia-256"),
    ("-v2 aria-256-cbc", "ARIA-256"),
    ("-v2 seed", "SEED"),
    ("-v2 bf", "Blowfish"),
    ("-v2 aes-256-cfb", "aes256_cfb"),
    ("-v2 aes256 -v2prf hmacWithMD5", "a password hashed with MD5"),
    ("-scrypt", ""),
]
TRADITIONAL = [
    ("-aes128", ""),
    ("-aes256", ""),
    ("-des3", ""),
    ("-aes192", "AES-192-CBC"),
    ("-des", "DES-CBC"),
    ("-camellia128", "CAMELLIA-128-CBC"),
    ("-seed", "SEED-CBC"),
]


def check_encryption(block: bytes, name: str) -> None:
    """Read with the right passphrase, or named; a wrong passphrase is blamed where it can be one."""
    if not name:
        assert keys.load_private(block, b"secret", "web.key")
        with pytest.raises(KeystoreError) as caught:
            keys.load_private(block, b"wrong", "web.key")
        assert caught.value.hint == "is key_passphrase the right one?"
        return
    for passphrase in (b"secret", b"wrong"):
        with pytest.raises(KeystoreError, match=f"encrypted with {name}, which certagent does not know") as caught:
            keys.load_private(block, passphrase, "web.key")
        assert "openssl pkey" in caught.value.hint


@pytest.mark.parametrize(("words", "name"), PKCS8, ids=[words for words, _ in PKCS8])
def test_pkcs8(place: Place, words: str, name: str) -> None:
    argv = ("pkcs8", "-topk8", *words.split(), *LEGACY, "-in", "key.pem", "-passout", "pass:secret")
    check_encryption(_made(place, argv), name)


@pytest.mark.parametrize(("words", "name"), TRADITIONAL, ids=[words for words, _ in TRADITIONAL])
def test_pkcs1_and_sec1(place: Place, words: str, name: str) -> None:
    argv = ("ec", *words.split(), *LEGACY, "-in", "key.pem", "-passout", "pass:secret")
    check_encryption(_made(place, argv), name)


def _made(place: Place, argv: tuple[str, ...]) -> bytes:
    try:
        return place.openssl(*argv)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this OpenSSL does not: {error.stderr.decode()[:80]}")


def test_a_pem_file_where_pkcs12_was_expected_says_so(place: Place) -> None:
    from certagent.keystore import pkcs12_codec  # noqa: PLC0415 -- for this one alone

    with pytest.raises(CertagentError, match=r"web\.p12 is not a PKCS#12 file: it is PEM text") as caught:
        pkcs12_codec.load(place.leaf, b"x", "web.p12")
    assert "type: pem" in caught.value.hint
