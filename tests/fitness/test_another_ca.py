"""A keystore moves to another authority: its definition says which, and `enroll --force` does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent import certificate as facts
from certagent.lab import LabServer, Settings
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from certagent.trust.proof import comes_from
from tests.fitness.bench import PURPOSES, ROLLING, Bench, Willing
from tests.fitness.conftest import Benches
from tests.fitness.issued import DAY, DEFECTS
from tests.renewal.site import start_lab


@pytest.fixture
def bench(make_bench: Benches) -> Bench:
    return make_bench("pem", ROLLING)


@pytest.fixture
def other(bench: Bench, tmp_path: Path) -> Iterator[LabServer]:
    with start_lab(tmp_path / "other", bench.clock, Settings(lifetime=90 * DAY, challenge="other"), Willing) as server:
        yield server


def move(bench: Bench, other: LabServer, keystore: str = PURPOSES, *, subject: bool = True) -> None:
    """The definition says the other authority."""
    bench.write(keystore, subject=subject)
    challenge = bench.path("other-challenge")
    challenge.write_text("other\n")
    challenge.chmod(0o600)
    pin = facts.fingerprint(other.ca.generation.issuer.certificate)
    lines = (
        f"  other:\n    url: {other.url}\n    fingerprint: {pin}\n    challenge: {{file: {challenge}}}\nkeystores:\n"
    )
    text = bench.config.read_text().replace("keystores:\n", lines)
    bench.config.write_text(text.replace("    authority: lab\n", "    authority: other\n"))


def is_under(bench: Bench, server: LabServer) -> bool:
    return comes_from(bench.leaf(), server.ca.generation.issuer.certificate)


def test_it_is_enrolled_there_and_renews_there(bench: Bench, other: LabServer) -> None:
    assert bench.run().result is Result.ENROLLED
    move(bench, other)
    assert bench.run().result is Result.NOTHING
    assert bench.run(Wish.ENROLL).result is Result.ENROLLED
    assert is_under(bench, other)
    assert bench.pair_matches()
    assert bench.run(Wish.RENEW).result is Result.RENEWED
    assert is_under(bench, other)


def test_what_the_service_uses_is_asked_for_there_too(bench: Bench, other: LabServer) -> None:
    """The definition says neither names nor purposes: those in place count."""
    assert bench.run().result is Result.ENROLLED
    move(bench, other, "", subject=False)
    before = bench.contents()
    assert isinstance(other.ca, Willing)
    other.ca.make = DEFECTS["clientAuth alone"].make
    outcome = bench.run(Wish.ENROLL)
    assert outcome.result is Result.FAILED
    assert "lacks server_auth" in str(outcome.message)
    assert bench.contents() == before
    other.ca.make = None
    move(bench, other, "may_lose: [content_commitment]\n", subject=False)
    assert bench.run(Wish.ENROLL).result is Result.ENROLLED
    assert facts.alternative_names(bench.leaf()) == {"dns:web.example.net", "dns:www.example.net"}


def test_a_shadow_of_the_old_authority_does_not_take_over(bench: Bench, other: LabServer) -> None:
    assert bench.run().result is Result.ENROLLED
    bench.clock.advance(300 * DAY)
    bench.run()
    bench.run()
    assert bench.staged is not None
    switch_at = bench.staged.switch_at
    assert switch_at is not None
    move(bench, other)
    assert bench.run(Wish.ENROLL).result is Result.ENROLLED
    bench.clock.now = switch_at
    bench.run()
    assert is_under(bench, other)
    assert bench.staged is None


def test_a_successor_of_the_old_authority_that_waits_is_given_up(bench: Bench, other: LabServer) -> None:
    """A pre hook vetoed it; then the definition changed."""
    assert bench.run().result is Result.ENROLLED
    bench.write(f"{PURPOSES}hooks: {{pre: [[/bin/false]]}}")
    assert bench.run(Wish.RENEW).result is Result.FAILED
    move(bench, other)
    assert bench.run(Wish.ENROLL).result is Result.ENROLLED
    assert is_under(bench, other)
