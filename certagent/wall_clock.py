"""The wall clock: whether something keeps it right, and whether it jumped since the last look.

There is one memory for the machine, `clock.json`. Like all memory it is only a convenience: if it cannot be read or
written, certagent acts as if it had never looked. No cryptography is loaded.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from certagent import durable
from certagent.errors import StateError
from certagent.moments import Moment, later
from certagent.policy import Lifetime, clock_is_sane
from certagent.state_directory import StateDirectory
from certagent.text import iso, span

VERSION = 1
# How often a look is saved while the clock is fine.
_OFTEN = timedelta(hours=1)
_NEVER = datetime.min.replace(tzinfo=UTC)
# How far the clock may move ahead, or back, between two looks before certagent doubts it, and how long it does.
_REST = timedelta(days=360)
_SET_BACK = timedelta(days=1)
_DOUBT = timedelta(hours=1)


class Looks(msgspec.Struct, frozen=True):
    """When certagent last looked at a clock it trusted, and since when it doubts the clock.

    A clock that jumped (a dead battery, before NTP) must not make certagent give up a pending request or put a shadow
    in place too early. But a device may have been in a drawer: a clock that goes on for an hour is trusted.
    """

    at: datetime | None = None
    doubted_since: datetime | None = None

    def doubts(self, now: datetime) -> bool:
        """Whether the clock jumped ahead by a year, or back by a day, and has not gone on from there for an hour."""
        if self.at is None or -_SET_BACK <= now - self.at <= _REST:
            return False
        return self.doubted_since is None or not _DOUBT <= now - self.doubted_since <= _REST

    def waits(self, now: datetime) -> bool:
        """Whether to do nothing now: the clock is doubted, and ahead. If it is behind, nothing is given up."""
        return self.at is not None and now > self.at and self.doubts(now)

    def until(self, now: datetime) -> datetime:
        """When certagent will trust a clock it doubts now, if the clock goes on normally."""
        since = self.doubted_since
        begun = since if since is not None and timedelta(0) <= now - since <= _DOUBT else now
        return later(begun, _DOUBT)

    def after(self, now: datetime, *, believed: bool) -> "Looks":
        """What to remember of a look at `now`."""
        return Looks(now) if believed else Looks(self.at, later(self.until(now), -_DOUBT))


class _Memory(msgspec.Struct, frozen=True, kw_only=True):
    version: int = VERSION
    looked_at: Moment | None = None
    doubted_since: Moment | None = None


class Doubt(msgspec.Struct, frozen=True):
    """Why certagent doubts the clock now; `until`: when it will trust it, if the clock goes on normally."""

    reason: str
    until: datetime


def look(state_dir: Path, now: datetime, *, believed: bool) -> Doubt | None:
    """Look, and remember it; None if the clock may be used for everything. `believed`: somebody asked for this run.

    Raises nothing: without memory the clock is trusted.
    """
    if not clock_is_sane(now):
        return None  # reported separately, everywhere
    before = _looks(state_dir)
    doubted = not believed and before.doubts(now) and not is_synchronised(now)
    after = before.after(now, believed=not doubted)
    if after == Looks(now) and before == Looks(before.at) and timedelta(0) <= now - (before.at or _NEVER) < _OFTEN:
        return None  # not worth a write for each worker
    with suppress(OSError):
        durable.make_directory(state_dir)
        memory = _Memory(looked_at=after.at, doubted_since=after.doubted_since)
        durable.write(StateDirectory(state_dir).clock, msgspec.json.encode(memory))
    return _doubt(before, now) if doubted and before.waits(now) else None


def doubt(state_dir: Path, now: datetime) -> Doubt | None:
    """What `look` would say, for callers that only report it."""
    before = _looks(state_dir)
    return _doubt(before, now) if clock_is_sane(now) and before.waits(now) and not is_synchronised(now) else None


def looked_at(state_dir: Path) -> datetime | None:
    """When somebody worked here last, to the hour; None if nothing is remembered."""
    return _looks(state_dir).at


def is_steady(state_dir: Path, now: datetime) -> bool:
    """Whether this clock did not jump or go back since the last look, or has gone on for an hour since."""
    return not _looks(state_dir).doubts(now) or is_synchronised(now)


def may_say(now: datetime, signer: Lifetime) -> bool:
    """Whether a signature made now can state the time: the clock can be right, and the signer is valid by it."""
    return clock_is_sane(now) and signer.not_before <= now <= signer.not_after


def _looks(state_dir: Path) -> Looks:
    try:
        memory = durable.read_versioned(StateDirectory(state_dir).clock, _Memory, VERSION)
    except StateError:
        return Looks()
    return Looks() if memory is None else Looks(memory.looked_at, memory.doubted_since)


def _doubt(looks: Looks, now: datetime) -> Doubt | None:
    if looks.at is None:
        return None
    ahead, until = span(now - looks.at), looks.until(now)
    return Doubt(
        f"the clock says {iso(now)}, {ahead} after the last look: certagent trusts it from {iso(until)} on, "
        "or as soon as it is synchronised",
        until,
    )


def is_synchronised(now: datetime) -> bool:
    """Whether something keeps the clock right, and `now` is its time."""
    from certagent import kernel_clock  # noqa: PLC0415 -- few looks need to ask, and asking is dear to load

    return kernel_clock.is_synchronised(now)
