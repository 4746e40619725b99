"""What earlier releases left in their state directories: each is read, told, and brought to its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.state.device import RELEASES, Device
from tests.state.make import YEARLY, hook

pytestmark = pytest.mark.needs("mount", "faketime", "softhsm")


@dataclass(frozen=True)
class Left:
    """A scenario of make.py: what status says of it, how it is brought to its end, and the newest event then."""

    scenario: str
    state: str
    next_action: str
    end: Callable[[Device], None]
    event: str
    recovered: str = ""


def goes_on(device: Device, *lab: str, days: int = 0) -> None:
    """The next run, some days and two hours later, while the CA is up."""
    device.advance(days=days, hours=2)
    with device.lab(*lab):
        succeeds(device)


def goes_on_alone(device: Device, days: int = 0) -> None:
    """The same without the CA."""
    device.advance(days=days, hours=2)
    succeeds(device)


def succeeds(device: Device) -> None:
    done = device.run("renew", "--due")
    assert done.returncode == 0, done.stdout + done.stderr


def renews(device: Device) -> None:
    goes_on(device, days=75)


def renews_under_the_next_ca(device: Device) -> None:
    goes_on(device, *YEARLY, days=75)


def is_approved(device: Device) -> None:
    device.decide("approve")
    goes_on(device, "--manual")


def hook_works_again(device: Device) -> None:
    hook(device, works=True)
    goes_on_alone(device)


def switches(device: Device) -> None:
    goes_on_alone(device, days=62)


def pin_is_put_right(device: Device) -> None:
    device.advance(hours=2)
    with device.lab():
        refused = device.run("renew", "--due")
    assert "refused it before, and it has not changed since" in refused.stderr
    device.path("pin").write_text("1234\n")
    goes_on(device)


LEFT = (
    Left("valid", "valid", "renew", renews, "renewed"),
    Left("renewed", "valid", "renew", renews, "renewed"),
    Left("adopted", "valid", "renew", renews, "renewed"),
    Left("pending", "pending", "poll", is_approved, "enrolled"),
    Left("renewal-pending", "pending", "poll", is_approved, "renewed"),
    Left("vetoed", "failed", "resume", hook_works_again, "enrolled"),
    Left("hooks-owed", "failed", "hooks", hook_works_again, "enrolled"),
    Left(
        "killed-in-the-swap",
        "due",
        "resume",
        goes_on_alone,
        "renewed",
        recovered="web: an interrupted swap was finished: the new files are in place",
    ),
    Left("unreachable", "failed", "resume", goes_on, "renewed"),
    Left("staged", "staged", "switch", switches, "rolled over"),
    Left("rolled-over", "valid", "renew", renews_under_the_next_ca, "renewed"),
    Left("token", "valid", "renew", renews, "renewed"),
    Left("wrong-pin", "failed", "resume", pin_is_put_right, "enrolled"),
    Left("pkcs12", "valid", "renew", renews, "renewed"),
)


def releases() -> list[Path]:
    """Oldest first."""
    return sorted(each for each in RELEASES.iterdir() if each.is_dir())


BY_RELEASE = [
    pytest.param(release / left.scenario, left, id=f"{release.name}-{left.scenario}")
    for release in releases()
    for left in LEFT
]


@pytest.mark.parametrize(("made", "left"), BY_RELEASE)
def test_what_a_release_left_is_read(made: Path, left: Left, tmp_path: Path) -> None:
    told = Device.from_release(made, tmp_path / "device").status()
    assert (told["state"], told["next_action"]) == (left.state, left.next_action)


@pytest.mark.slow
@pytest.mark.parametrize(("made", "left"), BY_RELEASE)
def test_what_a_release_left_is_brought_to_its_end(made: Path, left: Left, tmp_path: Path) -> None:
    device = Device.from_release(made, tmp_path / "device")
    recovered = device.run("recover")
    assert (recovered.returncode, recovered.stdout.strip()) == (0, left.recovered), recovered.stderr
    left.end(device)
    told = device.status()
    assert (told["state"], told["next_action"], told["transaction"]) == ("valid", "renew", None)
    newest = device.run("history", "--json", "web").stdout.splitlines()[-1]
    assert json.loads(newest)["event"] == left.event


def test_every_scenario_of_every_release_is_told_here() -> None:
    for release in releases():
        assert {each.name for each in release.iterdir() if each.is_dir()} == {left.scenario for left in LEFT}


# ── going back to an older release ──


def bump(file: Path) -> None:
    """As a release to come might write it: a higher version, and fields that mean nothing today."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(f"{json.dumps({**line, 'version': 9, 'at': [0], 'keys': 7})}\n" for line in lines))


def bump_lab(file: Path) -> None:
    file.write_text("9\n")


RENEW = ("renew", "--force")
KEYSTORE = "state/keystores/web"


@pytest.mark.parametrize(
    ("scenario", "file", "command", "write"),
    [
        pytest.param("valid", f"{KEYSTORE}/state.json", ("status",), bump, id="state, read"),
        pytest.param("valid", f"{KEYSTORE}/state.json", RENEW, bump, id="state"),
        pytest.param("valid", f"{KEYSTORE}/history.jsonl", ("history",), bump, id="history"),
        pytest.param("pending", f"{KEYSTORE}/transaction/transaction.json", RENEW, bump, id="journal"),
        pytest.param("pending", f"{KEYSTORE}/transaction/transaction.json", ("recover",), bump, id="journal, at boot"),
        pytest.param("staged", f"{KEYSTORE}/rollover/transaction.json", RENEW, bump, id="journal of a rollover"),
        pytest.param("valid", "state/authorities/lab/authority.json", RENEW, bump, id="authority"),
        pytest.param("token", f"{KEYSTORE}/keys.json", RENEW, bump, id="keys made in a token"),
        pytest.param("wrong-pin", "state/tokens/*/pin.json", RENEW, bump, id="PINs tried at a token"),
        pytest.param("valid", "lab/version", ("lab", "--dir", "/media/lab", "--port", "0"), bump_lab, id="lab"),
    ],
)
def test_a_newer_file_is_refused_in_a_line(
    scenario: str, file: str, command: tuple[str, ...], write: Callable[[Path], None], tmp_path: Path
) -> None:
    newest = releases()[-1]
    device = Device.from_release(newest / scenario, tmp_path / "device")
    newer = next(device.directory.glob(file), device.path(file))
    write(newer)
    before = newer.read_bytes()
    with device.lab() if command == RENEW else nullcontext():
        done = device.run(*command)
    assert done.returncode == (0 if command == ("status",) else 1)
    told = done.stdout + done.stderr
    place = f"/media/{newer.relative_to(device.directory)}"
    known = 2 if newer.name == "transaction.json" else 1
    assert told.count(f"{place} was written by a newer certagent (version 9, this one reads {known})") == 1, told
    assert newer.read_bytes() == before
