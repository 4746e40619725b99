"""When, and what next: the rules as tables."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from certagent import policy
from certagent.config.values import Duration, Fraction, Threshold
from certagent.policy import Action, Condition, Lifetime, Open, Past, Rules
from certagent.wall_clock import Looks

START = datetime(2027, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=count) for count in (1, 60, 3600, 86400))
PLAIN = Rules(Threshold.parse("66%"), Fraction(0), 0.0, can_enroll=True)


def life(length: timedelta) -> Lifetime:
    return Lifetime(START, START + length)


def rules(renew_at: str = "66%", jitter: float = 0.0, share: float = 0.0, *, can_enroll: bool = True) -> Rules:
    return Rules(Threshold.parse(renew_at), Fraction(jitter), share, can_enroll)


@pytest.mark.parametrize(
    ("length", "renew_at", "expected"),
    [
        pytest.param(10 * SECOND, "50%", 5 * SECOND, id="ten seconds"),
        pytest.param(100 * DAY, "66%", 66 * DAY, id="a share"),
        pytest.param(3650 * DAY, "90%", 3285 * DAY, id="ten years"),
        pytest.param(36500 * DAY, "30d", 36470 * DAY, id="a century"),
        pytest.param(90 * DAY, "30d", 60 * DAY, id="a time before the end"),
        pytest.param(36 * DAY, "30d", 6 * DAY, id="a time before the end that leaves a sixth"),
        pytest.param(9 * DAY, "30d", 6 * DAY, id="30d of 9 days is two thirds"),
        pytest.param(30 * DAY, "30d", 20 * DAY, id="30d of 30 days is two thirds"),
        pytest.param(30 * DAY + MINUTE, "30d", 20 * DAY + 40 * SECOND, id="30d of 30 days dated back is two thirds"),
        pytest.param(100 * DAY, "1%", DAY, id="a share is taken at its word"),
    ],
)
def test_renewal_moment(length: timedelta, renew_at: str, expected: timedelta) -> None:
    assert policy.renew_at(life(length), rules(renew_at)) - START == expected


@pytest.mark.parametrize(
    ("renew_at", "jitter", "share", "expected"),
    [
        pytest.param("66%", 0.05, 0.0, 66 * DAY, id="none of it"),
        pytest.param("66%", 0.05, 0.5, 63.5 * DAY, id="half of it"),
        pytest.param("66%", 0.05, 1.0, 61 * DAY, id="all of it"),
        pytest.param("4%", 0.05, 1.0, 2 * DAY, id="never more than half the way to the start"),
        pytest.param("66%", 1.0, 1.0, 33 * DAY, id="100% is half the way too"),
    ],
)
def test_jitter_is_earlier_only(renew_at: str, jitter: float, share: float, expected: timedelta) -> None:
    assert policy.renew_at(life(100 * DAY), rules(renew_at, jitter, share)) - START == expected


def test_jitter_is_fixed_per_keystore_and_host() -> None:
    assert policy.jitter_share("web", "a") == policy.jitter_share("web", "a")
    assert len({policy.jitter_share(name, host) for name in ("web", "vpn") for host in ("a", "b")}) == 4
    assert policy.jitter_share("b", "a") != policy.jitter_share("", "a\0b")


def test_jitter_spreads_a_fleet() -> None:
    shares = [policy.jitter_share("web", f"router-{number}") for number in range(1000)]
    tenths = [sum(tenth <= share * 10 < tenth + 1 for share in shares) for tenth in range(10)]
    assert sum(tenths) == 1000
    assert min(tenths) > 60


lengths = st.integers(2, 40 * 365 * 86400).map(lambda seconds: timedelta(seconds=seconds))
thresholds = st.one_of(
    st.floats(0.001, 0.999).map(lambda share: Threshold(passed=Fraction(share))),
    st.integers(1, 400 * 86400).map(lambda seconds: Threshold(before_end=Duration(seconds=seconds))),
)
all_rules = st.builds(Rules, thresholds, st.floats(0, 1).map(Fraction), st.floats(0, 1), st.booleans())
moments = st.timedeltas(timedelta(days=-400), timedelta(days=50 * 365)).map(lambda ago: START + ago)
kinds = st.sampled_from(["transient", "hook", "probe", "rejected", "trust", "keystore", "config", "something new"])


@given(lengths, all_rules)
def test_renewal_lies_inside_the_lifetime(length: timedelta, any_rules: Rules) -> None:
    lifetime = life(length)
    moment = policy.renew_at(lifetime, any_rules)
    assert lifetime.not_before < moment < lifetime.not_after


@given(lengths, all_rules)
def test_jitter_never_delays(length: timedelta, any_rules: Rules) -> None:
    unspread = structs.replace(any_rules, share=0.0)
    assert policy.renew_at(life(length), any_rules) <= policy.renew_at(life(length), unspread)


@pytest.mark.parametrize(
    ("kind", "failures", "left", "expected"),
    [
        pytest.param("transient", 1, 100 * DAY, 30 * SECOND, id="first"),
        pytest.param("transient", 2, 100 * DAY, MINUTE, id="doubled"),
        pytest.param("transient", 6, 100 * DAY, 16 * MINUTE, id="doubled again and again"),
        pytest.param("transient", 60, 100 * DAY, 6 * HOUR, id="the cap"),
        pytest.param("transient", 10**9, 100 * DAY, 6 * HOUR, id="the cap after a billion"),
        pytest.param("transient", 60, DAY, HOUR, id="a day left: a 24th of it"),
        pytest.param("transient", 60, 48 * SECOND, 2 * SECOND, id="seconds left"),
        pytest.param("transient", 1, 2 * SECOND, SECOND, id="never sooner than a second"),
        pytest.param("hook", 1, 100 * DAY, 30 * SECOND, id="hook, first"),
        pytest.param("rejected", 1, 100 * DAY, 15 * MINUTE, id="rejected, first"),
        pytest.param("rejected", 60, 100 * DAY, DAY, id="rejected, cap"),
        pytest.param("rejected", 60, DAY, 3 * HOUR, id="rejected, a day left"),
        pytest.param("trust", 1, 100 * DAY, 15 * MINUTE, id="trust, first"),
        pytest.param("trust", 60, 100 * DAY, DAY, id="trust, cap"),
        pytest.param("probe", 3, 100 * DAY, HOUR, id="probe, third"),
        pytest.param("something new", 1, 100 * DAY, 30 * SECOND, id="a kind unknown here"),
        pytest.param("transient", 60, -DAY, 6 * HOUR, id="expired"),
        pytest.param("transient", 1, -DAY, 30 * SECOND, id="expired, first"),
        pytest.param("transient", 60, None, 6 * HOUR, id="no certificate yet"),
        pytest.param("transient", 0, 100 * DAY, 30 * SECOND, id="none counted"),
    ],
)
def test_backoff(kind: str, failures: int, left: timedelta | None, expected: timedelta) -> None:
    now = START + 500 * DAY
    lifetime = None if left is None else Lifetime(START, now + left)
    assert policy.backoff(kind, failures, lifetime, now) - now == expected


@given(kinds, st.integers(0, 100), lengths, moments)
def test_backoff_grows_with_failures(kind: str, failures: int, length: timedelta, now: datetime) -> None:
    one, more = (policy.backoff(kind, count, life(length), now) for count in (failures, failures + 1))
    assert now + SECOND <= one <= more <= now + DAY


@pytest.mark.parametrize(
    ("kind", "at_least"),
    [
        pytest.param("transient", 50, id="usual"),
        pytest.param("rejected", 20, id="rejected"),
        pytest.param("trust", 20, id="trust"),
        pytest.param("probe", 20, id="probe"),
    ],
)
@pytest.mark.parametrize(
    "length",
    [pytest.param(10 * MINUTE, id="10 min"), pytest.param(7 * DAY, id="7 d"), pytest.param(3650 * DAY, id="10 y")],
)
def test_a_certificate_is_tried_many_times_before_its_end(kind: str, at_least: int, length: timedelta) -> None:
    lifetime = life(length)
    now, attempts = START + length * 2 / 3, 0
    while now < lifetime.not_after:
        attempts += 1
        now = policy.backoff(kind, attempts, lifetime, now)
    assert at_least <= attempts < 6000


NOW = START + 50 * DAY
YOUNG, OLD, DEAD = Lifetime(START, START + 100 * DAY), Lifetime(START, START + 51 * DAY), Lifetime(START, START + DAY)
EARLY = Lifetime(NOW + HOUR, NOW + 90 * DAY)
RETRY = NOW + HOUR
FAILED = Past(9, RETRY)
FRESH = Past()
POLL = Open(poll_at=NOW + MINUTE)


@pytest.mark.parametrize(
    ("lifetime", "transaction", "past", "action", "at"),
    [
        # nothing open
        pytest.param(YOUNG, None, FRESH, Action.RENEW, START + 66 * DAY, id="young"),
        pytest.param(YOUNG, None, Past(0, NOW - DAY), Action.RENEW, START + 66 * DAY, id="young, an old retry"),
        pytest.param(YOUNG, None, Past(9, NOW + 6 * HOUR), Action.RENEW, START + 66 * DAY, id="young, a retry before"),
        pytest.param(OLD, None, FRESH, Action.RENEW, START + 51 * DAY * 0.66, id="old"),
        pytest.param(OLD, None, FAILED, Action.RENEW, RETRY, id="old, failed"),
        pytest.param(DEAD, None, FRESH, Action.RENEW, START + DAY * 0.66, id="expired"),
        pytest.param(DEAD, None, FAILED, Action.RENEW, RETRY, id="expired, failed"),
        pytest.param(None, None, FRESH, Action.ENROLL, NOW, id="missing"),
        pytest.param(None, None, FAILED, Action.ENROLL, RETRY, id="missing, failed"),
        # the CA has not decided
        pytest.param(YOUNG, POLL, FRESH, Action.POLL, NOW + MINUTE, id="pending"),
        pytest.param(YOUNG, POLL, FAILED, Action.POLL, RETRY, id="pending, a poll failed"),
        pytest.param(DEAD, POLL, FRESH, Action.POLL, NOW + MINUTE, id="pending, expired meanwhile"),
        pytest.param(None, POLL, FRESH, Action.POLL, NOW + MINUTE, id="first enrollment pending"),
        pytest.param(None, Open(poll_at=NOW - DAY), FRESH, Action.POLL, NOW - DAY, id="a poll overdue"),
        # cut short
        pytest.param(YOUNG, Open(), FRESH, Action.RESUME, NOW, id="open"),
        pytest.param(OLD, Open(), FAILED, Action.RESUME, RETRY, id="open, failed"),
        pytest.param(DEAD, Open(), FRESH, Action.RESUME, NOW, id="open, expired"),
        pytest.param(None, Open(), FRESH, Action.RESUME, NOW, id="open, nothing in place"),
        pytest.param(OLD, Open(begins_at=RETRY), FRESH, Action.RESUME, RETRY, id="the successor is valid later"),
        pytest.param(OLD, Open(begins_at=NOW - DAY), FRESH, Action.RESUME, NOW, id="the successor is valid by now"),
        # hooks owed
        pytest.param(YOUNG, Open(hooks_owed=True), FRESH, Action.HOOKS, NOW, id="hooks"),
        pytest.param(YOUNG, Open(hooks_owed=True), FAILED, Action.HOOKS, RETRY, id="hooks, failed"),
        pytest.param(OLD, Open(hooks_owed=True), FAILED, Action.RENEW, RETRY, id="due again over its hooks"),
        pytest.param(None, Open(hooks_owed=True), FRESH, Action.HOOKS, NOW, id="hooks, the files gone"),
    ],
)
def test_decision(
    lifetime: Lifetime | None, transaction: Open | None, past: Past, action: Action, at: datetime
) -> None:
    decision = policy.decide(lifetime, transaction, past, PLAIN, NOW)
    assert (decision.action, decision.at) == (action, at)
    assert decision.is_due(NOW) == (at <= NOW)


def test_without_a_subject_nothing_is_enrolled() -> None:
    decision = policy.decide(None, None, FRESH, rules(can_enroll=False), NOW)
    assert (decision.action, decision.at, decision.is_due(NOW)) == (None, None, False)
    assert "no subject" in decision.reason


@pytest.mark.parametrize(
    ("lifetime", "transaction", "reason"),
    [
        pytest.param(YOUNG, None, "the renewal threshold", id="threshold"),
        pytest.param(DEAD, None, "the certificate has expired", id="expired"),
        pytest.param(None, None, "there is no certificate yet", id="missing"),
        pytest.param(YOUNG, POLL, "the CA has not decided yet", id="pending"),
        pytest.param(YOUNG, Open(hooks_owed=True), "hooks have yet to run", id="hooks"),
    ],
)
def test_the_reason_is_said(lifetime: Lifetime | None, transaction: Open | None, reason: str) -> None:
    assert policy.decide(lifetime, transaction, FRESH, PLAIN, NOW).reason == reason


transactions = st.one_of(st.none(), st.builds(Open, st.one_of(st.none(), moments), st.booleans()))
lifetimes = st.one_of(st.none(), lengths.map(life))


@given(lifetimes, transactions, all_rules, kinds, st.integers(1, 50), moments)
def test_after_a_failure_nothing_is_done_for_a_second(  # noqa: PLR0917 -- hypothesis hands them over
    lifetime: Lifetime | None, transaction: Open | None, any_rules: Rules, kind: str, failures: int, now: datetime
) -> None:
    past = Past(failures, policy.backoff(kind, failures, lifetime, now), kind)
    decision = policy.decide(lifetime, transaction, past, any_rules, now)
    assert decision.at is None or decision.at >= now + SECOND


# Stored moments. Each was right by the clock that wrote it; none is obeyed beyond what its rule allows from now on.


@given(lifetimes, kinds, st.integers(1, 50), moments, st.floats(0, 1))
def test_a_pause_is_kept_to_its_end(
    lifetime: Lifetime | None, kind: str, failures: int, then: datetime, part: float
) -> None:
    end = policy.backoff(kind, failures, lifetime, then)
    now = then + (end - then) * part
    assert policy.pause_ends(Past(failures, end, kind), lifetime, now) == end


@given(lifetimes, kinds, st.integers(1, 50), moments, st.timedeltas(-9000 * DAY, 9000 * DAY))
def test_no_pause_is_longer_than_its_rule_whatever_the_clock_said(
    lifetime: Lifetime | None, kind: str, failures: int, now: datetime, wrong: timedelta
) -> None:
    past = Past(failures, policy.backoff(kind, failures, lifetime, now + wrong), kind)
    end = policy.pause_ends(past, lifetime, now)
    assert end is None or end <= policy.backoff(kind, failures, lifetime, now) <= now + DAY


WAITS = st.one_of(st.none(), st.timedeltas(timedelta(0), 9000 * DAY))


@given(lifetimes, kinds, st.integers(1, 50), moments, WAITS, st.timedeltas(-9000 * DAY, 9000 * DAY))
def test_a_server_s_wish_is_granted_within_the_rule(  # noqa: PLR0917 -- hypothesis hands them over
    lifetime: Lifetime | None, kind: str, failures: int, now: datetime, wait: timedelta | None, wrong: timedelta
) -> None:
    """However long it asked for, and whatever the clock said then."""
    longest, then = policy.backoff(kind, 99, lifetime, now), now + wrong
    past = Past(failures, policy.backoff(kind, failures, lifetime, then, wait), kind, wait)
    end = policy.pause_ends(past, lifetime, now)
    assert end is None or end <= longest
    assert policy.backoff(kind, failures, lifetime, now, wait) >= policy.backoff(kind, failures, lifetime, now)


@pytest.mark.parametrize(
    ("kind", "wait", "left", "expected"),
    [
        pytest.param("http", None, 30 * DAY, 30 * SECOND, id="as ever"),
        pytest.param("http", 5 * SECOND, 30 * DAY, 30 * SECOND, id="sooner than we would: as ever"),
        pytest.param("http", 2 * HOUR, 30 * DAY, 2 * HOUR, id="two hours"),
        pytest.param("http", 30 * DAY, 30 * DAY, 6 * HOUR, id="a month: as long as the rule lets it be"),
        pytest.param("http", 2 * HOUR, 24 * HOUR, HOUR, id="the certificate ends first"),
        pytest.param("rejected", 2 * HOUR, 30 * DAY, 2 * HOUR, id="after a refusal"),
        pytest.param("rejected", 9 * DAY, 30 * DAY, DAY, id="after a refusal, nine days"),
    ],
)
def test_a_server_asks_to_be_left_alone(
    kind: str, wait: timedelta | None, left: timedelta, expected: timedelta
) -> None:
    lifetime = Lifetime(NOW - 60 * DAY, NOW + left)
    assert policy.backoff(kind, 1, lifetime, NOW, wait) - NOW == expected


@pytest.mark.parametrize(
    ("kind", "failures", "wait", "left", "shortest", "longest"),
    [
        pytest.param("http", 1, None, 30 * DAY, 12 * SECOND, 30 * SECOND, id="first"),
        pytest.param("http", 2, None, 30 * DAY, 24 * SECOND, MINUTE, id="second"),
        pytest.param("http", 60, None, 30 * DAY, 2.4 * HOUR, 6 * HOUR, id="the cap"),
        pytest.param("rejected", 1, None, 30 * DAY, 6 * MINUTE, 15 * MINUTE, id="refused"),
        pytest.param("unfit", 1, None, 30 * DAY, 6 * HOUR, 6 * HOUR, id="each attempt costs a certificate"),
        pytest.param("probe", 1, None, 30 * DAY, 15 * MINUTE, 15 * MINUTE, id="and here"),
        pytest.param("http", 1, 2 * HOUR, 30 * DAY, 2 * HOUR, 2.5 * HOUR, id="asked for two hours: never sooner"),
        pytest.param("http", 1, 30 * DAY, 30 * DAY, 6 * HOUR, 6 * HOUR, id="asked for a month"),
        pytest.param("http", 60, None, 24 * HOUR, HOUR, HOUR, id="the certificate ends soon"),
        pytest.param("http", 9, None, 2 * SECOND, SECOND, SECOND, id="never sooner than a second"),
    ],
)
def test_a_pause_has_a_share_of_its_own(  # noqa: PLR0917 -- a row of the table
    kind: str, failures: int, wait: timedelta | None, left: timedelta, shortest: timedelta, longest: timedelta
) -> None:
    lifetime = Lifetime(NOW - 60 * DAY, NOW + left)
    for share, expected in ((0.0, shortest), (1.0, longest)):
        retry_at = policy.backoff(kind, failures, lifetime, NOW, wait, share=share)
        assert retry_at - NOW == expected
        assert policy.pause_ends(Past(failures, retry_at, kind, wait), lifetime, NOW) == retry_at


def test_shares_of_pauses_differ_by_device_and_failure_and_are_fixed() -> None:
    every = [rules(jitter=0.05, share=policy.jitter_share("web", f"device-{device}")) for device in range(1000)]
    shares = [one.pause_share(failures) for one in every for failures in (1, 2)]
    assert shares == [one.pause_share(failures) for one in every for failures in (1, 2)]
    assert len(set(shares)) == 2000
    tenths = [sum(tenth <= (share or 0) * 10 < tenth + 1 for share in shares) for tenth in range(10)]
    assert min(tenths) > 150
    assert rules(jitter=0.0, share=0.7).pause_share(1) is None


FIRST = policy.arrival("1", life(100 * DAY), None, START, first=True)


@pytest.mark.parametrize(
    ("renew_at", "jitter", "first", "earliest", "latest"),
    [
        pytest.param("66%", 0.05, True, 1.8, 66, id="a first certificate: anywhere"),
        pytest.param("66%", 0.05, False, 61, 66, id="one that a renewal brought"),
        pytest.param("66%", 0.0, True, 66, 66, id="no jitter: exactly"),
        pytest.param("34d", 0.05, True, 61, 66, id="so many days before its end: not much sooner"),
    ],
)
def test_a_first_certificate_is_renewed_anywhere_in_its_time(
    renew_at: str, jitter: float, *, first: bool, earliest: float, latest: float
) -> None:
    arrival = policy.arrival("1", life(100 * DAY), None, START, first=first)
    passed = []
    for device in range(500):
        own = structs.replace(rules(renew_at, jitter, policy.jitter_share("web", f"device-{device}")), arrival=arrival)
        passed.append((policy.renew_at(life(100 * DAY), own) - START) / DAY)
    near = (latest - earliest) / 20 + 0.001
    assert earliest <= min(passed) <= earliest + near
    assert latest - near <= max(passed) <= latest


def test_a_fleet_enrolled_in_one_hour_is_flat_from_its_first_cycle() -> None:
    days = [0] * 200
    for device in range(2000):
        own = rules(jitter=0.05, share=policy.jitter_share("web", f"device-{device}"))
        arrival, lifetime = FIRST, life(100 * DAY)
        while (now := policy.renew_at(lifetime, structs.replace(own, arrival=arrival))) < START + 200 * DAY:
            days[(now - START) // DAY] += 1
            lifetime = Lifetime(now, now + 100 * DAY)
            arrival = policy.arrival("2", lifetime, arrival, now)
    weeks = [sum(days[day : day + 7]) for day in range(4, 193, 7)]
    assert max(weeks) < 1.3 * sum(weeks) / len(weeks)  # of 220 a week: chance alone makes 1.2


@given(lengths, all_rules)
def test_a_first_certificate_is_never_renewed_later(length: timedelta, any_rules: Rules) -> None:
    arrival = policy.arrival("1", life(length), None, START, first=True)
    usual = structs.replace(arrival, first=False)
    first, other = (
        policy.renew_at(life(length), structs.replace(any_rules, arrival=each)) for each in (arrival, usual)
    )
    assert START < first <= other


@pytest.mark.parametrize(
    ("rollover_at", "jitter", "latest"),
    [
        pytest.param("80%", 0.05, 830, id="within thirty days"),
        pytest.param("80%", 0.0, 800, id="no jitter: when it opens"),
        pytest.param("200d", 0.05, 800, id="so many days before its end: when it opens"),
    ],
)
def test_devices_do_not_all_ask_for_the_next_ca_at_once(rollover_at: str, jitter: float, latest: float) -> None:
    ca, mine = Lifetime(START, START + 1000 * DAY), Lifetime(START + 790 * DAY, START + 850 * DAY)
    asks = []
    for device in range(500):
        own = rules(jitter=jitter, share=policy.jitter_share("web", f"device-{device}"))
        own = structs.replace(own, rollover_at=Threshold.parse(rollover_at))
        asks.append((policy.rollover_begins(mine, ca, own) - START) / DAY)
    assert 800 <= min(asks) <= 801
    assert latest - 1 <= max(asks) <= latest


@pytest.mark.parametrize(
    ("wait", "left", "expected"),
    [
        pytest.param(None, 30 * DAY, 5 * MINUTE, id="as configured"),
        pytest.param(SECOND, 30 * DAY, 5 * MINUTE, id="sooner: as configured"),
        pytest.param(HOUR, 30 * DAY, HOUR, id="an hour"),
        pytest.param(30 * DAY, 30 * DAY, 6 * HOUR, id="a month"),
        pytest.param(30 * DAY, 24 * HOUR, HOUR, id="the certificate ends first"),
    ],
)
def test_a_ca_asks_not_to_be_polled(wait: timedelta | None, left: timedelta, expected: timedelta) -> None:
    lifetime = Lifetime(NOW - 60 * DAY, NOW + left)
    pause = policy.poll_pause(PLAIN.poll_interval, wait, lifetime, NOW)
    assert pause == expected
    for ahead, at in ((timedelta(0), NOW + pause), (DAY, NOW)):  # the clock was right, and ahead
        pending = Open(poll_at=NOW + ahead + pause, poll_wait=wait)
        assert policy.decide(lifetime, pending, FRESH, PLAIN, NOW).at == at


@pytest.mark.parametrize(
    ("wait", "share", "expected"),
    [
        pytest.param(None, 0.0, 2 * MINUTE, id="the shortest: 40%"),
        pytest.param(None, 1.0, 5 * MINUTE, id="never longer than configured"),
        pytest.param(HOUR, 0.0, HOUR, id="as long as the CA asked"),
        pytest.param(HOUR, 1.0, 75 * MINUTE, id="or a quarter longer"),
        pytest.param(30 * DAY, 1.0, 6 * HOUR, id="but never beyond the rule"),
    ],
)
def test_a_poll_has_a_moment_of_its_own(wait: timedelta | None, share: float, expected: timedelta) -> None:
    lifetime = Lifetime(NOW - 60 * DAY, NOW + 30 * DAY)
    pause = policy.poll_pause(5 * MINUTE, wait, lifetime, NOW, share=share)
    assert pause == expected
    pending = Open(poll_at=NOW + pause, poll_wait=wait)
    assert policy.decide(lifetime, pending, FRESH, PLAIN, NOW).at == NOW + pause, "no wrong clock"


def test_devices_enrolled_together_do_not_poll_together() -> None:
    seconds = Counter[int]()
    for device in range(2000):
        own, at = rules(jitter=0.05, share=policy.jitter_share("web", f"device-{device}")), NOW
        for polls in range(1, 11):
            at += policy.poll_pause(5 * MINUTE, None, None, at, share=own.poll_share(polls))
            seconds[(at - NOW) // SECOND] += 1
    mean = seconds.total() / (max(seconds) - min(seconds))
    assert max(seconds.values()) < 4 * mean
    assert rules(jitter=0).poll_share(1) is None


@given(st.lists(kinds, min_size=1, max_size=5), st.one_of(st.none(), lengths), st.floats(0, 2))
def test_the_attempts_of_a_day_are_counted(order: list[str], length: timedelta | None, passed: float) -> None:
    """Whatever refusals follow each other, in the last day of a short life and after it."""
    lifetime = life(length) if length is not None else None
    start = now = START + (length or DAY) * passed
    attempts = 0
    while now - start < DAY:
        attempts += 1
        now = policy.backoff(order[attempts % len(order)], attempts, lifetime, now)
    assert attempts <= 400


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        pytest.param("http", 14, id="no answer: a message each"),
        pytest.param("rejected", 8, id="refused: two messages each, at most"),
        pytest.param("trust", 8, id="not believed"),
        pytest.param("abandoned", 8, id="begun anew: a certificate each"),
        pytest.param("unfit", 4, id="not fit: a certificate each"),
    ],
)
def test_the_first_day_of_a_trouble(kind: str, most: int) -> None:
    lifetime, now, attempts = life(90 * DAY), START + 60 * DAY, 0
    while now < START + 61 * DAY:
        attempts += 1
        now = policy.backoff(kind, attempts, lifetime, now)
    assert attempts <= most


@pytest.mark.parametrize(
    ("ahead", "poll_at"),
    [
        pytest.param(timedelta(0), NOW + 5 * MINUTE, id="the clock was right"),
        pytest.param(SECOND, NOW, id="a second ahead"),
        pytest.param(730 * DAY, NOW, id="two years ahead"),
        pytest.param(-730 * DAY, NOW - 730 * DAY + 5 * MINUTE, id="two years behind: overdue"),
    ],
)
def test_a_poll_is_never_further_away_than_its_interval(ahead: timedelta, poll_at: datetime) -> None:
    """Of a renewal and of a rollover's shadow alike."""
    pending = Open(poll_at=NOW + ahead + 5 * MINUTE)
    assert policy.decide(YOUNG, pending, FRESH, PLAIN, NOW).at == poll_at
    assert policy.decide_rollover(YOUNG, pending, FRESH, PLAIN, NOW).at == poll_at


