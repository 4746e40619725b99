"""`certagent scep getnextca`: what is not authenticated is never written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certagent import certificate as facts
from certagent import keys
from certagent.config.key_types import KeyType
from certagent.lab import Call, HttpAnswer, LabCA, Settings, issuing, serve
from certagent.scep import Signer, degenerate, encode_next_ca

from .hand import Hand

Parties = tuple[Signer, x509.Certificate]
Announced = Callable[[LabCA, Signer, x509.Certificate], bytes]


def ca(offset: timedelta = timedelta(0)) -> Signer:
    """A CA's key and certificate."""
    key = keys.generate(KeyType.RSA_2048)
    return Signer(key, issuing.ca_certificate(key, datetime.now(UTC) + offset, timedelta(days=5000), recipient=True))


@pytest.fixture(scope="module")
def parties() -> Parties:
    """A stranger, and a next CA that begins in a month."""
    return ca(), ca(timedelta(days=30)).certificate


class Announcing(LabCA):
    """Answers GetNextCACert with what a case puts there."""

    announced = b""

    def respond_http(self, call: Call) -> HttpAnswer:
        if call.operation == "GetNextCACert":
            return HttpAnswer(200, "application/x-x509-next-ca-cert", self.announced, "the next CA")
        return super().respond_http(call)


Announce = Callable[..., tuple[Hand, str]]


@pytest.fixture
def announce(tmp_path: Path, capsys: pytest.CaptureFixture[str], parties: Parties) -> Announce:
    """`announce(make, words…, code=…)`: what a device gets where a CA answers with what `make` makes."""

    def run(make: Announced, *words: str, code: int) -> tuple[Hand, str]:
        authority = Announcing(tmp_path / "ca", lambda: datetime.now(UTC), Settings(challenge="open sesame"))
        authority.announced = make(authority, *parties)
        with serve(authority) as server:
            hand = Hand(tmp_path, server, capsys)
            said = hand.trusted("getnextca", "--out", hand.path("next.pem"), *words, code=code)
        return hand, said.err if code else said.out

    return run


def nested(lab: LabCA, _: Signer, following: x509.Certificate) -> bytes:
    return encode_next_ca([following], lab.generation.issuer)


def flat(lab: LabCA, _: Signer, following: x509.Certificate) -> bytes:
    return encode_next_ca([following], lab.generation.issuer, nested=False)


def test_signed_by_the_current_ca_it_is_written(announce: Announce, parties: Parties) -> None:
    hand, said = announce(nested, code=0)
    assert hand.certificate("next.pem") == parties[1]
    assert "verified: the next CA is signed by the current CA" in said
    assert f"starts: {parties[1].not_valid_before_utc:%F %T} UTC" in said


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(
            lambda _, stranger, following: encode_next_ca([following], stranger),
            "is signed by an unknown party",
            id="signed by an unknown party, which sscep writes",
        ),
        pytest.param(
            lambda _, __, following: degenerate([following]), "but no signature", id="unsigned, which crashes sscep"
        ),
        pytest.param(lambda _, __, following: facts.to_der(following), "nobody signed it", id="a bare certificate"),
        pytest.param(
            flat,
            "nothing proves that it is genuine",
            id="the flat form, whose signature covers nothing",
        ),
        pytest.param(
            lambda lab, _, __: encode_next_ca([lab.generation.issuer.certificate], lab.generation.issuer),
            "no CA other than the current one",
            id="the current one",
        ),
    ],
)
def test_otherwise_nothing_is_written(announce: Announce, make: Announced, told: str) -> None:
    hand, said = announce(make, code=1)
    assert told in said
    assert not hand.path("next.pem").exists()


def test_the_flat_form_with_a_fingerprint_that_a_person_checked(announce: Announce, parties: Parties) -> None:
    hand, said = announce(flat, "--next-fingerprint", str(facts.fingerprint(parties[1])), code=0)
    assert hand.certificate("next.pem") == parties[1]
    assert "its fingerprint is configured" in said
