"""The rollover to the next CA, as `status`, `check`, `plan` and the metrics file show it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from certagent import certificate as facts
from certagent.config.load import load_configuration
from certagent.status.metrics import prometheus_text
from certagent.status.snapshot import Snapshot, take_snapshots
from certagent.text import iso
from certagent.transaction.journal import Journal

from .place import Check, Place
from .rollover import Rollover
from .test_status_metrics import parse

Step = Callable[[Rollover], object]


@pytest.fixture
def device(place: Place) -> Rollover:
    place.put_living()
    return Rollover(place)


def look(device: Rollover, now: datetime | None = None) -> Snapshot:
    device.place.configure()
    return take_snapshots(load_configuration(device.place.config), now=now or device.start, host="device")[0]


def test_json_of_a_staged_keystore(device: Rollover) -> None:
    device.stage()
    entry = json.loads(device.place.run("status", "--json").stdout)["keystores"]["web"]
    assert entry["state"] == "staged"
    rollover = entry["rollover"]
    assert rollover.pop("begins_at") < iso(device.switch_at)
    assert rollover == {
        "ca_not_after": iso(device.ends),
        "phase": "issued",
        "next_ca": {
            "fingerprint": str(facts.fingerprint(device.next_ca)),
            "subject": "CN=Next CA",
            "proof": "signed by the current CA",
            "not_before": iso(device.switch_at),
            "not_after": iso(device.switch_at + timedelta(days=1000)),
        },
        "shadow": {
            "serial": "0B0B",
            "not_before": iso(device.switch_at),
            "not_after": iso(device.switch_at + timedelta(days=90)),
        },
        "switch_at": iso(device.switch_at),
        "last_error": None,
    }


def test_json_before_anything_is_prepared(device: Rollover) -> None:
    rollover = json.loads(device.place.run("status", "--json").stdout)["keystores"]["web"]["rollover"]
    assert rollover["ca_not_after"] == iso(device.ends)
    assert [rollover[key] for key in ("phase", "next_ca", "shadow", "switch_at", "last_error")] == [None] * 5


def test_without_a_contact_there_is_no_rollover(place: Place) -> None:
    place.put_living()
    assert json.loads(place.run("status", "--json").stdout)["keystores"]["web"]["rollover"] is None


ROLLOVERS: list[tuple[str, Step, list[str]]] = [
    (
        "nothing yet",
        lambda device: None,
        ["identity  0ABC, until", "CA        CN=Some CA, until", "next CA   asked for "],
    ),
    ("announced", Rollover.announce, ["next CA   CN=Next CA, from", ", signed by the current CA"]),
    ("pending", Rollover.wait, ["next CA   CN=Next CA", "shadow    in preparation: pending"]),
    ("staged", Rollover.stage, ["next CA   CN=Next CA", "shadow    0B0B, from", "switch    on "]),
    (
        "refused",
        Rollover.refuse,
        [
            "CA        CN=Some CA",
            "next CA   asked for again at ",
            "✗ web: nothing proves the next CA",
            "    add the line",
        ],
    ),
]


@pytest.mark.parametrize(("step", "shown"), [pytest.param(*rest, id=name) for name, *rest in ROLLOVERS])
def test_a_keystore_by_name_shows_its_whole_rollover(device: Rollover, step: Step, shown: list[str]) -> None:
    step(device)
    out = device.place.run("status", "web").stdout
    positions = [out.find(text) for text in shown]
    assert -1 not in positions, out
    assert positions == sorted(positions)
    assert str(facts.fingerprint(device.ca)) in out


def test_the_table_tells_a_switch_once_for_all_who_share_it(place: Place) -> None:
    place.names = ("web", "vpn")
    for name in place.names:
        place.put_living(name=name)
    device = Rollover(place)
    for name in place.names:
        device.stage(name)
    lines = place.run("status").stdout.splitlines()
    assert [line for line in lines if "Next CA" in line] == [
        f"✓ web, vpn: a shadow under CN=Next CA takes over on {device.switch_at:%Y-%m-%d} (in 49 d)"
    ]
    assert all("staged" in line for line in lines[1:3])


@pytest.mark.parametrize("columns", [60, 100])
def test_a_terminal_of_any_width_has_room_for_the_rollover(device: Rollover, columns: int) -> None:
    device.stage()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", device.place.run_in_terminal("status", "web", columns=columns))
    assert max(map(len, shown.splitlines())) <= columns
    assert "shadow" in shown


def test_a_switch_that_is_due_comes_before_a_renewal_that_is(device: Rollover) -> None:
    device.stage()
    late = device.ends + timedelta(days=1)
    assert look(device, late).assessment.action == "switch"


def test_after_the_switch_the_next_ca_is_the_current_one(place: Place) -> None:
    """The authority was not asked since: it still counts as the next one on the disk."""
    place.put_living()
    device = Rollover(place)
    device.ca, device.next_ca = device.next_ca, device.ca
    device.announce()
    rollover = look(device).rollover
    assert rollover is not None
    assert rollover.ca is not None
    assert (rollover.ca.subject, rollover.next_ca) == ("CN=Some CA", None)


def test_a_damaged_shadow_is_told(device: Rollover) -> None:
    device.stage()
    journal = Journal(device.place.directory(), "rollover")
    staged = journal.open()
    assert staged is not None
    journal.write(staged.at(staged.phase, certificate=b"AAA"))
    seen = look(device)
    assert (seen.situation.readable, seen.assessment.action) == (False, None)
    assert seen.last_error is not None
    assert "the shadow kept in transaction r1 is damaged" in seen.last_error.message


# check


def stage_beyond_a_renewal(device: Rollover) -> None:
    device.stage()
    device.place.put_living(days=20)


CHECKS: list[tuple[str, Step, str]] = [
    ("staged", Rollover.stage, "✓ the next CA of corp takes over on "),
    (
        "staged, and a renewal before",
        stage_beyond_a_renewal,
        "✓ a shadow under CN=Next CA is ready, and takes over on ",
    ),
    ("pending", Rollover.wait, "! the next CA of corp has not decided about the shadow yet; certagent asks again at "),
]


@pytest.mark.parametrize(("step", "says"), [pytest.param(*rest, id=name) for name, *rest in CHECKS])
def test_check_tells_what_is_prepared(device: Rollover, check: Check, step: Step, says: str) -> None:
    step(device)
    seen = check(device.place, "--offline")
    assert (seen.code, seen.faults) == (0, [])
    assert f"  {says}" in seen.text


def test_check_warns_of_an_end_without_a_successor(place: Place, check: Check) -> None:
    place.put_living(days=20)
    Rollover(place, left=30)
    (warning,) = check(place, "--offline").warnings
    assert warning == "  ! its CA expires in 29 d, and no next one is known"


# metrics


@pytest.mark.parametrize(
    ("step", "left", "expected"),
    [
        pytest.param(lambda device: None, 100, {"late": 0, "refused": 0}, id="nothing yet"),
        pytest.param(lambda device: None, 30, {"late": 1, "refused": 0}, id="late"),
        pytest.param(Rollover.announce, 30, {"late": 0, "refused": 0}, id="announced in time"),
        pytest.param(Rollover.refuse, 100, {"late": 0, "refused": 1}, id="not believed"),
        pytest.param(
            lambda device: device.refuse(kind="rejected"), 100, {"late": 0, "refused": 1}, id="the shadow refused"
        ),
        pytest.param(lambda device: device.refuse(kind="transient"), 100, {"late": 0, "refused": 0}, id="out of reach"),
        pytest.param(Rollover.stage, 100, {"late": 0, "refused": 0, "switch_seconds": 50 * 86400}, id="staged"),
    ],
)
def test_metrics_of_a_rollover(place: Place, step: Step, left: float, expected: dict[str, float]) -> None:
    place.put_living(days=20)
    device = Rollover(place, left=left)
    step(device)
    samples = parse(prometheus_text([look(device)], device.start))
    found = {
        name.removeprefix("certagent_rollover_"): value for (name, _), value in samples.items() if "rollover" in name
    }
    if "switch_seconds" in found:
        found["switch_seconds"] -= device.start.timestamp()
    assert found == expected
    assert samples["certagent_ca_not_after_seconds", (("keystore", "web"),)] == device.ends.timestamp()