@pytest.mark.parametrize("ahead", [SECOND, DAY, 730 * DAY])
def test_a_look_at_the_next_ca_in_the_future_does_not_count(ahead: timedelta) -> None:
    assert policy.look_at_staged_again(NOW + ahead, NOW + 1000 * DAY, NOW)


def test_a_next_ca_that_was_not_there_is_asked_for_again_within_a_day() -> None:
    ca = Lifetime(START, START + 60 * DAY)
    under = structs.replace(PLAIN, ca=ca)
    kept = Past(0, policy.ask_again_for_next_ca(ca, NOW))
    lost = Past(0, policy.ask_again_for_next_ca(Lifetime(START, START + 6000 * DAY), NOW + 730 * DAY))
    assert policy.decide_rollover(YOUNG, None, kept, under, NOW).at == kept.retry_at
    assert policy.decide_rollover(YOUNG, None, lost, under, NOW).is_due(NOW)


def test_told_in_the_future_is_not_told() -> None:
    assert policy.is_expiring(DEAD, DEAD.not_after - MINUTE, DEAD.not_after - HOUR)


LOOKED = Looks(NOW)


@pytest.mark.parametrize(
    ("looks", "now", "doubts", "waits"),
    [
        pytest.param(Looks(), NOW, False, False, id="the first look"),
        pytest.param(LOOKED, NOW, False, False, id="at once"),
        pytest.param(LOOKED, NOW + 360 * DAY, False, False, id="a winter in a drawer"),
        pytest.param(LOOKED, NOW - HOUR, False, False, id="an hour set back"),
        pytest.param(LOOKED, NOW + 365 * DAY, True, True, id="a year ahead"),
        pytest.param(LOOKED, datetime(9999, 12, 31, tzinfo=UTC), True, True, id="9999"),
        pytest.param(LOOKED, NOW - 2 * DAY, True, False, id="behind: nothing is given up"),
        pytest.param(LOOKED, datetime(1970, 1, 1, tzinfo=UTC), True, False, id="1970"),
        pytest.param(Looks(NOW, NOW + 730 * DAY), NOW + 730 * DAY + MINUTE, True, True, id="a minute of doubt"),
        pytest.param(Looks(NOW, NOW + 730 * DAY), NOW + 730 * DAY + HOUR, False, False, id="an hour of doubt"),
        pytest.param(Looks(NOW, NOW + 730 * DAY), NOW + 9000 * DAY, True, True, id="another jump"),
        pytest.param(Looks(NOW, NOW + 730 * DAY), NOW + 400 * DAY, True, True, id="some of the way back"),
        pytest.param(Looks(NOW, NOW + 730 * DAY), NOW + MINUTE, False, False, id="right again"),
    ],
)
def test_a_clock_that_jumped_is_doubted(looks: Looks, now: datetime, doubts: bool, waits: bool) -> None:
    assert (looks.doubts(now), looks.waits(now)) == (doubts, waits)


