"""-v, -q and --json: what each command tells more, leaves out, and prints for programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent.cli import streams
from certagent.cli.main import main
from tests.waiting import free_port

from .hand import Hand
from .place import Check, Place


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """A process is one command; here several share one."""
    logger = logging.getLogger("certagent")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.level, logger.propagate, logger.handlers[:] = before
    streams.hushed.set(False)
    streams.work_on()


@pytest.mark.parametrize("order", [("-v", "enroll", "web"), ("enroll", "web", "--verbose")])
def test_more_is_every_exchange_and_every_command(
    order: tuple[str, ...], connected: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    connected.keystore += ["subject: CN=web.example.net", "hooks: {post: [[/bin/true]]}"]
    connected.configure()
    assert main(["-c", str(connected.config), *order]) == 0
    told = capsys.readouterr().err.splitlines()
    exchanges = [line for line in told if line.startswith(("web: GET ", "web: POST "))]
    assert {line.split()[3].rstrip(",:") for line in exchanges} == {"GetCACaps", "GetCACert", "PKIOperation"}
    assert all(connected.url in line and "HTTP 200, " in line for line in exchanges)
    assert any(line.startswith("web: ran /bin/true: exit code 0 after ") for line in told)


def test_less_is_nothing_where_all_is_well(connected: Place, capsys: pytest.CaptureFixture[str]) -> None:
    connected.keystore.append("subject: CN=web.example.net")
    connected.configure()
    for words in (["enroll", "-q", "web"], ["-q", "renew"], ["check", "-q"], ["renew", "--dry-run", "-q"]):
        assert main(["-c", str(connected.config), *words]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    # What is put in place is for the log.
    assert [line for line in said.err.splitlines() if " is in place, valid until " not in line] == []


def test_less_is_what_is_wrong(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.url = f"http://127.0.0.1:{free_port()}/scep"
    place.keystore.append("subject: CN=web.example.net")
    place.configure()
    assert main(["-c", str(place.config), "-q", "enroll", "web"]) == 1
    assert "web: failed: 127.0.0.1" in capsys.readouterr().err
    assert main(["-c", str(place.config), "-q", "check"]) == 1
    out = capsys.readouterr().out
    assert "authority corp\n  ✗ 127.0.0.1" in out
    assert "✓" not in out


def test_less_by_hand_has_no_progress(hand: Hand) -> None:
    said = hand.trusted("enroll", "--key", hand.path("k"), "--subject", "CN=a", "--out", hand.path("c"), code=1)
    assert "asking http" in said.err
    said = hand.trusted("enroll", "-q", "--key", hand.path("k"), "--subject", "CN=a", "--out", hand.path("c"), code=1)
    assert "asking http" not in said.err
    assert said.err.startswith("certagent: the CA refused")


def test_findings_for_programs(connected: Place, check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    connected.put_living()
    connected.configure()
    assert main(["-c", str(connected.config), "check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    seen = check(connected)
    assert (told["faults"], told["warnings"]) == (0, len(seen.warnings))
    assert {each["about"] for each in told["findings"]} >= {"authority corp", "keystore web"}
    lines = [line.strip() for line in seen.lines]
    for each in told["findings"]:
        mark = {"fine": "✓", "warning": "!", "fault": "✗"}[each["level"]]
        assert f"{mark} {each['text']}" in lines


def test_health_for_programs(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.put_living(days=30)
    place.configure()
    assert main(["-c", str(place.config), "--json", "health"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["level"], told["keystores"], told["failing"]) == ("OK", 1, 0)
    assert 29 * 86400 < told["least_left"] < 30 * 86400
    assert main(["-c", str(place.root / "none.yaml"), "--json", "health"]) == 3
    assert json.loads(capsys.readouterr().out)["level"] == "UNKNOWN"


@pytest.mark.parametrize("words", [("--json",), ("--report", "json")])
def test_a_report_by_either_name(words: tuple[str, ...], place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.put_living()
    place.configure()
    assert main(["-c", str(place.config), "renew", *words]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == "nothing"
    assert main(["-c", str(place.config), "renew", "--dry-run", "--force", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["keystore"], told["would"]) == ("web", "renew")


def test_records_for_programs(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody can be asked where programs read."""
    place.put_living()
    place.configure()
    assert main(["-c", str(place.config), "cancel", "web", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["done"], told["messages"]) == (False, ["no transaction is open"])
    (place.directory("old")).mkdir(parents=True)
    assert main(["-c", str(place.config), "remove", "old", "--json"]) == 2
    assert "add --yes" in capsys.readouterr().err
    assert main(["-c", str(place.config), "remove", "old", "--json", "--yes"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] is True


def test_the_ca_for_programs(hand: Hand) -> None:
    assert "Renewal" in json.loads(hand.scep("getcaps", "--json").out)["capabilities"]
    told = json.loads(hand.scep("getca", "--json").out)
    assert told["verified"] is False
    assert told["certificates"][0]["fingerprint"] == hand.fingerprint
    assert json.loads(hand.trusted("getca", "--json").out)["verified"] is True


def test_recovery_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(f"state_dir: {tmp_path}/state\n")
    file.chmod(0o600)
    transaction = tmp_path / "state/keystores/web/transaction/transaction.json"
    transaction.parent.mkdir(parents=True)
    transaction.write_text("?")
    for path in (tmp_path / "state", *transaction.parents[:3]):
        path.chmod(0o700)
    transaction.chmod(0o600)
    assert main(["-c", str(file), "recover", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["keystore"], told["recovered"]) == ("web", False)
    assert "is damaged" in told["message"]
