"""What is foretold: named situations, and the events they lead to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from certagent.config.values import Fraction, Threshold
from certagent.policy import Action, Lifetime, Open, Past, Rules
from certagent.state import Ca, LastError
from certagent.status import forecast
from certagent.status.forecast import Event, What, events, horizon
from certagent.status.rollover import RolloverStatus, Shadow
from certagent.status.snapshot import InPlace, Snapshot
from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.transaction.next_step import Situation, assess, open_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
HALF = Rules(Threshold(passed=Fraction(0.5)), Fraction(0), 0, can_enroll=True, poll_interval=2 * DAY)
PAUSE = Past(9, NOW + DAY, "rejected")  # the longest there is


def life(begin: float, end: float, unit: timedelta = DAY) -> Lifetime:
    """From and to so many days (or others) after NOW."""
    return Lifetime(NOW + begin * unit, NOW + end * unit)


def ca(name: str, begin: float, end: float) -> Ca:
    return Ca(f"CN={name}", f"sha256:{name}", life(begin, end))


OLD, NEXT = ca("Old CA", -900, 100), ca("Next CA", 90, 1090)
BOTH_CAS = RolloverStatus(ca=OLD, next_ca=NEXT)


def snapshot(
    lifetime: Lifetime | None,
    *,
    rollover: RolloverStatus | None = None,
    preparation: Open | None = None,
    **situation: Any,
) -> Snapshot:
    """A keystore with a certificate of this lifetime, renewed after half of it, and nothing else going on."""
    certificate = InPlace("CN=web", "CN=CA", "0A", "rsa:2048", lifetime, NOW) if lifetime else None
    found = structs.replace(Situation(HALF, lifetime, rollover=preparation), **situation)
    return Snapshot(
        name="web",
        situation=found,
        assessment=assess(found, NOW),
        last_error=None,
        certificate=certificate,
        transaction=None,
        renew_at_note="",
        rollover=rollover,
    )


def open_in(it: Snapshot, transaction: Transaction) -> Snapshot:
    """The same with an open transaction."""
    found = structs.replace(it.situation, transaction=open_of(transaction))
    return replace(it, transaction=transaction, situation=found, assessment=assess(found, NOW))


def transaction(phase: Phase, poll_at: datetime | None = None) -> Transaction:
    return Transaction(
        id="t1",
        kind=Kind.RENEWAL,
        phase=phase,
        started_at=NOW,
        authority="corp",
        endpoint="http://corp.example",
        poll_at=poll_at,
    )


def under(rollover: RolloverStatus, lifetime: Lifetime | None = None, **situation: Any) -> Snapshot:
    """A fresh certificate of 40 days under its CA, whose window opens 30 days before the CA's end."""
    assert rollover.ca is not None
    window = Threshold(before_end=30 * DAY)  # type: ignore[arg-type] # a Duration is a timedelta with a parser
    defined = structs.replace(HALF, rollover_at=window)
    given = {"ca": rollover.ca.lifetime, "defined": defined, **situation}
    return snapshot(lifetime or life(0, 40), rollover=rollover, **given)


def staged(shadow: Lifetime, lifetime: Lifetime | None = None, **situation: Any) -> Snapshot:
    """Under the old CA, and a shadow under the next waits for the beginning of its life."""
    starts = shadow.not_before
    rollover = replace(BOTH_CAS, shadow=Shadow("0B", shadow), switch_at=starts, phase=Phase.ISSUED)
    return under(rollover, lifetime, preparation=Open(switch_at=starts), **situation)


def in_short(found: list[Event]) -> list[tuple[float, str]]:
    return [((each.at - NOW) / DAY, each.what.value) for each in found]


