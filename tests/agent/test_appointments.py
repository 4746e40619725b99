"""Appointments, kept by the real scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from certagent.agent.appointments import Appointments


def soon(milliseconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(milliseconds=milliseconds)


FAR = timedelta(days=50)


def two(kept: Appointments) -> list[str]:
    kept.make("later", soon(200))
    kept.make("sooner", soon(100))
    return ["sooner", "later"]


def past(kept: Appointments) -> list[str]:
    kept.make("overdue", soon(-1000))
    return ["overdue"]


def made_anew(kept: Appointments) -> list[str]:
    kept.make("web", soon(50))
    kept.make("web", datetime.now(UTC) + FAR)
    kept.make("other", soon(200))
    return ["other"]


def brought_forward(kept: Appointments) -> list[str]:
    kept.make("web", datetime.now(UTC) + FAR)
    kept.make("web", soon(50))
    return ["web"]


def cancelled(kept: Appointments) -> list[str]:
    kept.make("web", soon(50))
    kept.cancel("web")
    kept.make("other", soon(200))
    return ["other"]


def all_cancelled(kept: Appointments) -> list[str]:
    kept.make("web", soon(50))
    kept.cancel_all()
    kept.make("other", soon(200))
    return ["other"]


def many_times(kept: Appointments) -> list[str]:
    for _ in range(1000):
        kept.make("web", datetime.now(UTC) + FAR)
    kept.make("web", soon(50))
    return ["web"]


@pytest.mark.parametrize("make", [two, past, made_anew, brought_forward, cancelled, all_cancelled, many_times])
def test_each_is_kept_once_in_order(make: Callable[[Appointments], list[str]]) -> None:
    async def run() -> tuple[list[str], list[str]]:
        done: list[str] = []
        kept = Appointments(done.append, lambda: None)
        kept.start()
        wanted = make(kept)
        while len(done) < len(wanted):
            await asyncio.sleep(0.01)
        kept.stop()
        return done, wanted

    done, wanted = asyncio.run(asyncio.wait_for(run(), 60))
    assert done == wanted


def test_who_is_due_again_at_once_is_kept_again() -> None:
    async def run() -> int:
        count = 0

        def due(name: str) -> None:
            nonlocal count
            count += 1
            kept.make(name, soon(-1))

        kept = Appointments(due, lambda: None)
        kept.start()
        kept.make("web", soon(-1))
        while count < 50:
            await asyncio.sleep(0.01)
        kept.stop()
        return count

    assert asyncio.run(asyncio.wait_for(run(), 60)) >= 50


def test_the_first_is_known() -> None:
    async def run() -> None:
        kept = Appointments(lambda name: None, lambda: None)
        kept.start()
        now = datetime.now(UTC)
        kept.make("web", now + 2 * FAR)
        kept.make("vpn", now + FAR)
        assert kept.first == ("vpn", now + FAR)
        kept.cancel("vpn")
        assert kept.first == ("web", now + 2 * FAR)
        kept.stop()

    asyncio.run(run())


def test_the_first_sweep_has_a_moment_of_its_own() -> None:
    """The second comes a whole length later: 50 days."""

    async def run() -> int:
        sweeps = 0

        def sweep() -> None:
            nonlocal sweeps
            sweeps += 1

        kept = Appointments(lambda _name: None, sweep)
        kept.start()
        kept.sweep_every(FAR, timedelta(milliseconds=20))
        while not sweeps:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        kept.stop()
        return sweeps

    assert asyncio.run(asyncio.wait_for(run(), 60)) == 1
