"""`certagent health`: what a monitor is told. Situations as rows, with the exit code and the words."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from certagent.certificate import load_pem, serial_hex
from certagent.cli.health import Level, judged
from certagent.config.load import load_configuration
from certagent.revocation.memory import Memory, Revoked, save
from certagent.state import LastError
from certagent.status.snapshot import take_snapshots
from certagent.transaction.journal import Phase

from .place import Place, certify
from .rollover import Rollover

DAY = timedelta(days=1)
PATIENCE = timedelta(hours=1)
Step = Callable[[Place], object]


def put(place: Place, age: float, lifetime: float = 90) -> None:
    """A certificate so many days old."""
    place.put(certify(place.key, start=datetime.now(UTC) - age * DAY, lifetime=lifetime * DAY))


def fail(place: Place, kind: str = "transient", failures: int = 2) -> None:
    fault = LastError(kind=kind, message="corp | is down", hint="is it up?", at=datetime.now(UTC))
    place.remember(failures=failures, retry_at=datetime.now(UTC) + DAY, last_error=fault)


def revoke(place: Place) -> None:
    """A CRL that was fetched has the certificate in place."""
    serial = serial_hex(load_pem(place.files()[1].read_bytes(), "web.pem")[0])
    revoked = Revoked(keystore="web", serial=serial, since=datetime(2026, 11, 2, tzinfo=UTC))
    directory = place.root / "state/authorities/corp"
    directory.mkdir(parents=True)
    save(directory, Memory(revoked=(revoked,)))


def owe(place: Place, left: timedelta) -> None:
    """A hook that failed after the swap; what was there before ends in so long."""
    moment, why = datetime.now(UTC), "in place; the post hook failed and will be retried: why"
    place.open_transaction(Phase.ACTIVATED, old_not_after=moment + left)
    fault = LastError(kind="owed", message=why, hint="", at=moment)
    place.remember(failures=2, retry_at=moment + DAY, last_error=fault)


def pending(place: Place, since: timedelta) -> None:
    moment = datetime.now(UTC)
    place.open_transaction(Phase.PENDING, started_at=moment - since, poll_at=moment + timedelta(minutes=5))


def damage_state(place: Place) -> None:
    put(place, 1)
    place.remember()
    (place.directory() / "state.json").write_text("{")


def newer_state(place: Place) -> None:
    damage_state(place)
    (place.directory() / "state.json").write_text('{"version": 99}')


SITUATIONS: list[tuple[str, list[Step], Level, str]] = [
    ("fresh", [lambda p: put(p, 1)], Level.OK, r"1 keystore, next renew web in 5\d d"),
    ("due a moment ago", [lambda p: put(p, 59.41)], Level.OK, "1 keystore, next renew web now"),
    (
        "a first request to make",
        [lambda p: p.keystore.append("subject: CN=w")],
        Level.WARNING,
        "web: no certificate yet",
    ),
    (
        "hooks owed",
        [lambda p: put(p, 1), lambda p: p.open_transaction(Phase.ACTIVATED)],
        Level.OK,
        "hooks have yet to run",
    ),
    (
        "nobody does what is due",
        [lambda p: put(p, 70)],
        Level.WARNING,
        "web: renew is overdue by 10 d: is the agent running",
    ),
    ("nothing, and no subject", [], Level.WARNING, "web: there is no certificate, and no subject or san"),
    (
        "one failure",
        [lambda p: put(p, 60), lambda p: fail(p, failures=1)],
        Level.WARNING,
        "web: 1 attempt failed, 29 d",
    ),
    ("failures", [lambda p: put(p, 70), fail], Level.WARNING, "web: 2 attempts failed, 19 d left: corp / is down"),
    ("failing in the last tenth", [lambda p: put(p, 82), fail], Level.CRITICAL, "web: 2 attempts failed, 7 d left"),
    ("the last tenth of seconds", [lambda p: put(p, 0.001, 0.00105), fail], Level.CRITICAL, r"failed, [34] s left"),
    ("failing before the first", [fail], Level.WARNING, "web: 2 attempts failed: corp"),
    (
        "a hook owed",
        [lambda p: put(p, 1), lambda p: owe(p, DAY)],
        Level.WARNING,
        "web: in place; the post hook failed and will be retried: why",
    ),
    (
        "a hook owed past the end of what is used",
        [lambda p: put(p, 1), lambda p: owe(p, -DAY)],
        Level.CRITICAL,
        "web: in",
    ),
    (
        "revoked",
        [lambda p: put(p, 1), revoke],
        Level.CRITICAL,
        "web: its certificate is revoked since 2026-11-02T00:00:00Z",
    ),
    ("a broken keystore", [lambda p: put(p, 1), lambda p: fail(p, "keystore")], Level.CRITICAL, "failed, 88 d left"),
    ("a locked token", [lambda p: put(p, 1), lambda p: fail(p, "tokenlocked")], Level.CRITICAL, "failed, 88 d left"),
    ("expired", [lambda p: put(p, 100)], Level.CRITICAL, "web: expired 10 d ago"),
    (
        "not yet valid",
        [lambda p: put(p, -10.5)],
        Level.CRITICAL,
        "web: not valid for another 10 d: is the clock right?",
    ),
    ("expired and failing", [lambda p: put(p, 100), fail], Level.CRITICAL, "web: expired 10 d ago: corp / is down"),
    ("unreadable", [lambda p: p.files()[1].write_text("hello")], Level.CRITICAL, "web: cannot be read: "),
    ("a state of a newer version", [newer_state], Level.UNKNOWN, "web: cannot be read: "),
    ("a damaged memory is made again", [damage_state], Level.OK, r"1 keystore, next renew web in 5\d d"),
    ("pending", [lambda p: put(p, 70), lambda p: pending(p, DAY / 2)], Level.OK, "next poll web in 4 min"),
    ("pending for days", [lambda p: put(p, 70), lambda p: pending(p, 3 * DAY)], Level.WARNING, "not decided for 3 d"),
    (
        "pending for a tenth of a short life",
        [lambda p: put(p, 1.5, 2), lambda p: pending(p, DAY / 4)],
        Level.WARNING,
        "web: the CA has not decided for 6 h",
    ),
    (
        "a rollover staged",
        [lambda p: put(p, 1), lambda p: Rollover(p).stage()],
        Level.OK,
        r"renew web in 49 d|switch web",
    ),
    (
        "no next CA near the end",
        [lambda p: put(p, 1, 20), lambda p: Rollover(p, left=30)],
        Level.WARNING,
        "web: its CA expires in 29 d, and no next one is known",
    ),
    (
        "a next CA refused",
        [lambda p: put(p, 1), lambda p: Rollover(p).refuse()],
        Level.WARNING,
        "web: 1 attempt failed, 88 d left: nothing proves the next CA",
    ),
]


@pytest.mark.parametrize(
    ("steps", "level", "says"), [pytest.param(steps, level, says, id=name) for name, steps, level, says in SITUATIONS]
)
def test_one_keystore(
    place: Place, capsys: pytest.CaptureFixture[str], steps: list[Step], level: Level, says: str
) -> None:
    place.keystore.append('jitter: "0%"')
    for step in steps:
        step(place)
    place.configure()
    now = datetime.now(UTC)
    found, text = judged(take_snapshots(load_configuration(place.config), now=now, host="device"), now, PATIENCE)
    assert (found, bool(re.search(says.replace("corp / ", "corp . "), text))) == (level, True), text


def test_the_worst_decides_and_comes_first(place: Place) -> None:
    place.names = ("fine", "warned", "worst")
    for name, age in (("fine", 1), ("warned", 70), ("worst", 100)):
        place.put(certify(place.key, start=datetime.now(UTC) - age * DAY, lifetime=90 * DAY), name=name)
    done = place.run("health")
    assert done.returncode == 2
    assert re.match(r"CRITICAL - worst: expired 10 d ago; warned: renew is overdue by \d+ d", done.stdout)
    assert "fine" not in done.stdout


def test_what_many_share_is_said_once(place: Place) -> None:
    place.names = tuple(f"k{number}" for number in range(7))
    for name in place.names:
        fault = LastError(kind="transient", message="corp is down", hint="is it up?", at=datetime.now(UTC))
        place.remember(name, failures=1, retry_at=datetime.now(UTC) + DAY, last_error=fault)
    assert place.run("health").stdout.startswith(
        "WARNING - k0, k1, k2 and 4 others: 1 attempt failed: corp is down | keystores=7"
    )


def test_a_clock_that_is_not_set_is_unknown(place: Place) -> None:
    put(place, 1)
    place.configure()
    past = datetime(1970, 1, 1, tzinfo=UTC)
    taken = take_snapshots(load_configuration(place.config), now=past, host="device")
    assert judged(taken, past, PATIENCE)[0] is Level.UNKNOWN


# The command.

LINE = re.compile(r"(OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \| (\w+=\d+(s)?;;;0 ?)+)?\n")


def test_one_line_with_figures(place: Place) -> None:
    place.names = ("web", "vpn")
    place.put_living()
    place.put_living(name="vpn", days=1)
    device = Rollover(place)
    for name in place.names:
        device.stage(name)
    done = place.run("health")
    assert (done.returncode, done.stderr) == (0, "")
    assert LINE.fullmatch(done.stdout)
    assert re.search(r" \| keystores=2;;;0 failing=0;;;0 staged=2;;;0 least_left=\d{5}s;;;0$", done.stdout)


def test_an_error_s_text_does_not_break_the_line(place: Place) -> None:
    put(place, 70)
    fail(place)
    done = place.run("health")
    assert done.returncode == 1
    assert LINE.fullmatch(done.stdout)
    assert "corp / is down" in done.stdout


@pytest.mark.parametrize(
    ("spoil", "names", "says"),
    [
        pytest.param(lambda p: p.keystore.append("colour: blue"), (), "colour", id="a wrong configuration"),
        pytest.param(lambda p: None, ("wbe",), "there is no keystore 'wbe'", id="an unknown keystore"),
        pytest.param(newer_state, (), "written by a newer certagent", id="a state of a newer version"),
    ],
)
def test_what_cannot_be_known_is_3(place: Place, spoil: Step, names: tuple[str, ...], says: str) -> None:
    spoil(place)
    done = place.run("health", *names)
    assert (done.returncode, done.stderr) == (3, "")
    assert LINE.fullmatch(done.stdout)
    assert says in done.stdout
