"""How a keystore is, and what a worker does next: one table for everybody who acts on it or shows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from certagent.config.values import Fraction, Threshold
from certagent.policy import Lifetime, Open, Past, Rules
from certagent.state import State
from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.transaction.next_step import Assessment, Situation, assess, open_of, rollover_of, somebody_changed

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HALF = Rules(Threshold(passed=Fraction(0.5)), Fraction(0), 0, can_enroll=True, poll_interval=2 * DAY)
CA_OF_YEARS, CA_AT_ITS_END = Lifetime(NOW - 900 * DAY, NOW + 9000 * DAY), Lifetime(NOW - 900 * DAY, NOW + 60 * DAY)


def transaction(kind: Kind, phase: Phase, **fields: Any) -> Transaction:
    given = {"id": "t1", "authority": "corp", "endpoint": "http://ca.example", "started_at": NOW - DAY, **fields}
    return Transaction(kind=kind, phase=phase, **given)


def opened(kind: Kind, phase: Phase, **fields: Any) -> Open | None:
    return open_of(transaction(kind, phase, **fields))


def at(begin: float, end: float, **more: Any) -> Situation:
    """A certificate from and to so many days after NOW, renewed after half of its life."""
    return structs.replace(Situation(HALF, Lifetime(NOW + begin * DAY, NOW + end * DAY), CA_OF_YEARS), **more)


def staged(switch: float) -> Open | None:
    return rollover_of(transaction(Kind.ROLLOVER, Phase.ISSUED, switch_at=NOW + switch * DAY))


def failing(days: float) -> Past:
    """Refused again and again: the longest pause is a day."""
    return Past(9, NOW + days * DAY, "rejected")


HOOKS_OWED = opened(Kind.RENEWAL, Phase.ACTIVATED)
PUT_BACK = opened(Kind.RENEWAL, Phase.REVERTED)
SWITCHING = opened(Kind.ROLLOVER, Phase.ACTIVATED)
POLLING = opened(Kind.RENEWAL, Phase.PENDING, poll_at=NOW + 2 * DAY)
ROLLOVER_POLLING = rollover_of(transaction(Kind.ROLLOVER, Phase.PENDING, poll_at=NOW + DAY / 2))
ROLLOVER_CUT_SHORT = rollover_of(transaction(Kind.ROLLOVER, Phase.REQUESTED))

CASES: list[tuple[str, Situation, str]] = [
    # The identity alone.
    ("no certificate", Situation(HALF), "missing: enroll now"),
    ("no certificate, no subject", Situation(structs.replace(HALF, can_enroll=False)), "missing: nothing"),
    ("a fresh certificate", at(-10, 90), "valid: renew in 40"),
    ("past the threshold", at(-60, 40), "due: renew since 10"),
    ("past its end", at(-60, -1), "expired: renew since 30.5"),
    ("after a failure, until its pause is over", at(-60, 40, past=failing(1)), "failed: renew in 1"),
    ("what cannot be read is looked at again", at(-60, 40, past=failing(1), readable=False), "failed: nothing in 1"),
    ("a transaction cut short", at(-60, 40, transaction=opened(Kind.RENEWAL, Phase.ISSUED)), "due: resume now"),
    ("the CA has not decided", at(-60, 40, transaction=POLLING), "pending: poll in 2"),
    ("hooks owed", at(-10, 90, transaction=HOOKS_OWED), "valid: hooks now"),
    ("hooks owed, and a renewal due again", at(-60, 40, transaction=HOOKS_OWED), "due: renew since 10"),
    # The rollover beside it.
    ("the CA expires soon", at(-10, 30, ca=CA_AT_ITS_END), "valid: rollover since 132, of the rollover"),
    ("a shadow waits, and a renewal comes before", at(-10, 90, rollover=staged(80)), "staged: renew in 40"),
    (
        "a shadow waits, and comes before a renewal",
        at(-10, 90, rollover=staged(20)),
        "staged: switch in 20, of the rollover",
    ),
    (
        "a switch that is due, over a renewal that is",
        at(-60, 40, rollover=staged(-1)),
        "staged: switch since 1, of the rollover",
    ),
    ("the next CA has not decided", at(-10, 90, rollover=ROLLOVER_POLLING), "valid: poll in 0.5, of the rollover"),
    ("a preparation cut short", at(-10, 90, rollover=ROLLOVER_CUT_SHORT), "valid: resume now, of the rollover"),
    (
        "a refused next CA, until its pause is over",
        at(-10, 30, ca=CA_AT_ITS_END, rollover_past=failing(1)),
        "failed: rollover in 1, of the rollover",
    ),
    # Both at once: an open transaction does not stop the rollover, and a switch supersedes it.
    ("hooks owed, and a shadow waits", at(-10, 90, transaction=HOOKS_OWED, rollover=staged(20)), "staged: hooks now"),
    (
        "hooks owed, and a switch due",
        at(-10, 90, transaction=HOOKS_OWED, rollover=staged(-1)),
        "staged: switch since 1, of the rollover",
    ),
    (
        "hooks that failed, and a switch before they are run again",
        at(-10, 90, transaction=HOOKS_OWED, rollover=staged(0.5), past=failing(1)),
        "failed: switch in 0.5, of the rollover",
    ),
    (
        "the CA has not decided, and a switch comes before it is asked again",
        at(-60, 40, transaction=POLLING, rollover=staged(1)),
        "pending: switch in 1, of the rollover",
    ),
    (
        "neither CA has decided, and the next one is asked first",
        at(-60, 40, transaction=POLLING, rollover=ROLLOVER_POLLING),
        "pending: poll in 0.5, of the rollover",
    ),
    (
        "the CA has not decided, and its end is near",
        at(-10, 30, ca=CA_AT_ITS_END, transaction=POLLING),
        "pending: rollover since 132, of the rollover",
    ),
    # The two that stop it.
    (
        "the old identity put back: its hooks come before a switch",
        at(-10, 90, transaction=PUT_BACK, rollover=staged(-1)),
        "staged: resume now",
    ),
    (
        "the old identity put back, its hooks failed: the next CA is asked meanwhile",
        at(-10, 90, transaction=PUT_BACK, rollover=ROLLOVER_POLLING, past=failing(1)),
        "failed: poll in 0.5, of the rollover",
    ),
    ("hooks owed after a switch", at(-10, 30, ca=CA_AT_ITS_END, transaction=SWITCHING), "valid: hooks now"),
]


def in_short(found: Assessment) -> str:
    days = None if found.at is None else (found.at - NOW) / DAY
    moment = "" if days is None else " now" if days == 0 else f" in {days:g}" if days > 0 else f" since {-days:g}"
    mine = ", of the rollover" if found.of_rollover else ""
    return f"{found.condition}: {found.action or 'nothing'}{moment}{mine}"


@pytest.mark.parametrize(("situation", "expected"), [pytest.param(*rest, id=name) for name, *rest in CASES])
def test_condition_and_next_step(situation: Situation, expected: str) -> None:
    assert in_short(assess(situation, NOW)) == expected


@pytest.mark.parametrize("situation", [pytest.param(situation, id=name) for name, situation, _ in CASES])
def test_with_a_clock_that_is_not_set_nothing_comes_next(situation: Situation) -> None:
    assert assess(situation, datetime(1970, 1, 1, tzinfo=UTC)).action is None


MEMORY = State(definition="ab", watched={"/etc/web.pem": "1.2.3"})


@pytest.mark.parametrize(
    ("digest", "watched", "changed"),
    [
        pytest.param("ab", {"/etc/web.pem": "1.2.3"}, False, id="nothing"),
        pytest.param("cd", {"/etc/web.pem": "1.2.3"}, True, id="the definition"),
        pytest.param("ab", {"/etc/web.pem": "1.2.4"}, True, id="a file"),
        pytest.param("ab", {}, True, id="which files there are"),
    ],
)
def test_what_ends_the_pause_after_a_failure(digest: str, watched: dict[str, str], *, changed: bool) -> None:
    assert somebody_changed(MEMORY, digest, watched) == changed