CASES: list[tuple[str, Snapshot, int, list[tuple[float, str]]]] = [
    ("renewals, one after the other", snapshot(life(0, 40)), 65, [(20, "renew"), (40, "renew"), (60, "renew")]),
    ("one that is due is renewed now", snapshot(life(-30, 10)), 10, [(0, "renew")]),
    ("an expired one too", snapshot(life(-50, -10)), 10, [(0, "renew")]),
    ("the first certificate, and who knows how long it lives", snapshot(None), 1000, [(0, "enroll")]),
    (
        "no subject or san to enroll with",
        snapshot(None, defined=structs.replace(HALF, can_enroll=False)),
        1000,
        [],
    ),
    (
        "what cannot be read expires",
        snapshot(life(-10, 30), readable=False),
        1000,
        [(30, "expires")],
    ),
    (
        "a failed attempt is made again after its pause",
        snapshot(life(-30, 10), past=PAUSE),
        25,
        [(1, "renew"), (21, "renew")],
    ),
    (
        "a pending request is for a person to decide",
        open_in(snapshot(life(-30, 10)), transaction(Phase.PENDING, NOW + DAY)),
        1000,
        [(1, "poll"), (10, "expires")],
    ),
    (
        "a transaction cut short goes on at once",
        open_in(snapshot(life(-30, 10)), transaction(Phase.REQUESTED)),
        20,
        [(0, "resume"), (20, "renew")],
    ),
    (
        "hooks that are owed",
        open_in(snapshot(life(0, 40)), transaction(Phase.ACTIVATED)),
        20,
        [(0, "hooks"), (20, "renew")],
    ),
    (
        "hooks owed to the identity that was put back",
        open_in(snapshot(life(0, 40)), transaction(Phase.REVERTED)),
        20,
        [(0, "resume"), (20, "renew")],
    ),
    (
        "hooks that failed, and a switch before they are run again",
        open_in(staged(life(0.5, 41), life(0, 40), past=PAUSE), transaction(Phase.ACTIVATED)),
        20,
        [(0.5, "switch")],
    ),
    (
        "no next CA yet: the certificates end with this one",
        under(RolloverStatus(ca=OLD)),
        1000,
        [(20, "renew"), (40, "renew"), (60, "renew"), (70, "rollover"), (100, "expires"), (100, "CA expires")],
    ),
    (
        "a known next CA: a shadow when the window opens, a switch, the window of that one",
        under(BOTH_CAS),
        115,
        [
            *[(20, "renew"), (40, "renew"), (60, "renew"), (70, "rollover")],
            *[(90, "switch"), (100, "CA expires"), (110, "renew")],
        ],
    ),
    (
        "staged, a renewal before the switch, the old CA leaves",
        staged(life(30, 70), life(0, 36)),
        60,
        [(18, "renew"), (30, "switch"), (50, "renew")],
    ),
    (
        "staged, and the switch comes before a renewal would be of use",
        staged(life(30, 70), life(0, 40)),
        60,
        [(30, "switch"), (50, "renew")],
    ),
    (
        "a shadow whose time has come takes over now, also over a renewal that is due",
        staged(life(-1, 39), life(-30, 10)),
        10,
        [(0, "switch")],
    ),
    (
        "a pending shadow",
        under(replace(BOTH_CAS, phase=Phase.PENDING), preparation=Open(poll_at=NOW + DAY)),
        20,
        [(1, "poll"), (20, "renew")],
    ),
    (
        "a refused next CA is asked for again after the pause",
        under(RolloverStatus(ca=replace(OLD, lifetime=life(-1000, 10))), rollover_past=PAUSE),
        5,
        [(1, "rollover")],
    ),
    (
        "the authority has changed its CA already: the renewal goes to the next",
        under(replace(BOTH_CAS, old=(OLD,)), ca=None),
        101,
        [(20, "renew"), (40, "renew"), (60, "renew"), (80, "renew"), (100, "renew"), (100, "CA expires")],
    ),
    (
        "CAs kept until their end",
        snapshot(life(0, 40), rollover=RolloverStatus(old=(ca("Older", -900, 5),))),
        10,
        [(5, "CA expires")],
    ),
]


@pytest.mark.parametrize(
    ("it", "days", "expected"), [pytest.param(it, days, expected, id=name) for name, it, days, expected in CASES]
)
def test_what_lies_ahead(it: Snapshot, days: float, expected: list[tuple[float, str]]) -> None:
    assert in_short(events([it], NOW + days * DAY, NOW)) == expected


@pytest.mark.parametrize(
    "it", [pytest.param(it, id=name) for name, it, _, _ in CASES if it.assessment.action is not None]
)
def test_the_first_step_is_the_worker_s_next(it: Snapshot) -> None:
    assert it.assessment.at is not None
    first = next(each for each in events([it], NOW + 1000 * DAY, NOW) if each.what.value in set(Action))
    assert (first.what.value, first.at) == (it.assessment.action, max(it.assessment.at, NOW))


def test_what_rests_on_certificates_to_come_is_marked() -> None:
    found = events([staged(life(90, 130))], NOW + 130 * DAY, NOW)
    marked = [(each.what, each.assumed) for each in found]
    assert marked[:2] == [(What.RENEW, False), (What.RENEW, True)]
    assert (What.SWITCH, False) in marked  # the shadow is there
    assert marked[-2:] == [(What.RENEW, False), (What.RENEW, True)]


