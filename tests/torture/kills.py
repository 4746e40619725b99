"""The plug is pulled: certagent is killed ahead of each call by which it changes anything."""

from __future__ import annotations

from tests.torture import calls, judge
from tests.torture.calls import Point
from tests.torture.session import Session


def points(session: Session) -> list[Point]:
    """Every call by which the command changes a file of the device, or sends anything."""
    return [
        Point(call.name, call.nth)
        for call in session.reachable()
        if call.changes() and (call.name in calls.NETWORK or session.concerns(call))
    ]


def torture(session: Session, point: Point) -> list[str]:
    """What is wrong after a kill at that point."""
    attempt = session.begin()
    _, hit = calls.injected(session.device, session.flow.command, point, "signal=KILL", session.enough)
    session.flow.salvage(session.device)
    wrong = judge.recovered(attempt, session.reference)
    wrong += judge.ended_well(attempt, session.reference)
    return [hit, *wrong] if wrong else []
