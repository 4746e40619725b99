"""Times of the week, as in `activate_in`: `Sat-Sun 02:00-05:00`. Pure.

They are in the host's local time, and only what its wall clock shows at a moment counts: no window is open in the hour
that is skipped in spring, and a window in the hour that comes twice in autumn is open twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self

from msgspec import Struct

from certagent.moments import later

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_FAR = datetime(9000, 1, 1, tzinfo=UTC)  # the search for a window stops here, before it leaves the calendar
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_NAME = rf"(?:{'|'.join(_DAYS)})"

Local = Callable[[datetime], datetime]
"""A moment as the clock at some place shows it, with its offset from UTC."""


def of_this_host(moment: datetime) -> datetime:
    """Local time by TZ, or /etc/localtime."""
    return moment.astimezone()


class Window(Struct, frozen=True):
    """The same hours on some days of the week. `days` counts from Monday, 0, `start` and `end` from midnight; if the
    end is not after the start, it is on the next day.
    """

    days: frozenset[int]
    start: timedelta
    end: timedelta

    pattern: ClassVar[str] = rf"^({_NAME}(-{_NAME})?(,{_NAME}(-{_NAME})?)* )?{_CLOCK}-({_CLOCK}|24:00)$"

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.fullmatch(cls.pattern, text):
            raise ValueError(
                f"{text!r} is not a time of the week; write e.g. Sat-Sun 02:00-05:00, Fri 22:00-02:00, or 02:00-04:00"
            )
        *named, hours = text.split(" ")
        start, end = (_since_midnight(clock) for clock in hours.split("-"))
        if start == end:
            raise ValueError(f"{text!r} ends when it starts; write 00:00-24:00 for the whole day")
        return cls(_days(named[0]) if named else frozenset(range(7)), start, end)

    def holds(self, wall: datetime) -> bool:
        """Whether the window is open when the clock shows this."""
        day, time = wall.weekday(), wall - _midnight(wall)
        if self.start < self.end:
            return day in self.days and self.start <= time < self.end
        return (day in self.days and self.start <= time) or ((day - 1) % 7 in self.days and time < self.end)

    def begins_in(self, wall: datetime) -> timedelta:
        """How long until it begins next, if nobody sets the clock; more than zero."""
        begins = (_midnight(wall) + number * _DAY + self.start for number in range(8))
        return next(each - wall for each in begins if each > wall and each.weekday() in self.days)

    def __str__(self) -> str:
        days = "" if len(self.days) == len(_DAYS) else f"{','.join(_DAYS[day] for day in sorted(self.days))} "
        return f"{days}{_clock(self.start)}-{_clock(self.end)}"


def next_opening(windows: Sequence[Window], now: datetime, local: Local = of_this_host) -> datetime:
    """The first moment, `now` or later, at which one of them is open. There must be at least one."""
    moment = now
    while moment < _FAR:
        shown = local(moment)
        wall = shown.replace(tzinfo=None)
        if any(window.holds(wall) for window in windows):
            return moment
        reached = later(moment, min(window.begins_in(wall) for window in windows))
        if local(reached).utcoffset() == shown.utcoffset():
            return reached
        moment = _clock_is_set(moment, reached, local)
    return moment


def shown(moment: datetime, local: Local = of_this_host) -> str:
    """For people: `Sat 28 Nov 02:00`, as the host's clock will show it."""
    wall = local(moment)
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{_DAYS[wall.weekday()]} {wall.day} {months[wall.month - 1]} {wall:%H:%M}"


def _clock_is_set(before: datetime, after: datetime, local: Local) -> datetime:
    """The moment between these two, to the second, at which the offset from UTC changes."""
    offset = local(before).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) / 2
        if local(middle).utcoffset() == offset:
            before = middle
        else:
            after = middle
    # It is a whole second, as far as anybody ever legislated.
    return after.replace(microsecond=0) if local(after.replace(microsecond=0)).utcoffset() != offset else after


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, *rest = (_DAYS.index(name) for name in part.split("-"))
        last = rest[0] if rest else first
        found.update((first + number) % 7 for number in range((last - first) % 7 + 1))
    return frozenset(found)


def _since_midnight(clock: str) -> timedelta:
    hours, minutes = clock.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def _clock(time: timedelta) -> str:
    minutes = time // timedelta(minutes=1)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _midnight(wall: datetime) -> datetime:
    return wall.replace(hour=0, minute=0, second=0, microsecond=0)
