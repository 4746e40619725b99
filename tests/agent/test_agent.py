"""The agent as a process: what it does with its workers, its clock, its configuration, and systemd."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from certagent import policy, state, wall_clock
from certagent.config.load import digest_of, load_configuration
from certagent.host import Host, identifier
from certagent.policy import Condition
from tests.waiting import PATIENCE

from .conftest import ROOT, Running


def names_begun(agent: Running) -> list[str]:
    return [entry["begin"] for entry in agent.journal("begin")]


# --- when -------------------------------------------------------------------------------------------


def test_all_are_looked_at_at_the_start_and_each_again_when_its_next_action_comes(agent: Running) -> None:
    agent.configure(["once", "often"])
    agent.behave("often", "renew 1")
    agent.start()
    agent.until(lambda: names_begun(agent).count("often") >= 3)
    assert names_begun(agent).count("once") == 1


def test_the_sweep_looks_at_all(agent: Running) -> None:
    agent.configure(["web"], check_every="1s")
    agent.start()
    agent.until(lambda: len(agent.journal("end", "web")) >= 3)


def test_changed_files_are_noticed_once(agent: Running) -> None:
    agent.configure(["web", "vpn"])
    agent.behave("vpn", "mute")
    agent.start()
    agent.until(lambda: agent.journal("end", "web") and "vpn" in names_begun(agent))
    (agent.directory / "web.pem").write_text("put here by another tool")
    agent.until(lambda: len(agent.journal("end", "web")) == 2)
    agent.rounds(5)
    assert sorted(names_begun(agent)) == ["vpn", "web", "web"]
    assert agent.log.read_text().count("its files were changed") == 1


def test_files_changed_again_and_again_by_a_keystore_that_cannot_be_read_make_no_busy_loop(agent: Running) -> None:
    agent.configure(["web"])
    state.save(agent.state_dir / "keystores" / "web", state.State(watched={str(agent.directory / "web.pem"): "old"}))
    agent.behave("web", "mute")
    agent.start()
    agent.until(lambda: "web: its files were changed" in agent.log.read_text())
    agent.until(lambda: agent.status == "STATUS=1 keystore, 0 due, 0 workers")
    agent.rounds(10)
    assert agent.log.read_text().count("its files were changed") == 1
    assert len(names_begun(agent)) <= 2


def quiet(agent: Running, *names: str) -> None:
    """As a worker leaves keystores that are well; their next action comes in fifty days."""
    configuration = load_configuration(agent.config)
    for name in names:
        definition = configuration.keystores[name]
        known = state.State(
            condition=Condition.VALID,
            next_action="renew",
            next_action_at=datetime.now(UTC) + timedelta(days=50),
            definition=digest_of(definition, configuration.authority_of(definition)),
            watched=state.watch(definition.paths.values()),
        )
        state.save(agent.state_dir / "keystores" / name, known)


def test_no_worker_is_started_for_keystores_that_are_well(agent: Running) -> None:
    names = [f"k{number:03}" for number in range(200)]
    agent.configure([*names, "web"], check_every="1s")
    quiet(agent, *names)
    agent.start()
    agent.until(lambda: len(agent.journal("end", "web")) >= 3)  # three sweeps
    assert set(names_begun(agent)) == {"web"}
    assert agent.status.startswith("STATUS=201 keystores, ")


def remember(agent: Running, name: str, **other: object) -> None:
    place = agent.state_dir / "keystores" / name
    state.save(place, msgspec.structs.replace(state.recall(place), **other))


def due(agent: Running, name: str) -> None:
    """As a worker leaves a keystore whose renewal came due later, while no agent ran."""
    quiet(agent, name)
    now = datetime.now(UTC)
    seen = state.Seen(
        subject=f"CN={name}",
        issuer="CN=ca",
        serial="01",
        key="rsa:2048",
        not_before=now - timedelta(days=60),
        not_after=now + timedelta(days=30),
    )
    remember(agent, name, condition=Condition.DUE, next_action_at=now - timedelta(hours=1), seen=seen)


def late_at_the_start() -> str:
    """A name whose share of the agent's start is large on this host."""
    names = (f"k{number}" for number in range(1000))
    return next(each for each in names if policy.another_share(policy.jitter_share(each, identifier()), "start") > 0.5)