@given(moments, st.timedeltas(361 * DAY, 9000 * DAY), st.lists(st.timedeltas(SECOND, HOUR), min_size=1, max_size=9))
def test_a_doubt_lasts_an_hour_however_often_one_looks(
    then: datetime, ahead: timedelta, waits: list[timedelta]
) -> None:
    looks, begun = Looks(then), then + ahead
    now, until = begun, Looks(then).until(begun)
    for wait in waits:
        doubted = looks.waits(now)
        assert doubted == (now < begun + HOUR)
        assert not doubted or looks.until(now) == until
        looks, now = looks.after(now, believed=not doubted), now + wait


@given(lengths, all_rules)
def test_what_was_just_issued_is_not_due(length: timedelta, any_rules: Rules) -> None:
    assert not policy.decide(life(length), None, FRESH, any_rules, START).is_due(START)


@pytest.mark.parametrize(
    ("lifetime", "transaction", "past", "expected"),
    [
        pytest.param(None, None, FRESH, Condition.MISSING, id="missing"),
        pytest.param(None, Open(), FRESH, Condition.MISSING, id="missing, being asked for"),
        pytest.param(None, POLL, FRESH, Condition.PENDING, id="missing, pending"),
        pytest.param(None, None, FAILED, Condition.FAILED, id="missing, failed"),
        pytest.param(YOUNG, None, FRESH, Condition.VALID, id="valid"),
        pytest.param(YOUNG, Open(hooks_owed=True), FRESH, Condition.VALID, id="valid, hooks owed"),
        pytest.param(OLD, None, FRESH, Condition.DUE, id="due"),
        pytest.param(OLD, POLL, FRESH, Condition.PENDING, id="pending"),
        pytest.param(OLD, POLL, FAILED, Condition.FAILED, id="pending, failed"),
        pytest.param(YOUNG, None, FAILED, Condition.FAILED, id="failed"),
        pytest.param(DEAD, None, FRESH, Condition.EXPIRED, id="expired"),
        pytest.param(DEAD, POLL, FAILED, Condition.EXPIRED, id="expired comes before all"),
        pytest.param(EARLY, None, FAILED, Condition.NOT_YET_VALID, id="not yet valid comes before all else"),
        pytest.param(Lifetime(NOW + DAY, NOW), None, FRESH, Condition.EXPIRED, id="never valid"),
        pytest.param(Lifetime(START, NOW), None, FRESH, Condition.EXPIRED, id="expired at this moment"),
    ],
)
def test_condition(lifetime: Lifetime | None, transaction: Open | None, past: Past, expected: Condition) -> None:
    assert policy.condition(lifetime, transaction, past, PLAIN, NOW) is expected


