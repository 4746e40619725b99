"""X.509 facts."""

from __future__ import annotations

import contextlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from certagent import certificate as facts
from certagent.config.values import AlternativeName
from certagent.errors import ConfigError, KeystoreError, TrustError

from .pki import DAY, NOW, key, party, rsa_key

ONE, TWO = party("one").certificate, party("two").certificate


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", (), id="empty"),
        pytest.param(b"\x30\x82", (), id="DER"),
        pytest.param(facts.to_pem([ONE]), (ONE,), id="one"),
        pytest.param(facts.to_pem([ONE, TWO]), (ONE, TWO), id="two, in order"),
        pytest.param(facts.to_pem([ONE]).replace(b"\n", b"\r\n"), (ONE,), id="CR LF"),
        pytest.param(b"subject=CN = one\n" + facts.to_pem([ONE]) + b"\n\n", (ONE,), id="openssl's words around"),
    ],
)
def test_certificates_in_pem(data: bytes, expected: tuple[x509.Certificate, ...]) -> None:
    assert facts.load_pem(data, "web.pem") == expected


@given(st.data())
def test_whatever_the_bytes_no_foreign_error(data: st.DataObject) -> None:
    pem = bytearray(facts.to_pem([ONE, TWO]))
    for _ in range(data.draw(st.integers(0, 4))):
        pem[data.draw(st.integers(0, len(pem) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(KeystoreError):
        for certificate in filter(
            facts.is_readable, facts.load_pem(bytes(pem[: data.draw(st.integers(0, len(pem)))]), "web.pem")
        ):
            assert facts.subject_text(certificate)
            facts.is_self_signed(certificate)


def test_serial_numbers_are_whole_bytes() -> None:
    assert {len(facts.serial_hex(party("x").certificate)) % 2 for _ in range(20)} == {0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("CN=web", "CN=web", id="one"),
        pytest.param("CN=web,O=Example,C=DE", "CN=web,O=Example,C=DE", id="three"),
        pytest.param("CN=a\\,b", "CN=a\\,b", id="an escaped comma"),
        pytest.param("CN=wäb", "CN=wäb", id="beyond ASCII"),
        pytest.param("CN=web+OU=x", "CN=web+OU=x", id="two values in one part"),
        pytest.param("emailAddress=a@b.example", "1.2.840.113549.1.9.1=a@b.example", id="an e-mail address"),
        pytest.param("2.5.4.5=42", "2.5.4.5=42", id="by OID"),
    ],
)
def test_subject(text: str, expected: str) -> None:
    assert facts.parse_subject(text).rfc4514_string() == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("web", id="no attribute"),
        pytest.param("XX=web", id="an unknown attribute"),
        pytest.param("C=Germany", id="a country is two letters"),
        pytest.param("CN=", id="no value"),
        pytest.param("CN=" + "x" * 65, id="too long"),
        pytest.param("CN=a\\zz", id="a bad escape"),
    ],
)
def test_no_subject(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        facts.parse_subject(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["dns:web.example.net", "ip:192.0.2.7", "ip:2001:db8::1", "email:a@b.example", "uri:https://x/y", "upn:ä@b"],
)
def test_names_come_back_as_words(text: str) -> None:
    extension = facts.general_names([AlternativeName.parse(text)])
    assert extension is not None
    assert facts.alternative_names(extension) == {text}
    assert facts.alternative_names(party("x", san=extension).certificate) == {text}


def test_names_that_are_none() -> None:
    assert facts.general_names([]) is None
    assert facts.alternative_names(None) == frozenset()
    with pytest.raises(ConfigError, match="san dns:"):
        facts.general_names([AlternativeName("dns", "wäb")])


def test_names_compare_without_regard_to_case_and_by_kind() -> None:
    names = [
        x509.DNSName("WEB.example"),
        x509.DirectoryName(facts.parse_subject("CN=x")),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ]
    words = facts.alternative_names(x509.SubjectAlternativeName(names))
    assert {"dns:web.example", "dir:CN=x"} < words
    assert len(words) == 3


def test_a_certificate_without_subject_goes_by_its_first_name() -> None:
    assert facts.subject_text(party("", san=[x509.DNSName("b"), x509.DNSName("a")]).certificate) == "dns:a"
    assert facts.subject_text(party("").certificate) == "(no name)"


def test_the_order_of_a_file() -> None:
    ca, impostor = party("ca", ca=True), party("ca", ca=True, with_key=rsa_key("impostor"))
    leaf = party("leaf", ca)
    assert facts.is_self_signed(ca.certificate)
    assert not facts.is_self_signed(leaf.certificate)
    assert facts.in_order(leaf.certificate, [impostor.certificate, ca.certificate]) == (ca.certificate,)


def test_a_path_in_circles_ends() -> None:
    one = party("one", party("two"), ca=True)
    two = party("two", party("one"), ca=True)
    leaf = party("leaf", one)
    assert facts.in_order(leaf.certificate, [one.certificate, two.certificate]) == (one.certificate, two.certificate)


def test_a_name_from_outside_is_one_printable_line() -> None:
    made = party("", san=[]).certificate
    assert facts.subject_text(made) == "(no name)"
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a\n\x1b[2J\u202eb" + "x" * 50)])
    builder = x509.CertificateBuilder(name, name, key("x").public_key(), 1, NOW, NOW + DAY)
    text = facts.subject_text(builder.sign(key("x"), hashes.SHA256()))
    assert text.isprintable()
    assert "\n" not in str(TrustError(f"the CA {name.rfc4514_string()} is none"))
    assert str(TrustError(f"the CA {name.rfc4514_string()} is none")).isprintable()
