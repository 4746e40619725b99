"""`certagent scep getcaps`, `getca`, `getnextca`: what is said, what is verified, what is written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent import certificate as facts
from certagent.lab import LabCA, LabServer, Settings, serve
from certagent.scep import read_ca_certificates
from tests.renewal.site import openssl

from .hand import Hand

STRANGER = "sha256:" + "00" * 32


@pytest.fixture(scope="module")
def ra_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    settings = Settings(challenge="open sesame", ra=True)
    with serve(LabCA(tmp_path_factory.mktemp("ra"), lambda: datetime.now(UTC), settings)) as server:
        yield server


@pytest.fixture
def behind_ra(tmp_path: Path, ra_lab: LabServer, capsys: pytest.CaptureFixture[str]) -> Hand:
    return Hand(tmp_path, ra_lab, capsys)


def test_capabilities_come_a_word_a_line(hand: Hand) -> None:
    assert hand.scep("getcaps").out.splitlines() == sorted(hand.server.ca.capabilities())


def test_without_a_pin_the_fingerprint_is_shown_and_said_to_prove_nothing(hand: Hand) -> None:
    said = hand.scep("getca")
    assert hand.fingerprint in said.out
    assert "NOT VERIFIED" in said.err
    assert list(hand.root.iterdir()) == []


def test_without_a_pin_nothing_is_written(hand: Hand) -> None:
    said = hand.scep("getca", "--out", hand.path("ca.pem"), code=2)
    assert "no trusted CA is given" in said.err
    assert not hand.path("ca.pem").exists()


def test_unverified_writes_and_says_so(hand: Hand) -> None:
    said = hand.scep("getca", "--out", hand.path("ca.pem"), "--unverified")
    assert "NOT VERIFIED, but written" in said.err
    assert hand.certificate("ca.pem") == hand.server.ca.generation.issuer.certificate


def test_unverified_alone_is_a_mistake(hand: Hand) -> None:
    assert "--unverified" in hand.scep("getca", "--unverified", code=2).err


def test_the_fingerprint_verifies(hand: Hand) -> None:
    said = hand.trusted("getca", "--out", hand.path("ca.pem"))
    assert "verified: the CA's fingerprint is the one given" in said.out
    assert hand.path("ca.pem").stat().st_mode & 0o777 == 0o644
    assert hand.certificate("ca.pem") == hand.server.ca.generation.issuer.certificate


def test_a_wrong_fingerprint_writes_nothing_even_unverified(hand: Hand) -> None:
    said = hand.scep("getca", "--fingerprint", STRANGER, "--unverified", "--out", hand.path("ca.pem"), code=1)
    assert "is not the configured one" in said.err
    assert not hand.path("ca.pem").exists()


def test_a_known_ca_file_verifies(hand: Hand) -> None:
    hand.trusted("getca", "--out", hand.path("ca.der"), "--der")
    assert "certificate is in --ca" in hand.scep("getca", "--ca", hand.path("ca.der")).out


def test_ras_are_told_apart_and_have_a_file_of_their_own(behind_ra: Hand) -> None:
    said = behind_ra.trusted("getca", "--out", behind_ra.path("ca.pem"), "--ra-out", behind_ra.path("ra.pem"))
    assert [line.partition(":")[0] for line in said.out.splitlines() if ", serial " in line] == [
        "CA",
        "RA, signs",
        "RA, receives",
    ]
    generation = behind_ra.server.ca.generation
    assert facts.load_pem(behind_ra.path("ca.pem").read_bytes(), "ca.pem") == (generation.issuer.certificate,)
    ras = facts.load_pem(behind_ra.path("ra.pem").read_bytes(), "ra.pem")
    assert ras == (generation.signer.certificate, generation.recipient.certificate)


def test_several_certificates_in_der_are_a_bundle_that_openssl_reads(behind_ra: Hand) -> None:
    file = behind_ra.path("ra.p7b")
    behind_ra.trusted("getca", "--ra-out", file, "--der")
    assert len(read_ca_certificates(file.read_bytes())) == 2
    assert openssl("pkcs7", "-inform", "DER", "-in", str(file), "-print_certs").count("BEGIN CERTIFICATE") == 2


def test_an_authority_without_ra_has_no_ra_file(hand: Hand) -> None:
    assert "no RA certificate" in hand.trusted("getca", "--ra-out", hand.path("ra.pem"), code=2).err


def test_an_output_that_is_no_regular_file_is_written_to_not_replaced(hand: Hand) -> None:
    hand.trusted("getca", "--out", "/dev/null")
    assert Path("/dev/null").is_char_device()


def test_an_output_behind_a_link_leaves_the_link(hand: Hand) -> None:
    hand.path("link.pem").symlink_to("ca.pem")
    hand.trusted("getca", "--out", hand.path("link.pem"))
    assert hand.path("link.pem").is_symlink()
    assert hand.certificate("ca.pem") == hand.server.ca.generation.issuer.certificate


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["--fingerprint", "md5:00"], "is an MD5 fingerprint", id="fingerprint"),
        pytest.param(["--ca", "/nowhere/ca.pem"], "/nowhere/ca.pem: No such file", id="no CA file"),
        pytest.param(["--ca", "/dev/null"], "holds no certificate that can be read", id="empty CA file"),
        pytest.param(["--accept", "rot13"], "--accept: 'rot13' is not one of sha1", id="algorithm"),
        pytest.param(["--timeout", "soon"], "is not a duration", id="timeout"),
        pytest.param(["--proxy", "http://me:secret@proxy/"], "--proxy contains a user or password", id="proxy"),
    ],
)
def test_usage_errors(hand: Hand, words: list[str], told: str) -> None:
    said = hand.scep("getca", *words, code=2)
    assert told in said.err
    assert "secret" not in said.err


def test_a_url_with_a_password_is_not_taken(hand: Hand) -> None:
    said = hand.scep("getcaps", "--url", "http://me:secret@127.0.0.1/scep", url=False, code=2)
    assert "secret" not in said.err + said.out
