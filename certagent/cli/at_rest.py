"""Which keystores `renew --due` may leave alone: nothing of theirs is due, and all is as at the last look.

A timer asks every hour, and nearly always nothing is due. The agent's own rule answers (agent/schedule.py), and no
cryptography is loaded.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from certagent import believed, wall_clock
from certagent.agent import schedule
from certagent.agent.sights import Sights
from certagent.config.served import Served
from certagent.errors import StateError
from certagent.policy import Action
from certagent.state_directory import StateDirectory
from certagent.transaction.journal import open_transactions
from certagent.transaction.report import Outcome, Result


def outcomes(served: Served, names: list[str], now: datetime) -> dict[str, Outcome]:
    """The outcomes of those that need no look; none if there is something to do besides."""
    state_dir = Path(served.state_dir)
    if served.crls or served.writes_metrics or not served.keystores.keys() >= set(names):
        return {}
    try:
        _check(state_dir, served, names)
        strays = open_transactions(state_dir, apart_from=served.keystores)
    except StateError:  # it is reported in its place
        return {}
    if strays or wall_clock.look(state_dir, now, believed=False) is not None:
        return {}
    sights = Sights(state_dir)
    sights.begin(served.authorities)
    found = {}
    for name in names:
        look = sights.of(name, served.keystores[name])
        if look is not None and look.known.next_action is not None and schedule.is_quiet(look, now):
            known = look.known
            found[name] = Outcome(
                name, Result.NOTHING, known.condition, Action(str(known.next_action)), known.next_action_at
            )
    return found


def _check(state_dir: Path, served: Served, names: list[str]) -> None:
    """Whether the memory can be trusted. Raises StateError."""
    place = StateDirectory(state_dir)
    believed.check_state(state_dir)
    for name in names:
        believed.check_state(place.keystore(name).path, deep=True)
    for authority in served.authorities:
        believed.check_state(place.authority(authority.name), deep=True)