@pytest.mark.parametrize(
    ("it", "detail"),
    [
        pytest.param(CASES[5][1], "with no next CA known", id="nothing follows"),
        pytest.param(under(RolloverStatus(ca=OLD)), "with its CA: a next CA is needed before then", id="with its CA"),
    ],
)
def test_an_end_that_somebody_should_prevent(it: Snapshot, detail: str) -> None:
    bad = [each for each in events([it], NOW + 1000 * DAY, NOW) if each.what is What.EXPIRES]
    assert [(each.detail, each.bad) for each in bad] == [(detail, True)]


def test_a_ca_left_behind_is_no_alarm() -> None:
    found = events([under(BOTH_CAS)], NOW + 115 * DAY, NOW)
    assert [(each.detail, each.bad) for each in found if each.what is What.CA_EXPIRES] == [
        ("CN=Old CA, no longer trusted", False)
    ]


def test_with_a_clock_that_is_not_set_nothing_is_foretold() -> None:
    past = datetime(1970, 1, 1, tzinfo=UTC)
    assert events([snapshot(life(0, 40))], NOW, past) == []


def test_many_short_lives_are_cut_short() -> None:
    found = events([snapshot(life(0, 40, SECOND))], NOW + 3650 * DAY, NOW)
    assert len(found) == forecast.LIMIT + 1
    assert found[-1].what is What.AND_SO_ON
    assert found[-1].detail == "every 20 s"


def test_keystores_are_told_in_the_order_of_time() -> None:
    several = [replace(snapshot(life(-day, 40)), name=f"k{day}") for day in (1, 9, 5)]
    assert [each.keystore for each in events(several, NOW + 20 * DAY, NOW)] == ["k9", "k5", "k1"]


HORIZONS: list[tuple[str, list[Snapshot], timedelta]] = [
    ("no certificate", [snapshot(None)], DAY),
    ("two lives of the longest", [snapshot(life(0, 40)), snapshot(life(0, 1))], 80 * DAY),
    ("a rollover in the distance", [under(RolloverStatus(ca=ca("CA", 0, 9000)))], 80 * DAY),
    ("a rollover that has begun", [under(BOTH_CAS)], 100 * DAY),
    (
        "one that was refused",
        [under(RolloverStatus(ca=OLD, last_error=LastError(kind="trust", message="", hint="", at=NOW)))],
        100 * DAY,
    ),
]


@pytest.mark.parametrize(("taken", "far"), [pytest.param(*rest, id=name) for name, *rest in HORIZONS])
def test_how_far_to_look(taken: list[Snapshot], far: timedelta) -> None:
    assert horizon(taken, NOW) == NOW + far


def test_a_certificate_without_an_end() -> None:
    for_ever = snapshot(Lifetime(NOW, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)))
    until = horizon([for_ever], NOW)
    assert [each.what for each in events([for_ever], until, NOW)][:2] == [What.RENEW, What.RENEW]


SECONDS = st.integers(min_value=1, max_value=50 * 365 * 86400)


@given(whole=SECONDS, age=SECONDS, ca_rest=SECONDS, overlap=SECONDS, until=SECONDS, share=st.floats(0.01, 0.99))
def test_any_lives_at_all(*, whole: int, age: int, ca_rest: int, overlap: int, until: int, share: float) -> None:
    """Seconds to decades: a bounded number of events, in order, none before now or after the end asked for."""
    now, end = NOW, NOW + until * SECOND
    certificate = Lifetime(now - age * SECOND, now + (whole - age) * SECOND)
    present = Ca("CN=A", "sha256:a", Lifetime(now - DAY, now + ca_rest * SECOND))
    following = Ca("CN=B", "sha256:b", Lifetime(now + (ca_rest - overlap) * SECOND, now + 2 * ca_rest * SECOND))
    defined = structs.replace(HALF, renew_at=Threshold(passed=Fraction(share)))
    for rollover in (RolloverStatus(ca=present), RolloverStatus(ca=present, next_ca=following)):
        it = snapshot(certificate, defined=defined, ca=present.lifetime, rollover=rollover)
        found = events([it], end, now)
        assert len(found) <= forecast.LIMIT + 4
        assert [each.at for each in found] == sorted(each.at for each in found)
        assert all(now <= each.at <= end for each in found)
        assert sum(each.what is What.SWITCH for each in found) <= 1
