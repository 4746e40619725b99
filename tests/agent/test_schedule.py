"""The agent's decisions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from certagent.agent import schedule
from certagent.agent.schedule import Look, Next
from certagent.host import Host
from certagent.policy import Action, Condition
from certagent.state import LastError, Seen, State, Track
from certagent.transaction.report import Outcome, Result

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("waiting", "free", "sizes"),
    [
        pytest.param(1, 2, [1], id="one keystore, one worker"),
        pytest.param(2, 2, [1, 1], id="two are shared"),
        pytest.param(30, 2, [15, 15], id="an even share each"),
        pytest.param(3, 2, [2, 1], id="the odd one goes first"),
        pytest.param(200, 2, [25, 25], id="no more than 25 wait behind one that hangs"),
        pytest.param(640, 2, [40, 75], id="more while many wait: they share the start of a worker"),
        pytest.param(10_000, 2, [100, 100], id="but a worker ends some time"),
        pytest.param(7, 1, [7], id="all to the only worker free"),
    ],
)
def test_a_batch_is_an_even_share_of_the_waiting(waiting: int, free: int, sizes: list[int]) -> None:
    queue = [f"k{number}" for number in range(waiting)]
    taken = []
    for workers_left in range(free, free - len(sizes), -1):
        names = schedule.batch(queue, workers_left, {})
        taken.append(len(names))
        assert names == queue[: len(names)]
        queue = queue[len(names) :]
    assert taken == sizes


@pytest.mark.parametrize(
    ("free", "shared", "batches"),
    [
        pytest.param(3, "a:x c:x", ["ac", "b", "d"], id="two go together"),
        pytest.param(2, "a:x b:x c:x d:x", ["abcd"], id="all, whatever their even share is"),
        pytest.param(2, "a:x c:xy d:y", ["ac", "bd"], id="nothing but what the oldest shares"),
        pytest.param(2, "a:x b:y c:x d:y", ["ac", "bd"], id="two families"),
        pytest.param(1, "b:x d:x", ["abcd"], id="one worker"),
    ],
)
def test_those_that_share_a_hook_go_together(free: int, shared: str, batches: list[str]) -> None:
    queue, taken = list("abcd"), []
    having = {name: set(what) for name, _, what in (word.partition(":") for word in shared.split())}
    while queue and free:
        taken.append(sorted(schedule.batch(queue, free, having)))
        queue = [name for name in queue if name not in taken[-1]]
        free -= 1
    assert taken[: len(batches)] == [sorted(batch) for batch in batches]


def test_a_family_that_goes_together_has_an_end() -> None:
    queue = [f"k{number}" for number in range(1000)]
    assert schedule.batch(queue, 2, dict.fromkeys(queue, ("restart",))) == queue[: schedule.BATCH_LIMIT]


@pytest.mark.parametrize(
    ("strikes", "wait"),
    [
        pytest.param(1, SECOND, id="first"),
        pytest.param(2, 2 * SECOND, id="doubled"),
        pytest.param(5, 16 * SECOND, id="again and again"),
        pytest.param(13, timedelta(hours=1), id="an hour at most"),
        pytest.param(10_000, timedelta(hours=1), id="without overflow"),
    ],
)
def test_backoff(strikes: int, wait: timedelta) -> None:
    assert schedule.backoff(strikes, SECOND) == wait


@pytest.mark.parametrize(
    ("seen", "acted_on", "changed"),
    [
        pytest.param(1, None, False, id="as the worker left it"),
        pytest.param(2, None, True, id="changed"),
        pytest.param(2, 2, False, id="a worker was sent already"),
        pytest.param(3, 2, True, id="changed once more"),
    ],
)
def test_files_changed(seen: int, acted_on: int | None, changed: bool) -> None:
    assert schedule.files_changed(1, seen, acted_on) is changed


@pytest.mark.parametrize(
    ("seconds", "jumped"),
    [
        pytest.param(0, False, id="none"),
        pytest.param(4, False, id="slewed"),
        pytest.param(3600, True, id="forward"),
        pytest.param(-3600, True, id="back"),
    ],
)
def test_clock_jumped(seconds: int, jumped: bool) -> None:
    assert schedule.clock_jumped(seconds * SECOND, 5 * SECOND) is jumped


DUE = State(
    condition=Condition.DUE,
    next_action=Action.RENEW,
    next_action_at=NOW - timedelta(days=1),
    definition="d",
    authority="a",
    watched={"web.pem": "1"},
    seen=Seen(
        subject="CN=web",
        issuer="CN=ca",
        serial="01",
        key="rsa:2048",
        not_before=NOW - timedelta(days=60),
        not_after=NOW + timedelta(days=30),
    ),
)


def staged(left: timedelta) -> dict[str, Any]:
    return {"condition": Condition.STAGED, "next_action": Action.SWITCH, "next_action_at": NOW + left}


def seen_until(left: timedelta) -> dict[str, Any]:
    assert DUE.seen is not None
    return {"seen": msgspec.structs.replace(DUE.seen, not_after=NOW + left)}


@pytest.mark.parametrize(("share", "minutes"), [(0.0, 30), (0.5, 45), (1.0, 60)])
def test_hosts_that_start_together_sweep_at_moments_of_their_own(share: float, minutes: int) -> None:
    assert schedule.first_sweep(timedelta(hours=1), share) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("left", "failures", "pause"),
    [
        pytest.param(timedelta(days=3), 0, 150, id="half of five minutes"),
        pytest.param(timedelta(hours=1), 0, 75, id="an hour left: half of a 24th"),
        pytest.param(timedelta(0), 0, 0, id="expired"),
        pytest.param(None, 0, 0, id="none yet, or no end"),
        pytest.param(timedelta(days=3), 1, 0, id="failed before: that has a pause of its own"),
    ],
)
def test_crls_that_were_due_wait_when_the_agent_starts(left: timedelta | None, failures: int, pause: int) -> None:
    ends = NOW + left if left is not None else None
    assert schedule.crl_start_pause(ends, failures, 0.5, NOW) == pause * SECOND


@pytest.mark.parametrize(
    ("known", "look", "pause"),
    [
        pytest.param({}, {}, 150, id="a renewal that is due: half of five minutes"),
        pytest.param({"next_action": Action.ROLLOVER}, {}, 150, id="a rollover"),
        pytest.param(seen_until(timedelta(hours=1)), {}, 75, id="an hour left: half of a 24th"),
        pytest.param(seen_until(timedelta(seconds=-1)), {}, 0, id="expired"),
        pytest.param({"seen": None}, {}, 0, id="no certificate"),
        pytest.param({"next_action": Action.ENROLL}, {}, 0, id="an enrollment"),
        pytest.param({"next_action": Action.SWITCH}, {}, 0, id="the next CA takes over"),
        pytest.param({"next_action": Action.HOOKS}, {}, 0, id="hooks"),
        pytest.param(staged(timedelta(days=3)), {"open": True}, 150, id="a shadow waits for the next CA"),
        pytest.param(staged(timedelta(hours=1)), {"open": True}, 75, id="for an hour"),
        pytest.param(staged(timedelta(0)), {"open": True}, 0, id="no longer"),
        pytest.param(staged(timedelta(days=3)), {"open": True, "begun": True}, 0, id="beside something that is open"),
        pytest.param({"failures": 1}, {}, 0, id="failed before"),
        pytest.param({}, {"open": True}, 0, id="something is open"),
        pytest.param({}, {"watched": {"web.pem": "2"}}, 0, id="somebody changed its files"),
        pytest.param({}, {"definition": "e"}, 0, id="somebody changed its definition"),
    ],
)
def test_what_is_not_urgent_waits_when_the_agent_starts(
    known: dict[str, Any], look: dict[str, Any], pause: float
) -> None:
    usual = Look(
        known=msgspec.structs.replace(DUE, **known),
        kept_at=NOW,
        definition="d",
        authority="a",
        watched={"web.pem": "1"},
        open=False,
        begun=False,
        host=Host(),
    )
    assert schedule.start_pause(replace(usual, **look), 0.5, NOW) == pause * SECOND


LATER = NOW + timedelta(hours=3)


@pytest.mark.parametrize(
    ("result", "action", "when", "strikes", "following"),
    [
        pytest.param(Result.RENEWED, Action.RENEW, LATER, 0, Next.SETTLED, id="done"),
        pytest.param(Result.NOTHING, None, None, 3, Next.SETTLED, id="nothing can be done"),
        pytest.param(Result.FAILED, Action.RESUME, LATER, 0, Next.SETTLED, id="failed: the worker set the pause"),
        pytest.param(Result.BUSY, None, None, 0, Next.FRUITLESS, id="somebody else is at it"),
        pytest.param(Result.BUSY, Action.RENEW, LATER, 0, Next.FRUITLESS, id="somebody else is at it, all is known"),
        pytest.param(Result.STOPPED, Action.HOOKS, LATER, 0, Next.FRUITLESS, id="a person stopped it"),
        pytest.param(Result.RENEWED, Action.RENEW, NOW, 0, Next.FRUITLESS, id="due again at once"),
        pytest.param(Result.STOPPED, Action.SWITCH, NOW, 0, Next.AT_ONCE, id="the CA changed under way"),
        pytest.param(Result.NOTHING, Action.SWITCH, NOW, 1, Next.FRUITLESS, id="the CA changed, and no worker minds"),
    ],
)
def test_what_follows_from_a_report(
    result: Result, action: Action | None, when: datetime | None, strikes: int, following: Next
) -> None:
    outcome = Outcome("web", result, next_action=action)
    assert schedule.following(outcome, when, strikes, NOW) is following


def test_the_first_without_a_report_is_to_blame() -> None:
    assert schedule.blamed(["a", "b", "c"], {"a"}) == "b"
    assert schedule.blamed(["a", "b"], {"a", "b"}) is None


@pytest.mark.parametrize(
    ("first", "line"),
    [
        pytest.param(None, "1 keystore, 0 due, 2 workers", id="nothing ahead"),
        pytest.param(
            ("web", NOW + timedelta(hours=3, minutes=5)), "1 keystore, 0 due, 2 workers, next web in 3 h", id="the next"
        ),
    ],
)
def test_status_line(first: tuple[str, datetime] | None, line: str) -> None:
    assert schedule.status_line(1, 0, 2, first, NOW) == line


@pytest.mark.parametrize(
    ("result", "message", "hint", "words"),
    [
        pytest.param(Result.RENEWED, None, None, "renewed, next renew in 3 h", id="done"),
        pytest.param(Result.PENDING, "ask them", None, "pending: ask them, next renew in 3 h", id="pending"),
        pytest.param(Result.FAILED, "no route", "mend it", "failed: no route; mend it, next renew in 3 h", id="failed"),
    ],
)
def test_sentence(result: Result, message: str | None, hint: str | None, words: str) -> None:
    outcome = Outcome("web", result, next_action=Action.RENEW, message=message, hint=hint)
    assert schedule.sentence(outcome, NOW + timedelta(hours=3), NOW) == words


def test_the_sentence_of_a_success_with_an_owed_hook() -> None:
    message = "in place; the post hook failed and will be retried: why"
    outcome = Outcome("web", Result.FAILED, None, Action.HOOKS, None, message, "mend it", hooks_owed=True)
    assert schedule.sentence(outcome, NOW + timedelta(hours=3), NOW) == f"{message}; mend it, next hooks in 3 h"


FILES = {"/web.pem": "1"}
WELL = State(
    condition=Condition.VALID,
    next_action="renew",
    next_action_at=NOW + timedelta(days=50),
    definition="d",
    authority="a",
    watched=FILES,
    host=Host(machine_id="m"),
)
QUIET = Look(
    WELL,
    kept_at=NOW - timedelta(hours=23),
    definition="d",
    authority="a",
    watched=FILES,
    open=False,
    begun=False,
    host=Host(machine_id="m"),
)
ERROR = LastError(kind="transient", message="no route", hint="", at=NOW)


def test_a_keystore_that_is_well_and_unchanged_is_left_alone() -> None:
    assert schedule.is_quiet(QUIET, NOW)


@pytest.mark.parametrize("condition", [each for each in Condition if each is not Condition.VALID])
def test_in_any_other_condition_it_is_looked_at(condition: Condition) -> None:
    assert not schedule.is_quiet(replace(QUIET, known=msgspec.structs.replace(WELL, condition=condition)), NOW)


@pytest.mark.parametrize(
    "known",
    [
        pytest.param({"next_action_at": NOW}, id="its next action is due"),
        pytest.param({"next_action_at": None}, id="nothing is planned"),
        pytest.param({"failures": 1}, id="an attempt failed"),
        pytest.param({"last_error": ERROR}, id="an error is remembered"),
        pytest.param({"rollover": Track(failures=1)}, id="a rollover failed"),
        pytest.param({"definition": ""}, id="the definition at that time is not known"),
        pytest.param({"authority": ""}, id="nor the CA"),
        pytest.param({"watched": {}}, id="nor its files"),
    ],
)
def test_what_is_remembered_calls_for_a_look(known: dict[str, Any]) -> None:
    assert not schedule.is_quiet(replace(QUIET, known=msgspec.structs.replace(WELL, **known)), NOW)


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param({"definition": "other"}, id="the definition changed"),
        pytest.param({"authority": "other"}, id="another keystore learnt of another CA"),
        pytest.param({"watched": {"/web.pem": "2"}}, id="a file changed"),
        pytest.param({"watched": {"/web.pem": "absent"}}, id="a file is gone"),
        pytest.param({"watched": {}}, id="no file is known"),
        pytest.param({"open": True}, id="a transaction or a rollover is open"),
        pytest.param({"host": Host(machine_id="n")}, id="the state directory is a copy of another host's"),
        pytest.param({"kept_at": NOW - timedelta(days=1)}, id="the last look is a day ago"),
        pytest.param({"kept_at": NOW - timedelta(days=730)}, id="or years: the clock may have been wrong then"),
        pytest.param({"kept_at": NOW + SECOND}, id="or was in the future"),
    ],
)
def test_what_is_seen_calls_for_a_look(seen: dict[str, Any]) -> None:
    assert not schedule.is_quiet(replace(QUIET, **seen), NOW)


def test_a_moment_years_away_holds_for_a_day_at_most() -> None:
    """By whatever clock it was written."""
    look = replace(QUIET, known=msgspec.structs.replace(WELL, next_action_at=NOW + timedelta(days=9000)), kept_at=NOW)
    assert schedule.is_quiet(look, NOW)
    assert not schedule.is_quiet(look, NOW + timedelta(days=1))