def test_what_came_due_while_no_agent_ran_has_its_turn_after_the_start(agent: Running) -> None:
    late = late_at_the_start()
    agent.configure([late, "new"])
    due(agent, late)
    agent.start()
    agent.until(lambda: agent.journal("end", "new"))
    agent.until(lambda: agent.status.startswith(f"STATUS=2 keystores, 0 due, 0 workers, next {late} in "))
    assert names_begun(agent) == ["new"]
    assert agent.process is not None
    agent.process.send_signal(signal.SIGHUP)  # somebody is there
    agent.until(lambda: late in names_begun(agent))


def test_without_jitter_nothing_waits_at_the_start(agent: Running) -> None:
    late = late_at_the_start()
    agent.configure([late], defaults={"jitter": "0%"})
    due(agent, late)
    agent.start()
    agent.until(lambda: agent.journal("end", late))


def definition_changed(agent: Running) -> None:
    agent.configure(["web", "vpn"], defaults={"jitter": "6%"})
    quiet(agent, "vpn")


def file_changed(agent: Running) -> None:
    (agent.directory / "clients" / "web.pem").write_text("put here by another tool")


def came_due(agent: Running) -> None:
    remember(agent, "web", next_action_at=datetime.now(UTC) - timedelta(seconds=1))


def nothing_planned(agent: Running) -> None:
    remember(agent, "web", next_action=None, next_action_at=None)


def attempt_failed(agent: Running) -> None:
    retry_at = datetime.now(UTC) + timedelta(hours=3)
    remember(agent, "web", condition=Condition.FAILED, failures=1, retry_at=retry_at, next_action_at=retry_at)


def transaction_open(agent: Running) -> None:
    """One that waits for the CA, or owes hooks."""
    (agent.state_dir / "keystores/web/transaction").mkdir()


def rollover_open(agent: Running) -> None:
    """In preparation, or staged."""
    (agent.state_dir / "keystores/web/rollover").mkdir()


def memory_damaged(agent: Running) -> None:
    (agent.state_dir / "keystores/web/state.json").write_text("{")


def memory_lost(agent: Running) -> None:
    (agent.state_dir / "keystores/web/state.json").unlink()


def memory_of_a_newer_version(agent: Running) -> None:
    remember(agent, "web", version=99)


def written_long_ago(agent: Running) -> None:
    os.utime(agent.state_dir / "keystores/web/state.json", (1, 1))


def written_by_a_clock_ahead(agent: Running) -> None:
    moment = time.time() + 100_000
    os.utime(agent.state_dir / "keystores/web/state.json", (moment, moment))


def copied_from_another_host(agent: Running) -> None:
    remember(agent, "web", host=Host(machine_id="another's", addresses=("another's",), product="another's"))


@pytest.mark.parametrize(
    "happen",
    [
        definition_changed,
        file_changed,
        came_due,
        nothing_planned,
        attempt_failed,
        transaction_open,
        rollover_open,
        memory_damaged,
        memory_lost,
        memory_of_a_newer_version,
        written_long_ago,
        written_by_a_clock_ahead,
        copied_from_another_host,
    ],
)
def test_at_the_start_a_worker_is_sent_where_something_happened(
    happen: Callable[[Running], None], agent: Running
) -> None:
    agent.configure(["web", "vpn"])
    quiet(agent, "web", "vpn")
    happen(agent)
    agent.start()
    agent.until(lambda: agent.journal("start"))
    agent.until(lambda: "STATUS=2 keystores, 0 due, 0 workers" in agent.status)
    assert names_begun(agent) == ["web"]


def a_person_renewed(agent: Running) -> None:
    """With another result than the agent has planned for: it is due again in a moment."""
    file_changed(agent)
    quiet(agent, "web")
    remember(agent, "web", next_action_at=datetime.now(UTC) + timedelta(seconds=3))


def a_person_tried_in_vain(agent: Running) -> None:
    remember(agent, "web", failures=1, next_action_at=datetime.now(UTC) + timedelta(hours=1))