@pytest.mark.parametrize(
    ("now", "sane"),
    [
        pytest.param(datetime(1970, 1, 1, tzinfo=UTC), False, id="no clock"),
        pytest.param(datetime(2020, 1, 1, tzinfo=UTC), False, id="the firmware's date"),
        pytest.param(datetime(2027, 1, 1, tzinfo=UTC), True, id="today"),
        pytest.param(datetime(2099, 1, 1, tzinfo=UTC), True, id="decades ahead"),
        pytest.param(datetime(9999, 1, 1, tzinfo=UTC), False, id="the end of time"),
    ],
)
def test_clock(now: datetime, sane: bool) -> None:
    assert policy.clock_is_sane(now) is sane


@pytest.mark.parametrize(
    ("passed", "told", "expected"),
    [
        pytest.param(80, None, False, id="a fifth left"),
        pytest.param(91, None, True, id="less than a tenth left"),
        pytest.param(95, 91, False, id="told just now"),
        pytest.param(96, 91, True, id="half of the rest later"),
        pytest.param(91, -10, True, id="told about an older certificate"),
        pytest.param(101, None, True, id="expired, never told"),
        pytest.param(101, 99, False, id="expired"),
        pytest.param(200, 101, False, id="expired, told since"),
    ],
)
def test_expiring(passed: int, told: int | None, expected: bool) -> None:
    told_at = None if told is None else START + told * DAY
    assert policy.is_expiring(life(100 * DAY), told_at, START + passed * DAY) is expected


