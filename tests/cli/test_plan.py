"""`certagent plan`, the command; what it foretells is `tests/unit/test_forecast.py`'s."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from xml.etree import ElementTree

import pytest

from certagent.text import iso

from .place import Place
from .rollover import Rollover, now


def test_a_pipe_gets_a_table(place: Place) -> None:
    place.put_living()
    done = place.run("plan")
    heading, first, *_ = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert re.split(r"\s{2,}", heading) == ["TIME (UTC)", "IN", "KEYSTORE", "EVENT", "DETAIL"]
    assert re.fullmatch(r"20\S+ \d\d:\d\d +5\d d +web +renew +a successor, until 20\S+", first)
    assert "\x1b" not in done.stdout
    assert re.fullmatch(
        r"until 20.*; ~ assuming that each new certificate is valid as long as the one before",
        done.stdout.splitlines()[-1],
    )


def test_keystores_with_the_same_fate_share_a_line(place: Place) -> None:
    place.names = tuple(f"k{number}" for number in range(7))
    place.keystore.append("subject: CN=web")
    lines = place.run("plan").stdout.splitlines()
    assert re.search(r" now +k0, k1, k2 and 4 others +enroll +the first certificate$", lines[1])
    assert lines[2] == ""


def test_the_change_of_ca(place: Place) -> None:
    place.put_living()
    device = Rollover(place)
    device.stage()
    out = place.run("plan", "--until", f"{device.ends + timedelta(days=1):%Y-%m-%d}").stdout
    assert re.search(
        rf"{device.switch_at:%Y-%m-%d} \S+ +49 d +web +switch +its shadow takes over, under CN=Next CA", out
    )
    assert re.search(rf"{device.ends:%Y-%m-%d} \S+ +99 d +web +CA expires +CN=Some CA, no longer trusted", out)


def test_json(place: Place) -> None:
    place.put_living()
    device = Rollover(place)
    device.stage()
    told = json.loads(place.run("plan", "--json", "--until", "2100-01-01T12:00:00+01:00").stdout)
    assert told["until"] == "2100-01-01T11:00:00Z"
    (switch,) = [each for each in told["events"] if each["event"] == "switch"]
    assert switch == {
        "at": iso(device.switch_at),
        "keystore": "web",
        "event": "switch",
        "detail": "its shadow takes over, under CN=Next CA",
        "assumed": False,
    }


def test_a_picture(place: Place) -> None:
    place.put_living()
    done = place.run("plan", "--svg")
    assert (done.returncode, done.stderr) == (0, "")
    assert "web" in [each.text for each in ElementTree.fromstring(done.stdout).iter("{http://www.w3.org/2000/svg}text")]


def test_nothing_ahead(place: Place) -> None:
    assert place.run("plan", "--until", "2100-01-01").stdout == "nothing is expected until 2100-01-01 23:59\n"


def test_names_choose(place: Place) -> None:
    place.names = ("web", "vpn")
    for name in place.names:
        place.put_living(name=name)
    assert "web" not in place.run("plan", "vpn").stdout


@pytest.mark.parametrize(
    ("until", "says"),
    [
        pytest.param("soon", "'soon' is not a date", id="no date"),
        pytest.param("2020-01-01", "2020-01-01 has passed", id="passed"),
        pytest.param("2030-02-30", "'2030-02-30' is not a date", id="no such day"),
    ],
)
def test_a_wrong_date_is_a_usage_error(place: Place, until: str, says: str) -> None:
    done = place.run("plan", "--until", until)
    assert (done.returncode, done.stdout) == (2, "")
    problem, hint = done.stderr.splitlines()
    assert problem == f"certagent: {says}"
    assert hint.startswith("  ")


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_a_terminal_gets_a_timeline_of_its_width(place: Place, columns: int) -> None:
    place.names = ("web", "a-name-longer-than-others")
    for name in place.names:
        place.put_living(name=name)
    device = Rollover(place)
    device.stage()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", place.run_in_terminal("plan", columns=columns))
    lines = shown.splitlines()
    assert max(map(len, lines)) <= columns
    labels, axis, web = lines[:3]
    assert axis.strip().startswith("├")
    assert axis.rstrip().endswith("┤")
    assert f"{now():%d %b}" in labels
    assert web.startswith("web ")
    assert len(web) == len(axis)
    # The renewal comes before the switch, or the other way round: both are in the line, and in the table below.
    assert {"◆", "●", "┃"} <= set(web)
    assert "◆ switch" in shown


def test_a_certificate_that_ends_without_a_successor_is_crossed_out(place: Place) -> None:
    place.put_living(days=20)
    Rollover(place, left=15)
    place.put_living(days=15)
    (line, *_) = [
        line
        for line in place.run_in_terminal(
            "plan", "--until", f"{now() + timedelta(days=30):%F}", columns=80
        ).splitlines()
        if "┈" in line
    ]
    assert "✗" in line