@pytest.mark.parametrize("happen", [transaction_open, memory_damaged, a_person_renewed, a_person_tried_in_vain])
def test_what_happens_later_is_seen_in_the_next_sweep(happen: Callable[[Running], None], agent: Running) -> None:
    agent.configure(["web", "vpn"], check_every="1s")
    quiet(agent, "web", "vpn")
    agent.start()
    agent.until(lambda: "STATUS=2 keystores, 0 due, 0 workers" in agent.status)
    assert names_begun(agent) == []
    happen(agent)
    agent.until(lambda: names_begun(agent))
    assert set(names_begun(agent)) == {"web"}


def test_one_that_is_left_alone_is_looked_at_when_its_next_action_comes(agent: Running) -> None:
    agent.configure(["web", "vpn"])
    quiet(agent, "web", "vpn")
    soon = datetime.now(UTC) + timedelta(seconds=4)
    remember(agent, "web", next_action_at=soon)
    agent.start()
    agent.until(lambda: names_begun(agent))
    assert datetime.now(UTC) >= soon
    assert names_begun(agent) == ["web"]


def test_while_the_clock_is_doubted_all_are_looked_at(agent: Running) -> None:
    """Workers do nothing by such a clock; they say until when."""
    agent.configure(["web", "vpn"])
    quiet(agent, "web", "vpn")
    jump = timedelta(days=400)
    ahead = time.time() + jump.total_seconds()
    for name in ("web", "vpn"):
        remember(agent, name, next_action_at=datetime.now(UTC) + 2 * jump)
        os.utime(agent.state_dir / "keystores" / name / "state.json", (ahead, ahead))
    wall_clock.look(agent.state_dir, datetime.now(UTC), believed=True)
    (agent.directory / "clock").write_text(str(jump.total_seconds()))
    agent.start()
    agent.until(lambda: set(names_begun(agent)) == {"web", "vpn"})


def test_when_one_learns_of_another_ca_all_of_its_authority_are_looked_at(agent: Running) -> None:
    agent.configure(["web", "vpn"], check_every="1s")
    quiet(agent, "web", "vpn")
    agent.start()
    agent.until(lambda: "STATUS=2 keystores, 0 due, 0 workers" in agent.status)
    assert names_begun(agent) == []
    authority = agent.state_dir / "authorities" / "corp"
    authority.mkdir(parents=True)
    (authority / "next-ca.pem").write_text("the next one")
    agent.until(lambda: {"web", "vpn"} <= set(names_begun(agent)))


# --- workers ----------------------------------------------------------------------------------------

LIMIT = "5s"
"""On a busy machine a worker needs a second or two to start; of these, none may be taken for hanging."""


def test_two_hundred_due_at_once_are_each_done_once_by_two_workers_at_a_time(agent: Running) -> None:
    names = [f"k{number:03}" for number in range(200)]
    agent.configure(names)
    begun = time.monotonic()
    agent.start()
    agent.until(lambda: len(agent.journal("end")) >= 200)
    agent.until(lambda: agent.status.startswith("STATUS=200 keystores, 0 due, 0 workers, "))
    lines = sum(line.startswith("STATUS=") for line in agent.told)
    assert lines <= time.monotonic() - begun + 1, "status is told once a second"
    assert sorted(names_begun(agent)) == names
    starts = agent.journal("start")
    assert len(starts) == 8
    assert max(len(entry["start"]) for entry in starts) == 25
    last = {entry["pid"]: entry["at"] for entry in agent.journal("end")}
    for entry in starts:
        assert sum(other["at"] <= entry["at"] <= last[other["pid"]] for other in starts) <= 2


def test_one_that_hangs_costs_only_itself(agent: Running) -> None:
    agent.configure(["a", "b", "c", "d"], worker_timeout=LIMIT, max_workers=1)
    agent.behave("b", "hang")
    agent.start()
    agent.until(lambda: {"a", "c", "d"} <= {entry["end"] for entry in agent.journal("end")})
    assert agent.journal("end", "SIGTERM")
    log = agent.log.read_text()
    assert "b: its worker was killed at its time limit" in log
    assert "c: its worker" not in log
    agent.until(lambda: names_begun(agent).count("b") >= 2)
    assert names_begun(agent).count("a") == 1


