"""When CRLs are fetched again: a table of cases, and what holds for all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.policy import Past
from certagent.revocation.freshness import fetch_again, next_fetch, pause

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("begun", "left", "share", "after"),
    [
        pytest.param(0, 10, 0.0, 5, id="half way"),
        pytest.param(0, 10, 0.99999, 4, id="a tenth of the life earlier on another host"),
        pytest.param(2, 8, 0.0, 3, id="fetched early in its life"),
        pytest.param(8, 4, 0.0, 1, id="fetched late: a quarter of the rest"),
        pytest.param(0, 24 * 30, 0.0, 24, id="good for a month: once a day"),
        pytest.param(0, 24 * 30, 0.99999, 21.6, id="the same, on another host"),
    ],
)
def test_after_a_fetch(begun: float, left: float, share: float, after: float) -> None:
    """A list made `begun` hours ago and good for `left` more hours is fetched again `after` so many."""
    again = fetch_again([(NOW - begun * HOUR, NOW + left * HOUR)], NOW, share)
    assert abs(again - (NOW + after * HOUR)) < timedelta(seconds=10)


def test_the_list_that_ends_first_says_when() -> None:
    assert fetch_again([(NOW, NOW + 10 * HOUR), (NOW, NOW + 4 * HOUR), (NOW, None)], NOW, 0) == NOW + 2 * HOUR


def test_without_a_next_update_it_is_fetched_daily() -> None:
    assert fetch_again([(NOW, None)], NOW, 0) == NOW + DAY


LIST = [(NOW - HOUR, NOW + 5 * HOUR)]
FAILED = Past(3, NOW + 2 * timedelta(minutes=1), "transient")


@pytest.mark.parametrize(
    ("fetched_at", "past", "due"),
    [
        pytest.param(None, Past(), NOW, id="never fetched"),
        pytest.param(NOW - HOUR, Past(), NOW + 2 * HOUR, id="in its time"),
        pytest.param(NOW + DAY, Past(), NOW, id="fetched in the future: by a clock that was ahead"),
        pytest.param(NOW - HOUR, FAILED, NOW + timedelta(minutes=2), id="a pause after failures"),
        pytest.param(NOW - HOUR, Past(3, NOW + DAY, "transient"), NOW, id="a pause that no rule makes"),
        pytest.param(NOW - HOUR, Past(3, None, "transient"), NOW, id="failures without a pause"),
    ],
)
def test_when_the_next_fetch_is_due(fetched_at: datetime | None, past: Past, due: datetime) -> None:
    assert next_fetch(LIST, fetched_at, past, 0, NOW) == due


moments = st.timedeltas(-DAY * 400, DAY * 400)
shares = st.floats(0, 1, exclude_max=True)


@given(age=st.timedeltas(timedelta(0), DAY * 100), left=st.timedeltas(timedelta(seconds=60), DAY * 400), share=shares)
def test_it_is_always_before_the_list_runs_out(age: timedelta, left: timedelta, share: float) -> None:
    again = fetch_again([(NOW - age, NOW + left)], NOW, share)
    assert NOW < again <= min(NOW + DAY, NOW + left)


pasts = st.builds(lambda failures, retry: Past(failures, NOW + retry, "transient"), st.integers(1, 10**6), moments)


@given(begins=moments, ends=moments, fetched=moments, past=st.just(Past()) | pasts, share=shares)
def test_nothing_is_waited_for_longer_than_a_day(
    begins: timedelta, ends: timedelta, fetched: timedelta, past: Past, share: float
) -> None:
    assert next_fetch([(NOW + begins, NOW + ends)], NOW + fetched, past, share, NOW) <= NOW + DAY


@pytest.mark.parametrize(
    ("wait", "share", "minutes"),
    [
        pytest.param(None, 0.0, 3.2, id="the shortest: 40% of the fourth pause, which is 8 minutes"),
        pytest.param(None, 1.0, 8, id="the longest"),
        pytest.param(timedelta(minutes=30), 0.0, 30, id="as long as the server asked"),
        pytest.param(timedelta(minutes=30), 1.0, 37.5, id="or a quarter longer"),
        pytest.param(5 * HOUR, 0.0, 300, id="more than an hour, where the server asks for it"),
        pytest.param(7 * DAY, 1.0, 360, id="but not for ever"),
    ],
)
def test_hosts_that_failed_together_do_not_come_back_together(
    wait: timedelta | None, share: float, minutes: float
) -> None:
    past = Past(5, None, "transient", wait)
    at = pause(past, [(NOW - DAY, NOW + 30 * DAY)], NOW, share)
    assert at == NOW + timedelta(minutes=minutes)
    known = Past(5, at, "transient", wait)
    assert next_fetch([(NOW - DAY, NOW + 30 * DAY)], NOW - HOUR, known, share, NOW) == at, "no wrong clock"


@given(failures=st.integers(1, 10**6), left=st.timedeltas(timedelta(seconds=-60), DAY * 10))
def test_after_failures_it_is_tried_many_times_before_the_end_and_each_hour_after(
    failures: int, left: timedelta
) -> None:
    wait = pause(Past(failures, None, "transient"), [(NOW - DAY, NOW + left)], NOW) - NOW
    assert timedelta(seconds=1) <= wait <= HOUR
    if left > timedelta(minutes=1):
        assert wait <= left / 20
