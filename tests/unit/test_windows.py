"""Times of the week: every minute of it, over midnight, and where clocks are set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certagent.config.windows import Window, next_opening, of_this_host

MINUTE = timedelta(minutes=1)
MONDAY = datetime(2026, 11, 30)  # noqa: DTZ001 -- what a clock on a wall shows
WEEK = 7 * 24 * 60
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# One with half an hour of summer time, one that left out a whole day, one an hour and a bit off.
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu")


def minutes(day: int, start: str, end: str) -> set[int]:
    """Of the week from Monday; the end may lie behind the week's."""
    first, last = (int(clock[:2]) * 60 + int(clock[3:]) for clock in (start, end))
    return {(day * 24 * 60 + minute) % WEEK for minute in range(first, last)}


@pytest.mark.parametrize(
    ("text", "open_at"),
    [
        pytest.param("Sat-Sun 02:00-05:00", minutes(5, "02:00", "05:00") | minutes(6, "02:00", "05:00"), id="days"),
        pytest.param("Fri 22:00-02:00", minutes(4, "22:00", "26:00"), id="over midnight"),
        pytest.param("Sun 23:00-00:30", minutes(6, "23:00", "24:30"), id="over the end of the week"),
        pytest.param("Sun-Mon 02:00-03:00", minutes(6, "02:00", "03:00") | minutes(0, "02:00", "03:00"), id="Sun-Mon"),
        pytest.param("Mon,Wed-Thu 00:00-00:01", {0, 2 * 1440, 3 * 1440}, id="a list of days"),
        pytest.param("Tue 00:00-24:00", minutes(1, "00:00", "24:00"), id="a whole day"),
        pytest.param("02:00-02:01", {day * 1440 + 120 for day in range(7)}, id="each day"),
        pytest.param("23:59-00:01", {(day * 1440 + m) % WEEK for day in range(7) for m in (-1, 0)}, id="each midnight"),
        pytest.param("00:00-24:00", set(range(WEEK)), id="always"),
    ],
)
def test_every_minute_of_the_week(text: str, open_at: set[int]) -> None:
    window = Window.parse(text)
    assert {number for number in range(WEEK) if window.holds(MONDAY + number * MINUTE)} == open_at
    assert Window.parse(str(window)) == window


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sat",
        "Sat 2:00-05:00",
        "Sat 02:00",
        "Sat 02:00-25:00",
        "Sat 24:00-02:00",
        "Sat 02:60-03:00",
        "Sat 02:00-02:00",
        "sat 02:00-05:00",
        "Saturday 02:00-05:00",
        "Sat - Sun 02:00-05:00",
        "Sat-Sun-Mon 02:00-05:00",
        "Sat, 02:00-05:00",
        "Sat  02:00-05:00",
        "Sat 02:00-05:00 ",
        "Sat 02:00-05:00\n",
        "Sat 02:00–05:00",
        "Sat ٠٢:00-05:00",
        "* 02:00-05:00",
    ],
)
def test_what_is_no_time_of_the_week(text: str) -> None:
    with pytest.raises(ValueError, match=r"; write"):
        Window.parse(text)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    clock = st.integers(0, 1439).map(lambda number: f"{number // 60:02}:{number % 60:02}")
    start, end = draw(st.lists(clock, min_size=2, max_size=2, unique=True))
    days = draw(st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True))
    return Window.parse(f"{','.join(days)} {start}-{end}")


# Around the changes of these zones, and anywhere in a few years.
moments = st.one_of(
    st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)),  # noqa: DTZ001 -- bounds only
    st.datetimes(datetime(2027, 3, 7), datetime(2027, 4, 7)),  # noqa: DTZ001
    st.datetimes(datetime(2027, 10, 1), datetime(2027, 11, 9)),  # noqa: DTZ001
    st.datetimes(datetime(2011, 12, 22), datetime(2012, 1, 1)),  # noqa: DTZ001
).map(lambda moment: moment.replace(tzinfo=UTC))


@settings(max_examples=60, deadline=None)
@given(st.lists(windows(), min_size=1, max_size=3), moments, st.sampled_from(ZONES))
def test_the_next_opening_is_the_first_moment_whose_clock_says_so(
    chosen: list[Window], now: datetime, name: str
) -> None:
    zone = ZoneInfo(name)

    def is_open(moment: datetime) -> bool:
        wall = moment.astimezone(zone).replace(tzinfo=None)
        return any(window.holds(wall) for window in chosen)

    found = next_opening(chosen, now, lambda moment: moment.astimezone(zone))
    if is_open(now):
        assert found == now
        return
    looked_at = now.replace(second=0, microsecond=0)
    while not is_open(looked_at) or looked_at <= now:
        looked_at += MINUTE
    assert found == looked_at


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The host's own zone, as TZ or /etc/localtime have it."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "now", "opens"),
    [
        pytest.param("02:00-05:00", "2026-12-01T12:00Z", "2026-12-02T01:00Z", id="in winter"),
        pytest.param("02:00-05:00", "2027-07-01T12:00Z", "2027-07-02T00:00Z", id="in summer"),
        pytest.param("02:15-02:45", "2027-03-27T12:00Z", "2027-03-29T00:15Z", id="in the hour that is skipped"),
        pytest.param("02:15-04:00", "2027-03-27T12:00Z", "2027-03-28T01:00Z", id="that begins in it"),
        pytest.param("02:15-02:45", "2027-10-31T00:20Z", "2027-10-31T00:20Z", id="in the hour that comes twice"),
        pytest.param("02:15-02:45", "2027-10-31T00:50Z", "2027-10-31T01:15Z", id="once more"),
        pytest.param("Sun 04:00-05:00", "2027-10-30T12:00Z", "2027-10-31T03:00Z", id="behind it"),
        pytest.param("Sat 02:00-05:00", "9999-12-30T12:00Z", "9999-12-30T12:00Z", id="at the end of the calendar"),
    ],
)
def test_by_the_clock_of_this_host(text: str, now: str, opens: str) -> None:
    assert next_opening([Window.parse(text)], datetime.fromisoformat(now), of_this_host) == datetime.fromisoformat(
        opens
    )