def test_the_time_limit_is_for_each_keystore_not_for_the_batch(agent: Running) -> None:
    agent.configure(["a", "b", "c", "d", "e", "f"], worker_timeout=LIMIT, max_workers=1)
    for name in "abcdef":
        agent.behave(name, "slow 1")
    agent.start()
    agent.until(lambda: len(agent.journal("end")) == 6)
    assert len(agent.journal("start")) == 1
    assert agent.journal("end")[-1]["at"] - agent.journal("start")[0]["at"] > 5


def test_one_that_ignores_sigterm_is_killed(agent: Running) -> None:
    agent.configure(["a", "b"], worker_timeout=LIMIT, max_workers=1)
    agent.behave("a", "deaf")
    agent.start(GRACE="0.5")
    agent.until(lambda: agent.journal("end", "b"))


def test_a_crashing_worker_is_no_busy_loop(agent: Running) -> None:
    agent.configure(["bad", "good"], max_workers=1)
    agent.behave("bad", "crash")
    agent.start()
    agent.until(lambda: agent.journal("end", "good"))
    agent.until(lambda: names_begun(agent).count("bad") >= 3)
    begun = [entry["at"] for entry in agent.journal("begin", "bad")]
    assert begun[1] - begun[0] >= 0.4
    assert begun[2] - begun[1] >= 0.8
    assert "bad: its worker was killed by SIGSEGV" in agent.log.read_text()


def test_one_that_waits_for_others_hooks_is_not_blamed_for_their_crash(agent: Running) -> None:
    agent.configure(["first", "bad", "last"], max_workers=1)
    agent.behave("first", "placed")
    agent.behave("bad", "crash")
    agent.start()
    agent.until(lambda: agent.journal("end", "first"))
    assert "bad: its worker was killed by SIGSEGV" in agent.log.read_text()
    assert "first: its worker" not in agent.log.read_text()
    assert "wrote something unexpected" not in agent.log.read_text()


@pytest.mark.parametrize("words", [pytest.param("busy", id="busy"), pytest.param("renew -5", id="due again at once")])
def test_a_fruitless_look_is_repeated_ever_more_slowly(words: str, agent: Running) -> None:
    agent.configure(["web"])
    agent.behave("web", words)
    agent.start()
    agent.until(lambda: len(names_begun(agent)) >= 4)
    at = [entry["at"] for entry in agent.journal("begin")]
    assert [at[number + 1] - at[number] >= 0.2 * 2**number for number in range(3)] == [True] * 3


def test_garbage_and_floods_from_a_worker_are_survived(agent: Running) -> None:
    agent.configure(["a", "b"], max_workers=1)
    agent.behave("a", "flood")
    agent.start()
    agent.until(lambda: agent.journal("end", "b"))
    agent.until(lambda: "next a in" in agent.status or "next b in" in agent.status)
    assert "a worker wrote something unexpected" in agent.log.read_text()


@pytest.mark.parametrize(
    ("line", "passed_on"),
    [
        pytest.param("web: asking corp for a certificate", "<6>web: asking corp for a certificate", id="its log"),
        pytest.param("web: \x1b]0;evil\x07", "<6>web: ·]0;evil·", id="without control characters"),
    ],
)
def test_what_a_worker_logs_is_passed_on(line: str, passed_on: str, agent: Running) -> None:
    agent.configure(["web"])
    agent.behave("web", f"log {line}")
    agent.start(JOURNAL_STREAM="8:1")
    agent.until(lambda: passed_on in agent.log.read_text().splitlines())


def test_a_failed_attempt_is_told_at_error_priority_with_the_next(agent: Running) -> None:
    agent.configure(["web"])
    agent.behave("web", "fail 7200")
    agent.start(JOURNAL_STREAM="8:1")
    line = re.compile(r"<3>web: failed, next renew in (2 h|119 min)\n")
    agent.until(lambda: line.search(agent.log.read_text()))


def test_a_daemon_left_by_a_hook_does_not_keep_the_agent(agent: Running) -> None:
    agent.configure(["web"])
    agent.behave("web", "orphan")
    agent.start()
    agent.until(lambda: "1 keystore, 0 due, 0 workers" in agent.status)
    os.kill(agent.journal("orphan")[0]["pid"], 0)  # it still lives


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        pytest.param(["/nonexistent/certagent"], "could not be started", id="not installed"),
        pytest.param(["/bin/sh", "-c", "exit 2"], "exited 2", id="it refuses the configuration"),
    ],
)
def test_workers_that_do_not_start_are_told_of(worker: list[str], words: str, agent: Running) -> None:
    agent.configure(["a", "b"])
    agent.start(worker)
    agent.until(lambda: agent.status.startswith("STATUS=workers cannot be started; 2 keystores"))
    assert words in agent.log.read_text()
    assert agent.stop() == 0


