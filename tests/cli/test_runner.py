"""What `status` says about what renews by itself: with real locks, and with files of cron's. The real systemd is in
tests/systemd."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from certagent import durable
from certagent.cli.runner import as_json, findings
from certagent.cli.terminal import Mark
from certagent.state_directory import StateDirectory
from certagent.status.runner import Runner, Unit, look, read_units

from .place import Place

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
OFF = Unit(installed=True, active=False, enabled=False)
ON = Unit(installed=True, active=True, enabled=True, next_at=NOW + timedelta(minutes=31))
NOTHING = Runner(service=OFF, timer=OFF)
BARE = Runner()
NO_CRON = "no file of cron's starts `certagent renew`"

SEEN = [
    ("the service", replace(NOTHING, pid=7, service=ON), ["✓ an agent is running here (process 7)"]),
    ("an agent in another container", replace(BARE, pid=0), ["✓ an agent is running here"]),
    ("an agent by hand, where systemd runs", replace(NOTHING, pid=7), ["✓ an agent is running here (process 7)"]),
    ("the timer", replace(NOTHING, timer=ON), ["✓ certagent-renew.timer is active: next run in 31 min"]),
    (
        "a service that does not come back",
        replace(NOTHING, pid=7, service=replace(ON, enabled=False)),
        [
            "✓ an agent is running here (process 7)",
            "! certagent.service is not enabled: after a reboot nothing renews by itself",
            "    run `systemctl enable certagent.service`",
        ],
    ),
    (
        "a service that does not come back, but a timer that does",
        replace(NOTHING, pid=7, service=replace(ON, enabled=False), timer=replace(OFF, enabled=True)),
        ["✓ an agent is running here (process 7)"],
    ),
    (
        "neither",
        NOTHING,
        [
            "! no agent is running here, and certagent-renew.timer is not active; no run was recorded yet",
            "    run `systemctl enable --now certagent.service`, or the same for certagent-renew.timer",
        ],
    ),
    (
        "neither is installed",
        replace(NOTHING, service=replace(OFF, installed=False), timer=replace(OFF, installed=False)),
        [
            "! no agent is running here, and certagent-renew.timer is not active; no run was recorded yet",
            "    run `certagent units --install`, then `systemctl enable --now certagent.service`",
        ],
    ),
    (
        "a service that has failed",
        replace(NOTHING, service=replace(OFF, enabled=True), recorded_at=NOW - timedelta(days=3)),
        [
            "! no agent is running here, and certagent-renew.timer is not active; the last run was recorded 3 d ago",
            "    certagent.service is enabled, but not running: run `systemctl status certagent.service`",
        ],
    ),
    (
        "cron",
        replace(BARE, cron=(Path("/etc/cron.d/certagent"),), recorded_at=NOW - timedelta(minutes=20)),
        ["✓ /etc/cron.d/certagent has cron start `certagent renew`; the last run was recorded 20 min ago"],
    ),
    (
        "nothing, without systemd",
        replace(BARE, recorded_at=NOW - timedelta(hours=5)),
        [
            f"! no agent is running here, and {NO_CRON}; the last run was recorded 5 h ago",
            "    start one (docs/running.md), or have cron start `certagent renew --due`",
        ],
    ),
    (
        "a user who may not look",
        replace(BARE, seen=False),
        [
            f"! whether an agent is running here cannot be seen by this user, and {NO_CRON}; no run was recorded yet",
            "    start one (docs/running.md), or have cron start `certagent renew --due`",
        ],
    ),
]


@pytest.mark.parametrize(("runner", "lines"), [pytest.param(*rest, id=name) for name, *rest in SEEN])
def test_it_says_what_is_there(runner: Runner, lines: list[str]) -> None:
    told = [
        line
        for each in findings(runner, NOW)
        for line in (f"{each.mark} {each.text}", *([f"    {each.hint}"] if each.hint else []))
    ]
    assert told == lines


@pytest.mark.parametrize(
    ("runner", "agent", "timer"),
    [(BARE, False, None), (replace(BARE, seen=False), None, None), (replace(NOTHING, pid=7), True, False)],
)
def test_for_programs_null_is_what_cannot_be_seen(runner: Runner, agent: bool | None, timer: bool | None) -> None:
    told = as_json(runner)
    assert (told["agent"], told["timer"]) == (agent, timer)


def test_systemd_s_words_for_units() -> None:
    printed = """\
Id=certagent.service
LoadState=loaded
ActiveState=inactive
UnitFileState=disabled

NextElapseUSecRealtime=Sat 2030-06-01 12:31:00 UTC
Id=certagent-renew.timer
LoadState=loaded
ActiveState=active
UnitFileState=enabled
"""
    assert read_units(printed) == {"certagent.service": OFF, "certagent-renew.timer": ON}


@pytest.mark.parametrize(
    ("path", "line", "found"),
    [
        ("etc/cron.d/certagent", "*/30 * * * * root /usr/local/bin/certagent renew --due", True),
        ("etc/crontabs/root", "0 * * * * certagent -c /etc/certagent/agent.yaml renew --due", True),
        ("etc/cron.hourly/renew", "#!/bin/sh\nexec certagent renew --due", True),
        ("etc/crontab", "# */30 * * * * root certagent renew --due", False),
        ("etc/cron.d/other", "0 0 * * * root certbot renew", False),
        ("etc/cron.d/health", "0 0 * * * root certagent health", False),
    ],
)
def test_cron_s_files_are_read(path: str, line: str, found: bool, tmp_path: Path) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(f"{line}\n")
    assert look(tmp_path / "state", tmp_path).cron == ((file,) if found else ())


def test_an_agent_is_known_by_its_lock_and_nobody_is_in_its_way(tmp_path: Path) -> None:
    lock = StateDirectory(tmp_path).agent_lock
    assert look(tmp_path, tmp_path).pid is None
    code = (
        "import sys; from pathlib import Path; from certagent import durable\n"
        "with durable.lock(Path(sys.argv[1]), 'it'): print('held', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "held\n"
        assert look(tmp_path, tmp_path).pid == agent.pid
        lock.write_text("4194399\n")  # more than any process number: of another container
        assert look(tmp_path, tmp_path).pid == 0
        agent.communicate("")
    assert look(tmp_path, tmp_path).pid is None
    with durable.lock(lock, "it"):
        assert look(tmp_path, tmp_path).pid is not None


def test_status_says_so_to_people_and_programs(place: Place) -> None:
    place.put_living()
    assert "no agent is running here" in place.run("status").stdout
    assert json.loads(place.run("status", "--json").stdout)["runner"]["agent"] is False
    with durable.lock(StateDirectory(place.root / "state").agent_lock, "it"):
        [line] = [each for each in findings(look(place.root / "state"), NOW) if each.mark is Mark.FINE]
    assert line.text.startswith("an agent is running here")