@given(lengths, st.integers(50, 400))
def test_expiring_is_told_a_few_times(length: timedelta, looks: int) -> None:
    lifetime, told_at, told = life(length), None, 0
    for look in range(looks * 2):
        now = START + length * look / looks
        if policy.is_expiring(lifetime, told_at, now):
            told, told_at = told + 1, now
    assert 1 <= told <= 10


@pytest.mark.parametrize(
    ("passed", "share"),
    [
        pytest.param(-5, 1.0, id="before its start"),
        pytest.param(25, 0.75, id="a quarter passed"),
        pytest.param(100, 0.0, id="at its end"),
        pytest.param(500, 0.0, id="long after"),
    ],
)
def test_remaining_share(passed: int, share: float) -> None:
    assert life(100 * DAY).remaining_share(START + passed * DAY) == share


def test_a_lifetime_of_nothing_is_over() -> None:
    assert Lifetime(START, START).remaining_share(START) == 0.0
    assert Lifetime(START, START - DAY).remaining_share(START) == 0.0


NOTHING = policy.Decision(None, None, "")


def at(action: Action, hours: float) -> policy.Decision:
    return policy.Decision(action, START + hours * HOUR, "")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param(NOTHING, NOTHING, None, id="nothing at all"),
        pytest.param(at(Action.RENEW, 1), NOTHING, Action.RENEW, id="the one alone"),
        pytest.param(NOTHING, at(Action.ROLLOVER, 1), Action.ROLLOVER, id="the other alone"),
        pytest.param(at(Action.RENEW, 1), at(Action.ROLLOVER, 2), Action.RENEW, id="the one first"),
        pytest.param(at(Action.RENEW, 2), at(Action.ROLLOVER, 1), Action.ROLLOVER, id="the other first"),
        pytest.param(at(Action.RENEW, 1), at(Action.ROLLOVER, 1), Action.RENEW, id="a draw"),
        pytest.param(at(Action.RENEW, 1), at(Action.SWITCH, 1), Action.SWITCH, id="a draw with a switch"),
        pytest.param(
            at(Action.RENEW, -5), at(Action.SWITCH, -1), Action.SWITCH, id="both due: the switch is done first"
        ),
        pytest.param(at(Action.RENEW, -5), at(Action.ROLLOVER, -9), Action.RENEW, id="both due"),
    ],
)
def test_the_sooner_of_renewal_and_rollover(
    one: policy.Decision, other: policy.Decision, expected: Action | None
) -> None:
    assert policy.sooner(one, other, START).action == expected