@pytest.fixture
def program(agent: Running) -> Path:
    """A copy of the package that the agent is started from."""
    shutil.copytree(ROOT / "certagent", agent.directory / "program/certagent")
    agent.configure(["web"], check_every="1s")
    return agent.directory / "program"


def test_a_program_that_vanished_is_told_of_until_it_is_there_again(agent: Running, program: Path) -> None:
    agent.start(PYTHONPATH=str(program))
    agent.until(lambda: agent.journal("end", "web"))
    program.rename(agent.directory / "elsewhere")
    agent.until(lambda: "STATUS=workers cannot start: " in agent.status)
    assert f"{program}/certagent/__init__.py is gone; reinstall certagent there" in agent.log.read_text()
    assert "fix the configuration" not in agent.log.read_text()
    before = len(agent.journal("end", "web"))
    (agent.directory / "elsewhere").rename(program)
    agent.until(lambda: len(agent.journal("end", "web")) > before)
    agent.until(lambda: agent.status.startswith("STATUS=1 keystore"))
    assert agent.stop() == 0


@pytest.mark.parametrize("put_back", [pytest.param(False, id="gone"), pytest.param(True, id="replaced")])
def test_systemd_starts_what_is_there_now(agent: Running, program: Path, put_back: bool) -> None:
    process = agent.start(PYTHONPATH=str(program), INVOCATION_ID="a service of systemd")
    agent.until(lambda: agent.journal("end", "web"))
    old = agent.directory / "old"
    program.rename(old)
    if put_back:
        shutil.copytree(old, program)
    assert process.wait(PATIENCE) == 1
    assert "was replaced: exiting, so that systemd starts the new version" in agent.log.read_text()


def test_a_worker_does_not_speak_to_systemd(agent: Running) -> None:
    agent.configure(["web"])
    agent.start(WATCHDOG_USEC="10000000")
    agent.until(lambda: agent.journal("start"))
    environment = agent.journal("start")[0]["environment"]
    assert not [name for name in environment if name.startswith(("NOTIFY", "WATCHDOG"))]


# --- stop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, id="SIGTERM"), pytest.param(signal.SIGINT, id="^C")])
def test_a_stop_lets_workers_come_to_their_durable_point(number: signal.Signals, agent: Running) -> None:
    agent.configure(["web", "vpn"], max_workers=1)
    agent.behave("web", "hang")
    process = agent.start()
    agent.until(lambda: "web" in names_begun(agent))
    process.send_signal(number)
    assert process.wait(PATIENCE) == 0
    assert len(agent.journal("end", "SIGTERM")) == 1
    assert "vpn" not in names_begun(agent)
    assert "STOPPING=1" in agent.told


def test_a_stop_does_not_wait_forever(agent: Running) -> None:
    agent.configure(["web"])
    agent.behave("web", "deaf")
    agent.start(GRACE="0.5")
    agent.until(lambda: "web" in names_begun(agent))
    assert agent.stop() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(agent.journal("start")[0]["pid"], 0)


# --- clock ------------------------------------------------------------------------------------------


def test_nothing_is_done_until_the_clock_is_set(agent: Running) -> None:
    agent.configure(["web"])
    (agent.directory / "clock").write_text(str(-time.time()))  # 1970
    agent.start()
    agent.until(lambda: "waiting for the clock to be set" in agent.status)
    agent.rounds(5)
    assert not agent.journal("start")
    assert agent.log.read_text().count("doing nothing until it is set") == 1
    (agent.directory / "clock").write_text("0")
    agent.until(lambda: agent.journal("end", "web"))
    agent.until(lambda: agent.status.startswith("STATUS=1 keystore, 0 due"))


