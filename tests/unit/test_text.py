"""Words for people: lengths of time, moments, and lines made of a message and its hint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from certagent import text

NOW = datetime(2026, 12, 1, 12, 0, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

# How far away a moment is → its span; ahead; when; date; short_date; stamp; ends.
MOMENTS = [
    (
        "passed long ago",
        -60 * DAY,
        ("60 d", "now", "now", "2026-10-02", "2026-10-02", "2026-10-02 12:00", "expired on 2026-10-02 (60 d ago)"),
    ),
    (
        "passed just now",
        -40 * SECOND,
        (
            "40 s",
            "now",
            "now",
            "2026-12-01 11:59:20 UTC",
            "11:59:20 UTC",
            "2026-12-01 11:59:20",
            "expired at 2026-12-01 11:59:20 UTC (40 s ago)",
        ),
    ),
    (
        "now",
        0 * SECOND,
        (
            "0 s",
            "now",
            "now",
            "2026-12-01 12:00:00 UTC",
            "12:00:00 UTC",
            "2026-12-01 12:00:00",
            "expired at 2026-12-01 12:00:00 UTC (0 s ago)",
        ),
    ),
    (
        "in the evening",
        5 * HOUR + 5 * MINUTE,
        (
            "5 h",
            "in 5 h",
            "at 17:05:00 UTC (in 5 h)",
            "2026-12-01 17:05:00 UTC",
            "17:05:00 UTC",
            "2026-12-01 17:05:00",
            "until 2026-12-01 17:05:00 UTC (5 h)",
        ),
    ),
    (
        "tomorrow at the same time",
        DAY,
        (
            "24 h",
            "in 24 h",
            "on 2026-12-02 (in 24 h)",
            "2026-12-02 12:00:00 UTC",
            "2026-12-02",
            "2026-12-02 12:00:00",
            "until 2026-12-02 12:00:00 UTC (24 h)",
        ),
    ),
    (
        "in years",
        5000 * DAY,
        (
            "13 y",
            "in 13 y",
            "on 2040-08-09 (in 13 y)",
            "2040-08-09",
            "2040-08-09",
            "2040-08-09 12:00",
            "until 2040-08-09 (13 y)",
        ),
    ),
]


@pytest.mark.parametrize(("away", "words"), [pytest.param(*rest, id=name) for name, *rest in MOMENTS])
def test_a_moment(away: timedelta, words: tuple[str, ...]) -> None:
    moment = NOW + away
    told = (text.ahead, text.when, text.date, text.short_date, text.stamp, text.ends)
    assert (text.span(away), *(tell(moment, NOW) for tell in told)) == words


@pytest.mark.parametrize(
    ("length", "words"),
    [
        pytest.param(timedelta(milliseconds=999), "0 s", id="cut off"),
        pytest.param(119 * SECOND, "119 s", id="less than two minutes"),
        pytest.param(120 * SECOND, "2 min", id="two minutes"),
        pytest.param(125 * MINUTE, "2 h", id="hours"),
        pytest.param(47 * HOUR, "47 h", id="less than two days"),
        pytest.param(700 * DAY, "700 d", id="less than two years"),
        pytest.param(731 * DAY, "2 y", id="two years"),
    ],
)
def test_a_length_of_time_in_one_unit(length: timedelta, words: str) -> None:
    assert text.span(length) == text.span(-length) == words


def test_programs_get_utc_to_the_second() -> None:
    assert text.iso(datetime(2027, 1, 1, 2, 30, 15, 9, tzinfo=timezone(timedelta(hours=2)))) == "2027-01-01T00:30:15Z"


@pytest.mark.parametrize("hint", [None, ""])
def test_without_a_hint_the_message_stands_alone(hint: str | None) -> None:
    assert text.with_hint("no route", hint) == "no route"


def test_a_hint_follows_its_message() -> None:
    assert text.with_hint("no route", "see the cable") == "no route; see the cable"
