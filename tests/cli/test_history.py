"""`certagent history`: what happened, of one keystore or all, oldest first."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from certagent.state import Event, append_history

from .place import Place

START = datetime(2030, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def lived(place: Place) -> Place:
    """web and vpn, their events in turns; and `old`, which is no longer configured."""
    place.names = ("web", "vpn")
    ends = START + timedelta(days=90)
    told = [
        (
            "web",
            Event(at=START, event="enrolled", kind="enrollment", transaction="a", serial="0A" * 20, not_after=ends),
        ),
        ("vpn", Event(at=START + timedelta(hours=1), event="failed", kind="renewal", message="corp is down")),
        ("web", Event(at=START + timedelta(hours=2), event="renewed", kind="renewal", transaction="b", serial="0B")),
        ("old", Event(at=START + timedelta(hours=3), event="abandoned", transaction="c", message="gone\x1b[2J")),
    ]
    for name, event in told:
        append_history(place.directory(name), event)
    return place


def test_all_keystores_are_merged_by_time(lived: Place) -> None:
    done = lived.run("history")
    assert done.returncode == 0
    rows = [line.split()[:4] for line in done.stdout.splitlines()[1:]]
    assert rows == [
        ["2030-06-01", "12:00:00", "web", "enrolled"],
        ["2030-06-01", "13:00:00", "vpn", "failed"],
        ["2030-06-01", "14:00:00", "web", "renewed"],
        ["2030-06-01", "15:00:00", "old", "abandoned"],
    ]


def test_a_line_says_what_an_operator_asks_for(lived: Place) -> None:
    enrolled, failed, _, abandoned = lived.run("history").stdout.splitlines()[1:]
    assert "until 2030-08-30 12:00" in enrolled
    assert "0A" * 20 in enrolled
    assert failed.endswith("corp is down")
    assert abandoned.endswith("gone·[2J")


@pytest.mark.parametrize(
    ("names", "events"),
    [
        pytest.param(["vpn"], ["failed"], id="one"),
        pytest.param(["vpn", "web"], ["enrolled", "failed", "renewed"], id="two"),
        pytest.param(["old"], ["abandoned"], id="configured no more"),
    ],
)
def test_named_keystores_only(lived: Place, names: list[str], events: list[str]) -> None:
    lines = lived.run("history", "--json", *names).stdout.splitlines()
    assert [json.loads(line)["event"] for line in lines] == events


def test_json_is_one_event_a_line_with_what_is_known(lived: Place) -> None:
    first, second, *_ = map(json.loads, lived.run("history", "--json").stdout.splitlines())
    assert first == {
        "at": "2030-06-01T12:00:00Z",
        "keystore": "web",
        "event": "enrolled",
        "transaction": "a",
        "kind": "enrollment",
        "serial": "0A" * 20,
        "not_after": "2030-08-30T12:00:00Z",
    }
    assert set(second) == {"at", "keystore", "event", "kind", "message"}


def test_a_line_cut_short_by_a_power_cut_is_passed_over(lived: Place) -> None:
    with (lived.directory() / "history.jsonl").open("ab") as file:
        file.write(b'{"at": "2030-')
    assert len(lived.run("history", "web").stdout.splitlines()) == 3


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_a_terminal_shows_it_as_a_table(lived: Place, columns: int) -> None:
    shown = lived.run_in_terminal("history", columns=columns)
    assert "\x1b[2J" not in shown
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= columns
    assert any(re.match(r"2030-06-01 12:00:00  web\s+enrolled\s+until", line) for line in lines)


def test_nothing_yet(place: Place) -> None:
    done = place.run("history")
    assert (done.returncode, done.stdout) == (0, "nothing has happened yet\n")


@pytest.mark.parametrize("name", ["wbe", "../web", "."])
def test_an_unknown_name_is_a_usage_error(lived: Place, name: str) -> None:
    done = lived.run("history", name)
    assert done.returncode == 2
    assert done.stderr == f"certagent: there is no keystore {name!r}\n  known: web, vpn, old\n"
