"""The power goes: every disk that a cut may leave of the recorded run is handed to `recover` and the next run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tests.torture import judge, tree
from tests.torture.calls import Call, unescaped
from tests.torture.device import OUTSIDE
from tests.torture.effects import run_of
from tests.torture.session import Session

# Of one moment; where more may be left, so many are taken by chance.
MOST = 64


@dataclass(frozen=True)
class Remains:
    """One disk. `asked`: how many requests the CA had by then; `ways`: in how many ways it may come about."""

    state: tree.Tree
    asked: int
    ways: int
    name: str


def remains(session: Session, seed: int, most: int = MOST) -> list[Remains]:
    """Every disk that differs from the others, in the order of the moments at which it first may be left."""
    run = run_of(str(session.device.root), session.before, session.recorded.calls, OUTSIDE)
    asks = [at for at, call in enumerate(session.recorded.calls) if _asks(call)]
    found: dict[object, Remains] = {}
    for moment, at in enumerate(_moments(session, asks)):
        asked = sum(each <= at for each in asks)
        for number, state in enumerate(run.states(at, most, Random(f"{seed} {moment}"))):
            key = tuple(state.items()), asked
            known = found.get(key)
            ways, name = (known.ways + 1, known.name) if known else (1, f"{moment}.{number}")
            found[key] = Remains(state, asked, ways, name)
    return list(found.values())


def _moments(session: Session, asks: Sequence[int]) -> Iterator[int]:
    """After each call that concerns the device, before the first, and after each request."""
    for at, call in enumerate(session.recorded.calls):
        if at in asks or (session.concerns(call) and call.changes()):
            yield from (at - 1, at) if at in asks else (at,)


def _asks(call: Call) -> bool:
    return call.name.startswith("send") and b"PKIOperation" in b"".join(
        unescaped(part) for part in call.arguments if part.startswith('"')
    )


def torture(session: Session, left: Remains) -> list[str]:
    """What is wrong after the power came back to that disk."""
    attempt = session.begin(left.state, certificates=min(left.asked, session.certificates))
    wrong = judge.recovered(attempt, session.reference)
    return wrong + judge.ended_well(attempt, session.reference)