@pytest.mark.parametrize("jump", [pytest.param(86400, id="forward"), pytest.param(-86400, id="back")])
def test_after_a_jump_of_the_clock_everything_is_looked_at(jump: int, agent: Running) -> None:
    agent.configure(["web"])
    (agent.directory / "clock").write_text("0")
    agent.start()
    agent.until(lambda: agent.journal("end", "web"))
    (agent.directory / "clock").write_text(str(jump))
    agent.until(lambda: len(agent.journal("end", "web")) == 2)
    assert f"the clock jumped by {jump:+} s" in agent.log.read_text()


# --- configuration ----------------------------------------------------------------------------------


def reload(agent: Running) -> None:
    before = agent.told.count("READY=1")
    agent.process.send_signal(signal.SIGHUP)
    agent.until(lambda: agent.told.count("READY=1") == before + 1)


def test_a_reload_takes_new_keystores_and_drops_removed_ones(agent: Running) -> None:
    agent.configure(["old", "web"])
    for name in ("old", "web"):
        agent.behave(name, "renew 1")
    agent.start()
    agent.until(lambda: agent.journal("end", "old") and agent.journal("end", "web"))
    agent.configure(["web", "new"])
    reload(agent)
    count, others = names_begun(agent).count("old"), names_begun(agent).count("web")
    agent.until(lambda: agent.journal("end", "new") and names_begun(agent).count("web") >= others + 4)
    assert names_begun(agent).count("old") <= count + 1
    agent.until(lambda: agent.status.startswith("STATUS=2 keystores"))
    reloading = agent.told.index("RELOADING=1")
    assert re.fullmatch(r"MONOTONIC_USEC=\d+", agent.told[reloading + 1])


def test_a_broken_new_configuration_keeps_the_old_one_and_says_so(agent: Running) -> None:
    agent.configure(["web"])
    agent.behave("web", "renew 1")
    agent.start()
    agent.config.write_text("keystores: [")
    reload(agent)
    agent.until(lambda: "the new configuration is broken; the old one stays in use" in agent.status)
    assert "the old configuration stays in use: " in agent.log.read_text()
    count = len(names_begun(agent))
    agent.until(lambda: len(names_begun(agent)) > count)
    agent.configure(["web"])
    reload(agent)
    agent.until(lambda: agent.status.startswith("STATUS=1 keystore"))


def test_while_a_large_configuration_is_read_the_loop_goes_round(agent: Running) -> None:
    agent.configure(["web"])
    agent.start()
    names = [f"k{number:04}" for number in range(3000)]
    agent.configure(names)
    quiet(agent, *names)
    reload(agent)
    told = agent.told[agent.told.index("RELOADING=1") :]
    assert told[: told.index("READY=1")].count("WATCHDOG=1") >= 2
    agent.until(lambda: agent.status.startswith("STATUS=3000 keystores, 0 due"))


def test_a_reload_asked_for_during_another_is_not_lost(agent: Running) -> None:
    agent.configure(["web"])
    agent.start()
    agent.process.send_signal(signal.SIGHUP)
    agent.until(lambda: "RELOADING=1" in agent.told)
    agent.configure(["web", "vpn"])
    agent.process.send_signal(signal.SIGHUP)
    agent.until(lambda: agent.status.startswith("STATUS=2 keystores"))


def test_a_reload_without_a_program_to_read_by_keeps_the_old_configuration(program: Path, agent: Running) -> None:
    """As while a package is being replaced."""
    agent.start(PYTHONPATH=str(program))
    agent.until(lambda: agent.journal("end", "web"))
    (program / "certagent/cli/run.py").write_text("raise SystemExit(7)")
    reload(agent)
    assert "agent.yaml could not be read: the process that reads it exited 7" in agent.log.read_text()
    count = len(names_begun(agent))
    agent.until(lambda: len(names_begun(agent)) > count)


def test_the_metrics_are_written_when_the_workers_are_done(agent: Running) -> None:
    names = [f"k{number:02}" for number in range(60)]
    metrics = agent.directory / "certagent.prom"
    agent.configure(names, metrics_file=str(metrics))
    agent.start()
    agent.until(metrics.exists)
    assert len(agent.journal("end")) == 60
    assert metrics.stat().st_mtime >= (agent.behaviour / "journal").stat().st_mtime
    assert metrics.read_text().count("certagent_keystore_failures{") == 60