SWITCHES = [
    pytest.param(70, 85, id="soon, and the certificate outlives it for longer: half of the rest is waited"),
    pytest.param(66, 83, id="at the very moment"),
    pytest.param(90, 66, id="little would be left behind it: renewed as ever"),
    pytest.param(50, 66, id="past"),
    pytest.param(120, 66, id="behind the certificate's end"),
]


@pytest.mark.parametrize(("switch", "renewed"), SWITCHES)
def test_no_renewal_shortly_before_the_switch(switch: int, renewed: int) -> None:
    start = datetime(2027, 1, 1, tzinfo=UTC)
    lifetime = Lifetime(start, start + timedelta(days=100))
    rules = Rules(Threshold.parse("66%"), Fraction(0), 0, can_enroll=True, switch_at=start + timedelta(days=switch))
    assert abs(policy.renew_at(lifetime, rules) - (start + timedelta(days=renewed))) < timedelta(seconds=1)


def issue(at: datetime, behaviour: tuple[timedelta, timedelta], end: datetime | None) -> Lifetime:
    backdated, left = behaviour
    return Lifetime(at - backdated, min(at + left, end) if end else at + left)


spans = st.integers(1, 400 * 86400).map(lambda seconds: timedelta(seconds=seconds))
behaviours = st.lists(st.tuples(st.one_of(st.just(0 * DAY), spans), spans), min_size=1, max_size=5)


