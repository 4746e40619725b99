"""Every pure function of moments answers for every time that a certificate can have, wherever `now` is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from certagent import policy, text
from certagent.agent import schedule
from certagent.cli.check_findings import in_place
from certagent.cli.health import judged
from certagent.cli.status import notices, rollover_rows, staged
from certagent.config.values import Duration, Fraction, Threshold
from certagent.moments import FIRST, LAST, later
from certagent.policy import Action, Arrival, Lifetime, Open, Past, Rules
from certagent.state import Ca, LastError
from certagent.status import forecast
from certagent.status.as_json import as_json
from certagent.status.metrics import prometheus_text
from certagent.status.rollover import RolloverStatus, Shadow
from certagent.status.snapshot import InPlace, Snapshot
from certagent.transaction.ends import Present, why_ends
from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.transaction.next_step import Situation, assess
from certagent.transaction.report import Outcome, Result

# The first and the last moment of GeneralizedTime, and what lies between; the ends come often.
EDGES = [FIRST, FIRST + timedelta(days=1), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), LAST]
NOW = datetime(2027, 1, 1, tzinfo=UTC)
moments = st.one_of(st.sampled_from([*EDGES, NOW]), st.datetimes(timezones=st.just(UTC)))
lifetimes = st.builds(Lifetime, moments, moments)  # also such as end before they begin
lengths = st.timedeltas(timedelta(0), timedelta(days=36525))
thresholds = st.one_of(
    st.floats(0.001, 0.999).map(lambda share: Threshold(passed=Fraction(share))),
    st.integers(1, 36525 * 86400).map(lambda seconds: Threshold(before_end=Duration(seconds=seconds))),
)
maybe_moments = st.one_of(st.none(), moments)
arrivals = st.builds(
    Arrival, serial=st.just("0A"), at=moments, not_after=moments, again_after=st.one_of(st.none(), lengths)
)
all_rules = st.builds(
    Rules,
    thresholds,
    st.floats(0, 1).map(Fraction),
    st.floats(0, 1),
    st.booleans(),
    ca=st.one_of(st.none(), lifetimes),
    rollover_at=thresholds,
    switch_at=maybe_moments,
    arrival=st.one_of(st.none(), arrivals),
)
opens = st.builds(Open, maybe_moments, st.booleans(), maybe_moments, st.booleans(), st.booleans())
pasts = st.builds(Past, st.integers(0, 100), maybe_moments)
kinds = st.sampled_from(["transient", "rejected", "trust", "probe", "keystore"])
situations = st.builds(
    Situation,
    all_rules,
    st.one_of(st.none(), lifetimes),
    st.one_of(st.none(), lifetimes),
    st.one_of(st.none(), opens),
    st.one_of(st.none(), opens),
    pasts,
    pasts,
    st.booleans(),
    st.one_of(st.none(), arrivals),
)
cas = st.one_of(st.none(), lifetimes.map(lambda life: Ca("CN=CA", "sha256:aa", life)))


def transaction(started: datetime, not_after: datetime | None) -> Transaction:
    return Transaction(
        id="t",
        kind=Kind.RENEWAL,
        phase=Phase.ISSUED if not_after else Phase.PENDING,
        started_at=started,
        authority="ca",
        endpoint="http://ca",
        not_after=not_after,
    )


@given(moments, st.timedeltas())
def test_later_stays_in_the_calendar(moment: datetime, by: timedelta) -> None:
    found = later(moment, by)
    assert FIRST <= found <= LAST
    assert (found >= moment) == (by >= timedelta(0)) or found == moment
    if timedelta(0) <= by < LAST - moment or timedelta(0) > by > FIRST - moment:
        assert found == moment + by


DECISIONS: dict[str, Callable[..., Any]] = {
    "renew_at": lambda life, _ca, rules, _past, _now: policy.renew_at(life, rules),
    "fits": lambda life, _ca, rules, _past, _now: policy.fits(rules.renew_at, life),
    "decide": lambda life, _ca, rules, past, now: policy.decide(life, None, past, rules, now),
    "decide_rollover": lambda life, ca, rules, past, now: policy.decide_rollover(
        life, None, past, structs.replace(rules, ca=ca), now
    ),
    "rollover_begins": lambda life, ca, rules, _past, _now: policy.rollover_begins(life, ca, rules),
    "window_begins": lambda life, _ca, rules, _past, _now: policy.window_begins(life, rules.rollover_at),
    "condition": lambda life, _ca, rules, past, now: policy.condition(life, None, past, rules, now),
    "ask_again": lambda life, _ca, _rules, _past, now: policy.ask_again_for_next_ca(life, now),
    "next_ca_is_late": lambda life, _ca, _rules, _past, now: policy.next_ca_is_late(life, now),
    "look_at_staged_again": lambda life, _ca, _rules, _past, now: policy.look_at_staged_again(
        life.not_before, life.not_after, now
    ),
    "is_expiring": lambda life, ca, _rules, _past, now: policy.is_expiring(life, ca.not_before, now),
    "came_late": lambda life, _ca, rules, _past, _now: policy.came_late(life, rules),
    "arrival": lambda life, _ca, rules, _past, now: policy.arrival("0B", life, rules.arrival, now).again_after,
    "remaining": lambda life, _ca, _rules, _past, now: life.remaining_share(now),
}


@pytest.mark.parametrize("decision", DECISIONS.values(), ids=DECISIONS)
@given(life=lifetimes, ca=lifetimes, rules=all_rules, past=pasts, now=moments)
def test_a_decision_is_made(  # noqa: PLR0917 -- hypothesis hands them over
    decision: Callable[..., Any], life: Lifetime, ca: Lifetime, rules: Rules, past: Past, now: datetime
) -> None:
    found = decision(life, ca, rules, past, now)
    at = found.at if isinstance(found, policy.Decision) else found
    assert not isinstance(at, datetime) or FIRST <= at <= LAST


@given(kinds, st.integers(0, 100), st.one_of(st.none(), lifetimes), moments)
def test_a_pause_ends(kind: str, failures: int, life: Lifetime | None, now: datetime) -> None:
    assert now <= policy.backoff(kind, failures, life, now) <= LAST


@given(moments, moments, lengths, maybe_moments)
def test_a_transaction_of_any_age_is_judged(
    started: datetime, now: datetime, limit: timedelta, ends: datetime | None
) -> None:
    why_ends(transaction(started, ends), Present("lab", ("http://ca",), limit), now)


@given(moments, moments)
def test_a_moment_is_written(moment: datetime, now: datetime) -> None:
    for words in (text.stamp, text.date, text.short_date, text.ahead, text.when, text.ends):
        assert words(moment, now).isprintable()
    written = text.iso(moment)
    assert len(written) == len("2027-01-01T00:00:00Z")
    assert datetime.fromisoformat(written) == moment.replace(microsecond=0)


@given(moments, maybe_moments, st.integers(0, 40))
def test_the_agent_makes_an_appointment(now: datetime, when: datetime | None, strikes: int) -> None:
    outcome = Outcome("web", Result.NOTHING, next_action=Action.RENEW, next_action_at=when)
    schedule.following(outcome, when, strikes, now)
    assert schedule.sentence(outcome, when, now).isprintable()
    assert schedule.status_line(1, 0, 0, ("web", when) if when else None, now).isprintable()


@given(situations, cas, cas, lifetimes, moments)
def test_whatever_is_there_can_be_shown_and_foretold(
    situation: Situation, ca: Ca | None, next_ca: Ca | None, shadow: Lifetime, now: datetime
) -> None:
    life, switch_at = situation.lifetime, situation.rollover.switch_at if situation.rollover else None
    renew_at = policy.renew_at(life, situation.rules) if life else now
    certificate = InPlace("CN=web", "CN=CA", "0A", "rsa:2048", life, renew_at) if life else None
    rollover = RolloverStatus(
        ca=ca,
        begins_at=switch_at,
        next_ca=next_ca,
        old=(ca,) if ca else (),
        shadow=Shadow("0B", shadow) if switch_at else None,
        switch_at=switch_at,
    )
    it = Snapshot(
        name="web",
        situation=situation,
        assessment=assess(situation, now),
        last_error=LastError(kind="transient", message="down", hint="", at=switch_at or now),
        certificate=certificate,
        transaction=transaction(switch_at or now, None),
        renew_at_note="",
        rollover=rollover,
    )
    good = replace(it, name="good")
    assert set(as_json([it, good])["keystores"]) == {"web", "good"}
    assert 'keystore="good"' in prometheus_text([it, good], now)
    judged([it, good], now, timedelta(hours=2))
    notices([it], now)
    staged([it], now)
    rollover_rows(it, rollover, now)
    if certificate:
        in_place(certificate, now)
    until = forecast.horizon([it], now)
    for event in forecast.events([it], until, now):
        assert now <= event.at <= until