def test_where_all_is_well_the_metrics_are_written_at_the_start_and_after_a_reload(agent: Running) -> None:
    metrics = agent.directory / "certagent.prom"
    agent.configure(["web"])
    quiet(agent, "web")
    agent.start()
    agent.configure(["web", "vpn"], metrics_file=str(metrics))
    quiet(agent, "web", "vpn")
    reload(agent)
    agent.until(metrics.exists)
    assert metrics.read_text().count("certagent_keystore_failures{") == 2
    assert names_begun(agent) == []


def test_the_state_directory_does_not_change_under_way(agent: Running) -> None:
    agent.configure(["web"])
    agent.start()
    agent.configure(["web"], state_dir=str(agent.directory / "elsewhere"))
    reload(agent)
    assert "state_dir cannot be changed while the agent runs" in agent.log.read_text()


def test_one_agent_per_state_directory(agent: Running) -> None:
    agent.configure(["web"])
    first = agent.start()
    agent.told.clear()
    second = agent.start()
    assert second.wait(PATIENCE) == 1
    assert f"an agent is already running: the state directory {agent.state_dir}" in agent.log.read_text()
    assert f"by process {first.pid}" in agent.log.read_text()


def test_a_state_file_of_a_newer_version_is_told_of_and_hurts_no_other(agent: Running) -> None:
    agent.configure(["web", "vpn"])
    directory = agent.state_dir / "keystores" / "vpn"
    directory.mkdir(parents=True)
    (directory / "state.json").write_text(json.dumps({"version": 99}))
    agent.behave("vpn", "mute")
    agent.start()
    agent.until(lambda: agent.journal("end", "web"))
    agent.until(lambda: "was written by a newer certagent (version 99" in agent.log.read_text())


# --- systemd ----------------------------------------------------------------------------------------


def test_status_tells_what_is_next(agent: Running) -> None:
    agent.configure(["web", "vpn"])
    agent.behave("web", "renew 86400")
    agent.start()
    agent.until(lambda: re.fullmatch(r"STATUS=2 keystores, 0 due, 0 workers, next web in 2[34] h", agent.status))


def test_the_watchdog_is_fed_while_the_loop_lives(agent: Running) -> None:
    agent.configure(["web"])
    agent.start(WATCHDOG_USEC="1000000")
    agent.rounds(3)


@pytest.mark.parametrize(
    ("environment", "pattern"),
    [
        pytest.param({"JOURNAL_STREAM": "8:1"}, r"<6>serving 1 keystores of .*", id="under systemd: priorities"),
        pytest.param({}, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ serving 1 keystores of .*", id="elsewhere: time stamps"),
    ],
)
def test_log_lines(environment: dict[str, str], pattern: str, agent: Running) -> None:
    agent.configure(["web"])
    agent.start(**environment)
    assert re.fullmatch(pattern, agent.log.read_text().splitlines()[0])


# --- what it is not ---------------------------------------------------------------------------------


def test_the_agent_loads_no_cryptography() -> None:
    code = "import certagent.agent.loop, sys; print(*sys.modules)"
    modules = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not modules & {"cryptography", "asn1crypto", "requests", "rich", "pkcs11", "urllib3", "http.server"}
    assert not modules & {"yaml", "certagent.config.load", "certagent.config.keystores", "certagent.keystore.swap"}


def test_the_agent_a_person_starts_maps_no_cryptography(agent: Running) -> None:
    agent.configure([])
    environment = {"PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(agent.directory / "notify")}
    command = [sys.executable, "-m", "certagent", "-c", str(agent.config), "run"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        agent.until(lambda: "READY=1" in agent.told)
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        process.terminate()
    assert process.returncode == 0
    assert "_cffi_backend" not in maps
    assert "cryptography" not in maps


def test_the_agent_has_no_socket_but_its_loops_own(agent: Running) -> None:
    agent.configure(["web"])
    process = agent.start()
    agent.until(lambda: agent.journal("end", "web"))
    links = [str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir()]
    ours = {link[8:-1] for link in links if link.startswith("socket:")}
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"):
        path = Path(f"/proc/{process.pid}/net/{table}")
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        assert not ours & {word for line in lines for word in line.split()}
    unix = Path(f"/proc/{process.pid}/net/unix").read_text().splitlines()[1:]
    assert not [line for line in unix if line.split()[6] in ours and line.split()[3] == "00010000"]  # listening
