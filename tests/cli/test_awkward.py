"""One keystore whose data nobody expects, beside a good one: every command that reads many tells of both."""

from __future__ import annotations

import json
from base64 import b64decode, encodebytes
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certagent.cli.main import main
from certagent.state import Event, append_history

from .place import Place, certify

# A certificate with these dates can be made; others are written over them. Both are GeneralizedTime.
BEGINS, ENDS = datetime(2060, 1, 1, tzinfo=UTC), datetime(2070, 1, 1, tzinfo=UTC)
NEVER_ENDS = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ends(place: Place, not_after: datetime) -> None:
    now = datetime.now(UTC)
    place.put(certify(place.key, start=now - HOUR, lifetime=not_after - now + HOUR), name="odd")


def dated(place: Place, not_before: str, not_after: str) -> None:
    """With these dates, written as DER has them; what the signature says of that is nobody's business here."""
    place.put(certify(place.key, start=BEGINS, lifetime=ENDS - BEGINS), name="odd")
    file = place.files("odd")[1]
    der = to_der(file)
    for written, wanted in ((b"20600101000000Z", not_before), (b"20700101000000Z", not_after)):
        assert der.count(written) == 1
        der = der.replace(written, wanted.encode())
    file.write_bytes(to_text(der))


def to_der(file: Path) -> bytes:
    return b64decode(b"".join(file.read_bytes().splitlines()[1:-1]))


def to_text(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + encodebytes(der) + b"-----END CERTIFICATE-----\n"


def huge(place: Place) -> None:
    names = tuple(f"host-{number}.example.net" for number in range(5000))
    now = datetime.now(UTC)
    place.put(certify(place.key, start=now - HOUR, lifetime=100 * HOUR, names=names), name="odd")


def huger(place: Place) -> None:
    place.put_living(name="odd")
    with place.files("odd")[1].open("ab") as file:
        file.truncate(1 << 30)


def damaged(place: Place) -> None:
    place.put_living(name="odd")
    place.files("odd")[1].write_bytes(to_text(b"\x30\x03\x02\x01\x00"))


ODD: dict[str, Callable[[Place], None]] = {
    "never ends": lambda place: ends(place, NEVER_ENDS),
    "has always been": lambda place: dated(place, "00010101000000Z", "99991231235959Z"),
    "ended in the year 1": lambda place: dated(place, "00010101000000Z", "00010102000000Z"),
    "begins at the end": lambda place: dated(place, "99991231235958Z", "99991231235959Z"),
    "ends before it begins": lambda place: dated(place, "99991231235959Z", "00010101000000Z"),
    "the year 0": lambda place: dated(place, "00000101000000Z", "99991231235959Z"),
    "no date": lambda place: dated(place, "99999999999999Z", "xxxxxxxxxxxxxxx"),
    "no certificate": damaged,
    "many names": huge,
    "a huge file": huger,
}


@pytest.fixture(params=ODD.values(), ids=list(ODD))
def two(request: pytest.FixtureRequest, place: Place) -> Place:
    place.names = ("odd", "good")
    place.put_living(name="good")
    request.param(place)
    for name in place.names:
        append_history(place.directory(name), Event(at=datetime.now(UTC), event="enrolled", transaction=name))
    place.more.append(f"metrics_file: {place.root}/metrics.prom")
    place.configure()
    return place


def test_the_other_has_its_line(two: Place, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> str:
        main(["-c", str(two.config), *words])
        return capsys.readouterr().out

    def line(*words: str) -> str:
        return next(each for each in run(*words).splitlines() if "good" in each)

    assert line("status").split()[:2] == ["good", "valid"]
    found = json.loads(run("status", "--json"))["keystores"]
    assert found["good"]["state"] == "valid"
    assert set(found) == {"odd", "good"}
    assert "renew" in line("plan")
    assert {each["keystore"] for each in json.loads(run("plan", "--json"))["events"]} >= {"good"}
    run("health")
    assert "keystore good" in run("check", "--offline")
    assert "enrolled" in line("history")
    assert line("renew", "--dry-run").startswith("good: nothing now; renew at ")
    assert line("renew", "--due").startswith("good: nothing")
    samples = (two.root / "metrics.prom").read_text()
    assert 'certagent_keystore_state{keystore="good",state="valid"} 1' in samples
    assert 'certagent_keystore_failures{keystore="odd"}' in samples


def test_an_unreadable_history_costs_the_other_nothing(place: Place) -> None:
    place.names = ("odd", "good")
    append_history(place.directory("good"), Event(at=datetime.now(UTC), event="enrolled", transaction="t"))
    place.directory("odd").mkdir(parents=True)
    (place.directory("odd") / "history.jsonl").mkdir()
    done = place.run("history")
    assert done.returncode == 1
    assert "good" in done.stdout
    assert "history.jsonl" in done.stderr


@pytest.mark.parametrize("columns", [60, 120])
def test_a_certificate_without_an_end_has_its_timeline(place: Place, columns: int) -> None:
    place.names = ("odd", "good")
    place.put_living(name="good")
    ends(place, NEVER_ENDS)
    shown = place.run_in_terminal("plan", columns=columns)
    assert "odd" in shown
    assert "good" in shown
