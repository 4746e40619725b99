"""What a worker reports of a keystore: written by the real worker process, read as the agent reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from certagent import durable
from certagent.agent.worker_process import BAD_CONFIGURATION, Worker, worker_command
from certagent.config.load import load_for_agent
from certagent.lab import Settings
from certagent.policy import Action, Condition
from certagent.transaction import report
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Outcome, Result
from tests.renewal.conftest import make_site
from tests.renewal.site import DAY, Site, Sites
from tests.waiting import PATIENCE

__all__ = ["make_site"]

YEARLY = Settings(lifetime=90 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY)
MOMENT = datetime(2026, 12, 1, 12, 0, 0, tzinfo=UTC)


def nobody_was_here(site: Site) -> None:
    site.write()


def enrolled(site: Site) -> None:
    site.write()
    assert site.run().result is Result.ENROLLED


def due(site: Site) -> None:
    enrolled(site)
    site.clock.advance(70 * DAY)


def ready_to_switch(site: Site) -> None:
    enrolled(site)
    while site.state.next_action != Action.SWITCH:
        assert site.state.next_action_at is not None
        site.clock.now = site.state.next_action_at + timedelta(seconds=1)
        site.run()
    assert site.state.next_action_at is not None
    site.clock.now = site.state.next_action_at + timedelta(seconds=1)


def ca_file_wanted(site: Site) -> None:
    enrolled(site)
    site.write(f"ca_file: {site.path('files/ca.pem')}")


def chain_file_wanted(site: Site) -> None:
    enrolled(site)
    site.write(f"chain_file: {site.path('files/chain.pem')}")


def shorter_than_the_one_before(site: Site) -> None:
    enrolled(site)
    site.clock.advance(DAY)
    site.ca.settings = replace(site.ca.settings, lifetime=7 * DAY)
    assert site.run(Wish.RENEW).result is Result.RENEWED
    site.clock.advance(8 * DAY)


def clock_lost(site: Site) -> None:
    site.write()
    site.clock.now = datetime(1970, 1, 1, tzinfo=UTC)


def stopped_by_its_hook(site: Site) -> None:
    hook = site.path("pre.sh")
    hook.write_text("#!/bin/sh\nkill -TERM $PPID\n")
    hook.chmod(0o755)
    site.write(f"hooks: {{pre: [[{hook}]]}}")


def ca_is_down(site: Site) -> None:
    site.write()
    site.server.stop()


def approval_needed(site: Site) -> None:
    site.write(authority="poll_interval: 1h")


@dataclass(frozen=True)
class Case:
    """`held`: somebody else has the keystore's lock; `faked`: it happens at another time than now."""

    result: Result
    arrange: Callable[[Site], None]
    state: Condition | None = Condition.VALID
    next_action: Action | None = Action.RENEW
    settings: Settings | None = None
    held: bool = False
    faked: bool = False


CASES = [
    Case(Result.ENROLLED, nobody_was_here),
    Case(Result.RENEWED, due, faked=True),
    Case(Result.ROLLED_OVER, ready_to_switch, settings=YEARLY, faked=True),
    Case(Result.TRUSTED, ca_file_wanted),
    Case(Result.ADJUSTED, chain_file_wanted),
    Case(Result.PUT_BACK, shorter_than_the_one_before, faked=True),
    Case(Result.PENDING, approval_needed, Condition.PENDING, Action.POLL, Settings(manual=True)),
    Case(Result.NOTHING, enrolled),
    Case(Result.WAITING, clock_lost, None, None, faked=True),
    Case(Result.STOPPED, stopped_by_its_hook, next_action=Action.HOOKS),
    Case(Result.BUSY, enrolled, None, None, held=True),
    Case(Result.FAILED, ca_is_down, Condition.FAILED, Action.RESUME),
]


def reported(site: Site, *, faked: bool = False, definitions: bytes = b"") -> tuple[list[Outcome], Worker]:
    """What the agent takes from a worker that it starts now, by the device's clock."""
    worker = Worker(("web",))
    taken: list[Outcome] = []
    command = worker_command(site.config)
    if faked:
        moment = f"@{site.clock.now:%Y-%m-%d %H:%M:%S}"
        command = ("env", "TZ=UTC", "DONT_FAKE_MONOTONIC=1", "faketime", "-f", moment, *command)
    limit = timedelta(seconds=PATIENCE)
    asyncio.run(worker.run(command, limit=limit, grace=limit, on_report=taken.append, definitions=definitions))
    return taken, worker


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.needs("faketime") if case.faked else (), id=case.result) for case in CASES],
)
def test_the_agent_understands_what_its_worker_reports(
    case: Case, make_site: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(case.settings, real_time=not case.faked)
    case.arrange(site)
    with durable.lock(site.keystore_directory / "lock", "keystore web") if case.held else nullcontext():
        taken, worker = reported(site, faked=case.faked)
    wanted = [("web", case.result, case.state, case.next_action)]
    assert [(it.keystore, it.result, it.state, it.next_action) for it in taken] == wanted, (taken, caplog.text)
    assert worker.orderly
    assert worker.guilty is None
    assert "something unexpected" not in caplog.text


def test_a_worker_that_is_handed_definitions_reads_no_configuration(make_site: Sites) -> None:
    site = make_site(real_time=True)
    nobody_was_here(site)
    definitions = load_for_agent(site.config).excerpt(["web"])
    site.config.unlink()
    taken, worker = reported(site, definitions=definitions)
    assert [outcome.result for outcome in taken] == [Result.ENROLLED]
    assert worker.orderly


def test_the_same_command_without_them_reads_the_configuration(make_site: Sites) -> None:
    site = make_site(real_time=True)
    nobody_was_here(site)
    site.config.unlink()
    taken, worker = reported(site)
    assert (taken, worker.exit_code) == ([], BAD_CONFIGURATION)


def test_one_that_shares_a_hook_is_in_place_before_it_is_done(make_site: Sites) -> None:
    site = make_site(real_time=True)
    site.write("hooks: {post: [{run: ['true'], once: true}]}")
    taken, worker = reported(site)
    assert [outcome.result for outcome in taken] == [Result.ENROLLED]
    assert worker.in_place == {"web"}
    assert worker.orderly


def test_every_result_is_among_the_cases() -> None:
    assert {case.result for case in CASES} == set(Result) - {Result.IN_PLACE}


@pytest.mark.parametrize("result", Result)
def test_what_is_written_is_what_is_read(result: Result) -> None:
    bare = Outcome("web", result)
    full = Outcome("web", result, Condition.DUE, Action.RENEW, MOMENT, "no route to the CA", "see the cable")
    assert report.decode(report.encode(bare)) == bare
    assert report.decode(report.encode(full)) == full


def test_a_moment_is_reported_to_the_second() -> None:
    line = report.encode(Outcome("web", Result.NOTHING, next_action_at=MOMENT + timedelta(microseconds=999_999)))
    assert b'"next_action_at":"2026-12-01T12:00:00Z"' in line


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"garbage", id="garbage"),
        pytest.param(b"\xff\xfe", id="not text"),
        pytest.param(b"{}", id="nothing in it"),
        pytest.param(b'{"keystore":"web","result":"splendid"}', id="a result nobody knows"),
        pytest.param(b'{"keystore":"web","result":"failed","next_action_at":"2026-12-01T12:00:00"}', id="no zone"),
        pytest.param(b"[" * 100_000, id="deeply nested"),
    ],
)
def test_what_is_no_report_is_none(line: bytes) -> None:
    assert report.decode(line) is None
