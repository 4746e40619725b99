"""`certagent scep getcert` and `getcrl`: asked of the CA, fetched where a certificate says, and held against the CA."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certagent import certificate as facts
from certagent import keys
from certagent.config.key_types import KeyType
from certagent.lab import Answer, LabCA, Settings, serve
from certagent.scep import MessageType, PkiStatus, Request
from tests.renewal.site import openssl
from tests.scep.directory import ENTRY, directory

from .hand import Hand, Words

Before = Callable[[type[LabCA]], Hand]


@pytest.fixture
def before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Before]:
    """`before(LabCA)`: an enrolled device before a CA of its own."""
    with ExitStack() as stack:

        def start(kind: type[LabCA]) -> Hand:
            ca = kind(tmp_path / "ca", lambda: datetime.now(UTC), Settings(challenge="open sesame"))
            hand = Hand(tmp_path, stack.enter_context(serve(ca)), capsys)
            hand.enroll()
            hand.trusted("getca", "--out", hand.path("ca.pem"))
            return hand

        yield start


@pytest.fixture
def enrolled(before: Before) -> Hand:
    return before(LabCA)


def revoke(hand: Hand) -> None:
    hand.server.ca.store.revoke(hand.certificate().serial_number, datetime.now(UTC))


# ── getcert ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda serial: f"{serial:X}", id="hexadecimal"),
        pytest.param(lambda serial: f"0x{serial:x}", id="0x"),
        pytest.param(lambda serial: ":".join([f"{serial:040x}"[at : at + 2] for at in range(0, 40, 2)]), id="colons"),
        pytest.param(lambda serial: f"dec:{serial}", id="decimal, as sscep has it"),
    ],
)
def test_getcert_by_serial_number(enrolled: Hand, write: Callable[[int], str]) -> None:
    serial = write(enrolled.certificate().serial_number)
    enrolled.trusted("getcert", *enrolled.pair, "--serial", serial, "--out", enrolled.path("again.pem"))
    assert enrolled.certificate("again.pem") == enrolled.certificate()


def test_getcert_of_the_certificate_that_signs(enrolled: Hand) -> None:
    enrolled.trusted("getcert", *enrolled.pair, "--out", enrolled.path("again.der"), "--der")
    assert enrolled.path("again.der").read_bytes() == facts.to_der(enrolled.certificate())


def test_getcert_of_what_was_never_issued(enrolled: Hand) -> None:
    said = enrolled.trusted("getcert", *enrolled.pair, "--serial", "17", "--out", enrolled.path("x.pem"), code=1)
    assert "badCertId" in said.err
    assert not enrolled.path("x.pem").exists()


class WrongCertificate(LabCA):
    def decide(self, request: Request) -> Answer:
        if request.message_type == MessageType.GET_CERT:
            return Answer(PkiStatus.SUCCESS, self.generation.issuer.certificate)
        return super().decide(request)


def test_getcert_refuses_another_certificate(before: Before) -> None:
    hand = before(WrongCertificate)
    said = hand.trusted("getcert", *hand.pair, "--out", hand.path("x.pem"), code=1)
    assert "no certificate of its own with the serial number" in said.err
    assert not hand.path("x.pem").exists()


@pytest.mark.parametrize("operation", ["getcert", "getcrl"])
def test_a_query_is_signed(enrolled: Hand, operation: str) -> None:
    said = enrolled.trusted(operation, "--serial", "17", code=2)
    assert "give --sign-key and --sign-certificate" in said.err


@pytest.mark.parametrize("serial", ["zz", "dec:1f", ""])
def test_what_is_no_serial_number(enrolled: Hand, serial: str) -> None:
    assert "is not a serial number" in enrolled.trusted("getcert", *enrolled.pair, "--serial", serial, code=2).err


# ── getcrl ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("is_revoked", "told"),
    [pytest.param(False, "not revoked", id="good"), pytest.param(True, "revoked on 20", id="revoked")],
)
@pytest.mark.parametrize("source", ["GetCRL", "distribution point"])
def test_getcrl_says_what_the_list_says(enrolled: Hand, source: str, is_revoked: bool, told: str) -> None:
    if is_revoked:
        revoke(enrolled)
    words: Words = ["--certificate", enrolled.path("web.pem"), "--out", enrolled.path("ca.crl")]
    if source == "GetCRL":
        said = enrolled.trusted("getcrl", *enrolled.pair, *words)
    else:
        said = enrolled.scep("getcrl", "--from-certificate", "--ca", enrolled.path("ca.pem"), *words, url=False)
    assert f"serial {enrolled.certificate().serial_number:X}: {told}" in said.out
    assert "signature verified" in said.out
    assert ", fresh until " in said.out
    shown = openssl("crl", "-in", str(enrolled.path("ca.crl")), "-noout", "-text")
    assert (facts.serial_hex(enrolled.certificate()) in shown) is is_revoked


def test_getcrl_of_the_certificate_that_signs_in_der_to_stdout(enrolled: Hand) -> None:
    enrolled.trusted("getcrl", *enrolled.pair, "--der", "--out", enrolled.path("ca.crl"))
    assert len(x509.load_der_x509_crl(enrolled.path("ca.crl").read_bytes())) == 0


class _Lists(LabCA):
    """A CA whose list is made by somebody, at some time."""

    age = timedelta(0)
    by_stranger = False

    def crl(self, name: str = "") -> x509.CertificateRevocationList:
        made = datetime.now(UTC) - self.age
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.generation.issuer.certificate.subject)
        builder = builder.last_update(made).next_update(made + timedelta(days=1))
        key = keys.generate(KeyType.RSA_2048) if self.by_stranger else self.generation.issuer.key
        return builder.sign(key, hashes.SHA256())


class OldList(_Lists):
    age = timedelta(days=3)


class StrangersList(_Lists):
    by_stranger = True


def test_a_stale_list_is_written_and_called_so(before: Before) -> None:
    hand = before(OldList)
    assert "STALE: " in hand.trusted("getcrl", *hand.pair, "--out", hand.path("ca.crl")).out


@pytest.mark.parametrize("source", ["GetCRL", "distribution point"])
def test_a_strangers_list_is_refused(before: Before, source: str) -> None:
    hand = before(StrangersList)
    words: Words = ["--certificate", hand.path("web.pem"), "--out", hand.path("ca.crl")]
    if source == "GetCRL":
        said = hand.trusted("getcrl", *hand.pair, *words, code=1)
    else:
        said = hand.trusted("getcrl", "--from-certificate", *words, code=1)
    assert "is not signed by the pinned CA" in said.err
    assert not hand.path("ca.crl").exists()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        pytest.param([], 2, "give --url", id="nothing"),
        pytest.param(["--from-certificate"], 2, "give --certificate", id="which certificate"),
        pytest.param(["--from-certificate", "--certificate", "{}/web.pem"], 2, "no trusted CA is given", id="no trust"),
        pytest.param(
            ["--from-certificate", "--certificate", "{}/ca.pem", "--ca", "{}/ca.pem"],
            2,
            "does not name a distribution point",
            id="no points",
        ),
        pytest.param(
            ["--from-certificate", "--certificate", "{}/web.pem", "--ca", "{}/web.pem"],
            1,
            "is not issued by the pinned CA",
            id="another CA",
        ),
    ],
)
def test_usage_errors(enrolled: Hand, words: list[str], code: int, told: str) -> None:
    said = enrolled.scep("getcrl", *(word.format(enrolled.root) for word in words), url=False, code=code)
    assert told in said.err


# ── a directory ───────────────────────────────────────────────────────────────────────────────────


class Published(LabCA):
    """Its certificates point at a directory first, and at its web server next."""

    ldap = ""

    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        made = super().issue(csr)
        points = [
            x509.DistributionPoint([x509.UniformResourceIdentifier(uri)], None, None, None)
            for uri in (self.ldap, str(self.crl_url))
        ]
        builder = x509.CertificateBuilder(made.issuer, made.subject, made.public_key(), made.serial_number)
        builder = builder.not_valid_before(made.not_valid_before_utc).not_valid_after(made.not_valid_after_utc)
        for extension in made.extensions:
            if extension.oid != x509.CRLDistributionPoints.oid:
                builder = builder.add_extension(extension.value, extension.critical)
        builder = builder.add_extension(x509.CRLDistributionPoints(points), critical=False)
        return builder.sign(self.generation.issuer.key, hashes.SHA256())


@pytest.mark.needs("slapd")
def test_getcrl_out_of_a_directory(tmp_path: Path, before: Before) -> None:
    authority = LabCA(tmp_path / "ca", lambda: datetime.now(UTC), Settings(challenge="open sesame"))
    with directory(tmp_path / "slapd", authority.crl().public_bytes(Encoding.DER)) as host:
        Published.ldap = f"ldap://{host}/{ENTRY.replace(' ', '%20')}?certificateRevocationList;binary"
        hand = before(Published)
        words: Words = ["--from-certificate", "--ca", hand.path("ca.pem"), "--certificate", hand.path("web.pem")]
        said = hand.scep("getcrl", *words, "--out", hand.path("ca.crl"), url=False)
    assert said.err == f"fetching {Published.ldap}\n"
    assert "not revoked" in said.out


def test_where_one_point_fails_the_next_is_tried(before: Before) -> None:
    Published.ldap = "ldap:///CN=CA,DC=example"
    hand = before(Published)
    words: Words = ["--from-certificate", "--ca", hand.path("ca.pem"), "--certificate", hand.path("web.pem")]
    said = hand.scep("getcrl", *words, "--out", hand.path("ca.crl"), url=False)
    assert "does not name a server" in said.err
    assert "not revoked" in said.out
