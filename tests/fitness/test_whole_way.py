"""The whole way, for each kind of transaction and each type of keystore: what is not fit is issued, then what is."""

from __future__ import annotations

import pytest

from certagent.keystore.base import prove_pair
from certagent.lab import Settings
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.fitness.bench import LIFE, PLACES, PURPOSES, ROLLING, Bench
from tests.fitness.conftest import Benches
from tests.fitness.issued import DAY, DEFECTS, HONEST, Defect, leaf
from tests.renewal.site import recording_hook

# A lab CA has no room for another one below it, and by force a successor may end earlier.
_OTHERS = ("outside its CA's name constraints", "an RSA-1024 intermediate", "expires before the current one")
IN_A_RENEWAL = {name: each for name, each in DEFECTS.items() if name not in _OTHERS}
DEFECT = DEFECTS["our key as RSASSA-PSS"]


def enrolled(make_bench: Benches, place: str = "pem", settings: Settings = LIFE) -> Bench:
    bench = make_bench(place, settings)
    assert bench.run().result is Result.ENROLLED
    return bench


def works(bench: Bench) -> bool:
    found = bench.identity()
    prove_pair(found.key, found.certificate, "where it is")
    return True


@pytest.mark.parametrize("place", PLACES)
def test_enrollment(make_bench: Benches, place: str) -> None:
    bench = make_bench(place)
    bench.ca.make = DEFECT.make
    assert bench.run().result is Result.FAILED
    assert bench.contents() == {}
    bench.ca.make = HONEST["as asked"]
    assert bench.run(Wish.NOW).result is Result.ENROLLED
    assert works(bench)


@pytest.mark.parametrize("place", PLACES)
def test_renewal(make_bench: Benches, place: str) -> None:
    bench = enrolled(make_bench, place)
    before = bench.contents()
    bench.ca.make = DEFECT.make
    bench.clock.advance(70 * DAY)
    assert bench.run().result is Result.FAILED
    assert bench.contents() == before
    assert works(bench)
    bench.ca.make = HONEST["a longer life"]
    assert bench.run(Wish.NOW).result is Result.RENEWED
    assert bench.contents() != before
    assert works(bench)


@pytest.mark.parametrize("place", PLACES)
def test_rollover(make_bench: Benches, place: str) -> None:
    bench = enrolled(make_bench, place, ROLLING)
    before = bench.contents()
    bench.ca.make = DEFECT.make
    bench.clock.advance(300 * DAY)
    bench.run()
    assert bench.state.rollover.last_error is not None
    assert DEFECT.says in bench.state.rollover.last_error.message
    assert bench.contents() == before
    bench.ca.make = leaf(life=365 * DAY)
    bench.run(Wish.NOW)
    bench.run(Wish.NOW)
    assert bench.staged is not None
    assert bench.staged.switch_at is not None
    bench.clock.now = bench.staged.switch_at
    assert bench.run().result is Result.ROLLED_OVER
    assert works(bench)


@pytest.mark.slow  # the rules are the same for all, and tests/fitness/test_rules.py has every one
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("defect", [pytest.param(each, id=name) for name, each in IN_A_RENEWAL.items()])
def test_every_defect_in_every_place(make_bench: Benches, place: str, defect: Defect) -> None:
    bench = enrolled(make_bench, place)
    before = bench.contents()
    bench.ca.make = defect.make
    outcome = bench.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert works(bench)
    assert bench.contents() == before


def test_what_is_refused_is_kept_and_told_and_not_asked_for_again_at_each_look(make_bench: Benches) -> None:
    bench = make_bench()
    hook = recording_hook(bench, "failed")
    bench.write(f"{PURPOSES}hooks: {{failed: [[{hook}]]}}")
    assert bench.run().result is Result.ENROLLED
    bench.ca.make = DEFECTS["every name dropped"].make
    issued = len(bench.ca.issued())
    outcome = bench.run(Wish.RENEW)
    [kept] = bench.refused()
    assert str(kept) in str(outcome.hint)
    assert "`may_lose: [dns:web.example.net, dns:www.example.net]`" in str(outcome.hint)
    assert kept.read_bytes().startswith(b"the certificate lacks dns:web.example.net")
    for _ in range(10):
        bench.run()
    assert len(bench.ca.issued()) == issued + 1
    assert len(bench.path("failed.ran").read_text().splitlines()) == 1


@pytest.mark.slow
def test_what_is_not_fit_costs_few_certificates_over_the_weeks(make_bench: Benches) -> None:
    bench = enrolled(make_bench)
    bench.ca.make = DEFECTS["clientAuth alone"].make
    bench.clock.advance(65 * DAY)
    issued = len(bench.ca.issued())
    for _ in range(24 * 3):
        bench.run()
        bench.clock.advance(DAY / 3)
    # The lab gives the same request the same certificate, so that each second try costs one.
    assert len(bench.ca.issued()) - issued <= 12
    assert len(bench.refused()) <= 4


def test_what_was_refused_is_taken_once_it_is_permitted(make_bench: Benches) -> None:
    """No other certificate is asked for."""
    bench = enrolled(make_bench)
    bench.ca.make = DEFECTS["clientAuth alone"].make
    assert bench.run(Wish.RENEW).result is Result.FAILED
    issued = len(bench.ca.issued())
    bench.write(f"{PURPOSES}may_lose: [server_auth]")
    assert bench.run().result is Result.RENEWED
    assert len(bench.ca.issued()) == issued


def test_one_that_ends_earlier_is_taken_by_force_alone(make_bench: Benches) -> None:
    bench = enrolled(make_bench)
    bench.write(f"{PURPOSES}renew_at: 99%")
    bench.ca.make = leaf(life=20 * DAY)
    assert bench.run(Wish.RENEW).result is Result.RENEWED