@given(behaviours, all_rules)
def test_whatever_the_ca_does_a_certificate_stays_for_its_share_of_the_life_it_had(
    behaviours: list[tuple[timedelta, timedelta]], any_rules: Rules
) -> None:
    """`share`: half of the threshold's, for the jitter; a time before the end leaves a tenth at least."""
    share = min(0.05, float(any_rules.renew_at.passed or 1) / 2)
    now, before = START, None
    for number in range(40):
        lifetime = issue(now, behaviours[number % len(behaviours)], None)
        before = policy.arrival(str(number), lifetime, before, now)
        following = policy.renew_at(lifetime, structs.replace(any_rules, arrival=before))
        left = lifetime.not_after - now
        assert following - now >= max(SECOND, left * share - SECOND)
        assert following <= max(lifetime.not_after, now + SECOND)
        now = following


@given(spans, st.one_of(st.just(0 * DAY), spans), thresholds)
def test_a_fixed_end_is_met_after_a_few_renewals(length: timedelta, backdated: timedelta, renew_at: Threshold) -> None:
    """Each pause is as long as the one before; a threshold of less than 2% asks for more."""
    end, now, before, pauses = START + length, START, None, list[timedelta]()
    while now < end and len(pauses) < 20:
        lifetime = issue(now, (backdated, length), end)
        before = policy.arrival("", lifetime, before, now)
        following = policy.renew_at(lifetime, Rules(renew_at, Fraction(0), 0, can_enroll=True, arrival=before))
        pauses.append(following - now)
        now = following
    assert len(pauses) <= 8 or (renew_at.passed is not None and renew_at.passed < 0.02)
