"""A few short lives each time; `make simulate` lives many long ones. A seed that ever failed stays here."""

from __future__ import annotations

from pathlib import Path

import pytest

from .life import BrokenPromiseError, KeyPool, Life, Plan

LIVES = [
    pytest.param(Plan(seed=1, years=1), id="a year"),
    pytest.param(Plan(seed=2, years=1), marks=pytest.mark.slow, id="another year"),
    pytest.param(Plan(seed=4, years=2.2), id="over a rollover"),
    pytest.param(
        Plan(seed=6, years=1, hours="Sat-Sun 02:00-05:00"),
        marks=pytest.mark.slow,
        id="a year, by night and at weekends",
    ),
    # A successor waited on for its hour over an expired pair that somebody had restored.
    pytest.param(
        Plan(seed=308, years=5, hours="Tue 03:00-03:30"), marks=pytest.mark.slow, id="restored while it waits"
    ),
    # A clock set back while hooks were owed put the old pair back.
    pytest.param(Plan(seed=9023, years=5), marks=pytest.mark.slow, id="a clock set back over owed hooks"),
]


@pytest.fixture(scope="module")
def pool() -> KeyPool:
    return KeyPool()


@pytest.mark.parametrize("plan", LIVES)
def test_a_life_breaks_no_promise(plan: Plan, pool: KeyPool, tmp_path: Path) -> None:
    life = Life(plan, tmp_path, pool)
    try:
        life.run()
    except BrokenPromiseError as error:
        error.add_note("\n".join(life.story))
        raise
    assert life.counts["renewed"] > 0
    if not plan.hours:  # a successor that waits for days is given up where somebody restores an older pair meanwhile
        # At most 1.03 for each one that is used, as over many lives; and one, for a life is short.
        assert life.counts["certificates issued"] <= life.counts["certificates used"] * 1.03 + 1


def test_the_checks_notice_a_device_that_does_not_recover(pool: KeyPool, tmp_path: Path) -> None:
    for seed in range(20):
        try:
            Life(Plan(seed, years=1, recovers=False), tmp_path / str(seed), pool).run()
        except BrokenPromiseError:
            return
    pytest.fail("nobody noticed")
