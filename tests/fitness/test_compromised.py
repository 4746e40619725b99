"""A key that others know: one command makes another, whatever `rekey` says, and tells what has to be revoked."""

from __future__ import annotations

import pytest

from certagent import keys, state
from certagent.certificate import serial_hex
from certagent.lab import Settings
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.fitness.bench import PLACES, PURPOSES, ROLLING, Bench
from tests.fitness.conftest import Benches
from tests.fitness.issued import DAY, leaf


def enrolled(make_bench: Benches, place: str = "pem", settings: Settings | None = None) -> Bench:
    bench = make_bench(place, settings) if settings else make_bench(place)
    bench.write(f"{PURPOSES}rekey: never")
    assert bench.run().result is Result.ENROLLED
    return bench


def public(bench: Bench) -> bytes:
    return keys.public_bytes(bench.identity().key.public_key())


@pytest.mark.parametrize("place", PLACES)
def test_the_key_is_another_one_and_the_serial_number_is_told(make_bench: Benches, place: str) -> None:
    bench = enrolled(make_bench, place)
    old, key = serial_hex(bench.identity().certificate), public(bench)
    assert bench.run(Wish.RENEW).result is Result.RENEWED
    assert public(bench) == key
    old = serial_hex(bench.identity().certificate)
    assert bench.run(Wish.COMPROMISED).result is Result.RENEWED
    assert public(bench) != key
    told = f"ask lab to revoke {old}"
    assert any(told in line for line in bench.log)
    assert any(told in event.message for event in state.read_history(bench.keystore_directory))
    key = public(bench)
    assert bench.run(Wish.RENEW).result is Result.RENEWED
    assert public(bench) == key


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_the_old_pair_cannot_come_back(make_bench: Benches, place: str) -> None:
    bench = enrolled(make_bench, place)
    previous = bench.keystore_directory / "previous"
    assert bench.run(Wish.RENEW).result is Result.RENEWED
    assert previous.exists()
    assert bench.run(Wish.COMPROMISED).result is Result.RENEWED
    assert not previous.exists()


def test_the_successor_may_end_earlier(make_bench: Benches) -> None:
    bench = enrolled(make_bench)
    bench.ca.make = leaf(life=20 * DAY)
    assert bench.run(Wish.COMPROMISED).result is Result.RENEWED


def test_a_request_under_way_with_the_old_key_is_given_up(make_bench: Benches) -> None:
    bench = enrolled(make_bench)
    key = public(bench)
    bench.ca.make = leaf(names=())
    assert bench.run(Wish.RENEW).result is Result.FAILED
    bench.ca.make = None
    bench.write(f"{PURPOSES}rekey: never\nmay_lose: [extended_key_usage, key_usage]")
    assert bench.run(Wish.COMPROMISED).result is Result.RENEWED
    assert public(bench) != key


def test_a_shadow_with_the_old_key_is_given_up(make_bench: Benches) -> None:
    bench = enrolled(make_bench, settings=ROLLING)
    bench.clock.advance(300 * DAY)
    bench.run()
    bench.run()
    assert bench.staged is not None
    shadow = bench.staged.id
    bench.run(Wish.COMPROMISED)
    assert bench.staged is None or bench.staged.id != shadow


def test_it_is_for_keystores_that_are_named(make_bench: Benches) -> None:
    bench = make_bench()
    done = bench.command("renew", "--compromised")
    assert done.returncode == 2
    assert "renew --compromised NAME" in done.stderr
