"""`certagent status`: one snapshot of what is known, as a table and as JSON."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import FrameType

import pytest

from certagent import state
from certagent.cli.status import notices
from certagent.config.load import load_configuration
from certagent.errors import TransientError
from certagent.keys import PrivateKey
from certagent.policy import Action, Condition
from certagent.state import LastError, State
from certagent.status.snapshot import Snapshot, take_snapshots
from certagent.text import span
from certagent.transaction.journal import Phase

from .place import Place, certify
from .rollover import Rollover

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def look(place: Place, now: datetime = NOW) -> Snapshot:
    place.configure()
    return take_snapshots(load_configuration(place.config), now=now, host="device")[0]


def old(place: Place, days: int, lifetime: int = 90) -> None:
    """Put a certificate in place that is so many days old at NOW."""
    place.put(certify(place.key, start=NOW - days * DAY, lifetime=lifetime * DAY))


def failed(place: Place) -> None:
    fault = LastError(kind="transient", message="down", hint="is it up?", at=NOW - DAY)
    watched = state.watch(place.files())
    place.remember(failures=2, retry_at=NOW + timedelta(minutes=1), last_error=fault, watched=watched)


def pending(place: Place) -> None:
    place.open_transaction(Phase.PENDING, poll_at=NOW + timedelta(minutes=5))


SITUATIONS: list[tuple[str, list[Callable[[Place], None]], Condition, Action | None, timedelta | None]] = [
    ("nothing, and no subject", [], Condition.MISSING, None, None),
    (
        "nothing, with a subject",
        [lambda p: p.keystore.append("subject: CN=web")],
        Condition.MISSING,
        Action.ENROLL,
        0 * DAY,
    ),
    ("fresh", [lambda p: old(p, 10)], Condition.VALID, Action.RENEW, 49.4 * DAY),
    ("past the threshold", [lambda p: old(p, 70)], Condition.DUE, Action.RENEW, -10.6 * DAY),
    ("expired", [lambda p: old(p, 100)], Condition.EXPIRED, Action.RENEW, -40.6 * DAY),
    ("not yet valid", [lambda p: old(p, -10)], Condition.NOT_YET_VALID, Action.RENEW, 69.4 * DAY),
    ("failed before", [lambda p: old(p, 70), failed], Condition.FAILED, Action.RENEW, timedelta(minutes=1)),
    ("pending", [lambda p: old(p, 70), pending], Condition.PENDING, Action.POLL, timedelta(minutes=5)),
    ("first request pending", [pending], Condition.PENDING, Action.POLL, timedelta(minutes=5)),
    (
        "hooks owed",
        [lambda p: old(p, 1), lambda p: p.open_transaction(Phase.ACTIVATED)],
        Condition.VALID,
        Action.HOOKS,
        0 * DAY,
    ),
    (
        "a transaction cut short",
        [lambda p: old(p, 70), lambda p: p.open_transaction(Phase.REQUESTED)],
        Condition.DUE,
        Action.RESUME,
        0 * DAY,
    ),
    (
        "files mended since the failure",
        [failed, lambda p: old(p, 70)],
        Condition.FAILED,
        Action.RENEW,
        -10.6 * DAY,
    ),
]


@pytest.mark.parametrize(
    ("steps", "condition", "action", "ahead"), [pytest.param(*rest, id=name) for name, *rest in SITUATIONS]
)
def test_state_and_next_action(
    place: Place,
    steps: list[Callable[[Place], None]],
    condition: Condition,
    action: Action | None,
    ahead: timedelta | None,
) -> None:
    place.keystore.append('jitter: "0%"')
    for step in steps:
        step(place)
    seen = look(place)
    assert (seen.assessment.condition, seen.assessment.action) == (condition, action)
    assert seen.assessment.at == (None if ahead is None else NOW + ahead)
    assert seen.situation.readable


def write_state(place: Place, text: str) -> None:
    place.remember()
    (place.directory() / "state.json").write_text(text)


def damage_transaction(place: Place) -> None:
    place.open_transaction(Phase.ISSUED)
    (place.directory() / "transaction" / "transaction.json").write_bytes(b"\xff")


DAMAGE: list[tuple[str, Callable[[Place], object], str]] = [
    ("state.json from a newer version", lambda p: write_state(p, '{"version": 99}'), "newer certagent"),
    ("transaction.json damaged", damage_transaction, "is damaged"),
    ("certificate is text", lambda p: p.files()[1].write_text("hello"), "holds no certificate"),
    (
        "certificate is garbage",
        lambda p: p.files()[1].write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        "cannot be read",
    ),
    ("certificate is a directory", lambda p: p.files()[1].mkdir(), "is a directory"),
]


@pytest.mark.parametrize(("damage", "says"), [pytest.param(do, says, id=name) for name, do, says in DAMAGE])
def test_what_cannot_be_read_is_a_failed_keystore(place: Place, damage: Callable[[Place], object], says: str) -> None:
    damage(place)
    seen = look(place)
    assert (seen.assessment.condition, seen.assessment.action, seen.situation.readable) == (
        Condition.FAILED,
        None,
        False,
    )
    assert seen.last_error is not None
    assert says in seen.last_error.message
    assert seen.last_error.hint


def test_the_certificate_is_shown_even_where_the_state_is_damaged(place: Place) -> None:
    old(place, 10)
    write_state(place, "{")
    assert look(place).certificate is not None


def test_with_a_clock_that_is_not_set_nothing_is_said_to_happen(place: Place) -> None:
    old(place, 10)
    seen = look(place, datetime(1970, 1, 1, tzinfo=UTC))
    assert seen.assessment.action is None
    assert "1970-01-01T00:00:00Z" in seen.assessment.reason


def test_renew_at_without_room_in_the_lifetime_is_told(place: Place) -> None:
    place.keystore += ["renew_at: 30d", 'jitter: "0%"']
    old(place, 1, lifetime=9)
    seen = look(place)
    assert seen.renew_at_note.startswith("renew_at 30 d is too long for a lifetime of 9 d")
    assert seen.assessment.at == NOW + 5 * DAY


@pytest.mark.parametrize(
    ("time", "words"),
    [
        pytest.param(timedelta(0), "0 s", id="nothing"),
        pytest.param(timedelta(seconds=119.9), "119 s", id="seconds"),
        pytest.param(timedelta(minutes=119), "119 min", id="minutes"),
        pytest.param(timedelta(hours=47), "47 h", id="hours"),
        pytest.param(timedelta(days=2), "2 d", id="days"),
        pytest.param(timedelta(days=-3), "3 d", id="past"),
        pytest.param(timedelta(days=365 * 20), "19 y", id="decades"),
    ],
)
def test_a_span_in_words(time: timedelta, words: str) -> None:
    assert span(time) == words


def test_one_error_of_many_keystores_is_told_once(place: Place) -> None:
    place.names = tuple(f"k{number}" for number in range(7))
    place.configure()
    fault = LastError.of(TransientError("corp is down", "is it up?"), NOW)
    for name in place.names:
        place.remember(name, failures=1, last_error=fault)
    taken = take_snapshots(load_configuration(place.config), now=NOW + timedelta(minutes=3), host="device")
    (told,) = notices(taken, NOW + timedelta(minutes=3))
    assert told.text == "k0, k1, k2 and 4 others: corp is down (3 min ago)"
    assert told.hint == "is it up?"


# The command.

CONTRACT = {"state", "subject", "serial", "not_before", "not_after", "next_action", "next_action_at", "last_error"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_json_of_a_living_keystore(place: Place) -> None:
    place.put_living()
    done = place.run("status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    entry = json.loads(done.stdout)["keystores"]["web"]
    assert set(entry) >= CONTRACT
    assert (entry["state"], entry["next_action"]) == ("valid", "renew")
    assert (entry["subject"], entry["serial"]) == ("CN=web.example.net,O=Example", "0ABC")
    assert all(TIME.fullmatch(entry[key]) for key in ("not_before", "not_after", "next_action_at"))
    assert entry["last_error"] is None


def test_json_of_a_failed_keystore_without_certificate(place: Place) -> None:
    fault = LastError(kind="trust", message="not the CA", hint="compare", at=NOW)
    place.remember(failures=1, last_error=fault)
    entry = json.loads(place.run("status", "--json", "web").stdout)["keystores"]["web"]
    assert entry["state"] == "failed"
    assert entry["last_error"] == {"message": "not the CA", "hint": "compare", "at": "2030-06-01T12:00:00Z"}
    nothing = ("subject", "serial", "not_before", "not_after", "next_action", "next_action_at")
    assert all(entry[key] is None for key in nothing)


def test_a_pipe_gets_plain_aligned_text(place: Place) -> None:
    place.names = ("web", "much-longer-name")
    place.put_living()
    done = place.run("status")
    heading, first, second = done.stdout.splitlines()[:3]
    assert "\x1b" not in done.stdout
    assert done.returncode == 0
    assert heading.index("STATE") == first.index("valid") == second.index("missing")
    assert "CN=web.example.net,O=Example" in first
    assert done.stdout.endswith("2 keystores: 1 missing, 1 valid\n")


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 160])
def test_a_terminal_of_any_width_shows_name_state_and_next(place: Place, columns: int) -> None:
    place.names = ("web", "vpn-gateway-frankfurt")
    place.put_living()
    shown = place.run_in_terminal("status", columns=columns)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= columns
    row = next(line for line in lines if line.startswith("web"))
    if columns >= 60:
        assert re.search(r"━.*89 d.*valid.*renew in \d+ d", row)


def test_a_terminal_gets_colours_unless_told_otherwise(place: Place) -> None:
    place.put_living()
    assert "\x1b[32m" in place.run_in_terminal("status", columns=80)
    assert "\x1b[3" not in place.run_in_terminal("status", columns=80, NO_COLOR="1")


def test_names_in_a_certificate_do_not_steer_the_terminal(place: Place, rsa_key: PrivateKey) -> None:
    start = datetime.now(UTC) - DAY
    place.put(certify(rsa_key, start=start, lifetime=90 * DAY, subject="CN=a\x1b[2Jb"))
    assert "\x1b[2J" not in place.run_in_terminal("status", columns=80)
    assert "CN=a·[2Jb" in place.run("status").stdout


def test_an_unknown_name_is_a_usage_error(place: Place) -> None:
    done = place.run("status", "wbe")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "certagent: there is no keystore 'wbe'\n  configured: web\n"


@pytest.mark.parametrize("many", [1, 20])
def test_an_authority_is_looked_at_once_however_many_keystores_have_it(place: Place, many: int) -> None:
    """Counted in what is done, not in seconds: files read, and paths proven for the authority's sake."""
    place.names = tuple(f"web{number}" for number in range(many))
    Rollover(place).announce()
    for name in place.names:
        place.put_living(name=name)
    place.configure()
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.endswith(("trust/memory.py", "trust/next_ca.py")):
            calls[frame.f_code.co_name] += 1

    sys.setprofile(count)
    try:
        take_snapshots(load_configuration(place.config), now=datetime.now(UTC), host="device")
    finally:
        sys.setprofile(None)
    assert calls["_written"] == 1, "the files were read once"
    assert calls["extended"] == 1
    assert calls["is_rooted"] <= 8


def test_two_hundred_keystores_are_one_table(place: Place) -> None:
    place.names = tuple(f"site-{number:03}" for number in range(200))
    for name in place.names:
        place.put_living(name=name)
    done = place.run("status")
    assert len(done.stdout.partition("\n\n")[0].splitlines()) == 201
    assert done.stdout.endswith("\n200 keystores: 200 valid\n")


def test_a_missing_state_is_no_fault(place: Place) -> None:
    assert state.load(place.directory()) is None
    assert State().failures == look(place).situation.failures
