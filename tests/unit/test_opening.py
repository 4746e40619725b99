"""When `activate_in` lets a swap happen, as `policy` decides it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs
from msgspec.structs import replace

from certagent import policy
from certagent.config.values import Fraction, Threshold
from certagent.config.windows import Window
from certagent.policy import Action, Condition, Lifetime, Open, Past, Rules

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)  # a Tuesday
OPENS = datetime(2026, 12, 5, 2, tzinfo=UTC)
LATER = NOW + 300 * DAY
RULES = Rules(
    renew_at=Threshold(passed=Fraction(0.66)),
    jitter=Fraction(0),
    share=0,
    can_enroll=True,
    activate_in=(Window.parse("Sat 02:00-05:00"),),
)
IN_PLACE = Lifetime(NOW - 60 * DAY, NOW + 30 * DAY)
READY, OWED = Open(keeps_hours=True), Open(hooks_owed=True, keeps_hours=True)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def ca_until(end: datetime) -> Rules:
    return structs.replace(RULES, ca=Lifetime(NOW - 300 * DAY, end))


@pytest.mark.parametrize(
    ("now", "until", "rules", "at", "passed_over"),
    [
        pytest.param(NOW, LATER, RULES, OPENS, False, id="the next window"),
        pytest.param(OPENS, LATER, RULES, OPENS, False, id="as it opens"),
        pytest.param(OPENS + 2 * HOUR, LATER, RULES, OPENS + 2 * HOUR, False, id="while it is open"),
        pytest.param(OPENS + 3 * HOUR, LATER, RULES, OPENS + 7 * DAY, False, id="as it closes"),
        pytest.param(NOW, LATER, structs.replace(RULES, activate_in=()), NOW, False, id="no windows"),
        pytest.param(NOW, OPENS + HOUR, RULES, OPENS, False, id="an hour is left"),
        pytest.param(NOW, OPENS + HOUR - timedelta(seconds=1), RULES, NOW, True, id="hardly an hour"),
        pytest.param(NOW, OPENS - DAY, RULES, NOW, True, id="it ends before"),
        pytest.param(NOW, NOW - DAY, RULES, NOW, True, id="it has ended"),
        pytest.param(OPENS, OPENS + 1 * HOUR, RULES, OPENS, False, id="in the window nothing is passed over"),
        pytest.param(NOW, LATER, ca_until(OPENS - DAY), NOW, True, id="its CA ends before"),
        pytest.param(NOW, LATER, ca_until(LATER), OPENS, False, id="its CA goes on"),
    ],
)
def test_opening(now: datetime, until: datetime, rules: Rules, at: datetime, passed_over: bool) -> None:
    assert policy.opening(now, until, rules) == at
    assert policy.passes_over_hours(now, until, rules) is passed_over


@pytest.mark.parametrize(
    ("lifetime", "transaction", "action", "at"),
    [
        pytest.param(IN_PLACE, READY, Action.RESUME, OPENS, id="a successor"),
        pytest.param(IN_PLACE, Open(), Action.RESUME, NOW, id="nothing issued yet"),
        pytest.param(None, READY, Action.RESUME, NOW, id="nothing in place any more"),
        pytest.param(Lifetime(NOW - 60 * DAY, OPENS), READY, Action.RESUME, NOW, id="what serves ends first"),
        pytest.param(
            IN_PLACE, replace(READY, begins_at=OPENS + DAY), Action.RESUME, OPENS + 7 * DAY, id="valid only then"
        ),
        pytest.param(Lifetime(NOW - DAY, LATER), OWED, Action.HOOKS, OPENS, id="hooks"),
        pytest.param(Lifetime(NOW - DAY, LATER), replace(OWED, until=NOW), Action.HOOKS, NOW, id="an expired one"),
        pytest.param(
            Lifetime(NOW - DAY, LATER), replace(OWED, until=LATER), Action.HOOKS, OPENS, id="the old one lives"
        ),
    ],
)
def test_what_is_next(lifetime: Lifetime | None, transaction: Open, action: Action, at: datetime) -> None:
    decision = policy.decide(lifetime, transaction, Past(), RULES, NOW)
    assert (decision.action, decision.at, decision.waits) == (action, at, at > NOW)


def test_a_pause_after_a_failure_ends_in_a_window() -> None:
    inside, behind = OPENS + HOUR, OPENS + 4 * HOUR
    for retry_at, at in ((inside, inside), (behind, OPENS + 7 * DAY)):
        past = Past(20, retry_at, "hook")
        assert policy.decide(IN_PLACE, READY, past, RULES, retry_at - HOUR).at == at


@pytest.mark.parametrize(
    ("switch_at", "rules", "at"),
    [
        pytest.param(NOW - DAY, RULES, OPENS, id="the next CA has taken over"),
        pytest.param(OPENS + DAY, RULES, OPENS + 7 * DAY, id="it will"),
        pytest.param(OPENS + HOUR, RULES, OPENS + HOUR, id="in a window"),
        pytest.param(NOW + HOUR, ca_until(OPENS), NOW + HOUR, id="the CA ends before"),
    ],
)
def test_the_switch(switch_at: datetime, rules: Rules, at: datetime) -> None:
    decision = policy.decide_rollover(IN_PLACE, Open(switch_at=switch_at), Past(), rules, NOW)
    assert (decision.action, decision.at) == (Action.SWITCH, at)


@pytest.mark.parametrize(
    ("transaction", "rules", "word"),
    [
        pytest.param(READY, RULES, Condition.READY, id="ready"),
        pytest.param(READY, structs.replace(RULES, activate_in=()), Condition.DUE, id="without windows"),
        pytest.param(Open(), RULES, Condition.DUE, id="nothing issued yet"),
    ],
)
def test_the_word_for_it(transaction: Open, rules: Rules, word: Condition) -> None:
    assert policy.condition(Lifetime(NOW - 80 * DAY, NOW + 10 * DAY), transaction, Past(), rules, NOW) is word
