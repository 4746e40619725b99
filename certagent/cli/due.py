"""`certagent renew`. Where `--due` finds nothing due, it tells what the last look left, and loads no cryptography.

A timer runs it every hour, and nearly always nothing is due. The agent's own rule says which keystores may be left
alone (agent/schedule.py); all others are looked at as always.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from certagent import believed, wall_clock
from certagent.agent import schedule
from certagent.agent.sights import Sights
from certagent.cli.reported import tell
from certagent.config.load import load_for_agent
from certagent.config.served import Served
from certagent.errors import StateError
from certagent.policy import Action
from certagent.state_directory import StateDirectory
from certagent.transaction.journal import open_transactions
from certagent.transaction.report import Outcome, Result
from certagent.uncollected import loading


def renew(arguments: argparse.Namespace) -> int:
    handed = arguments.definitions_from_stdin or arguments.only_metrics  # the agent has looked already
    if arguments.due and not (handed or arguments.dry_run or arguments.finish):
        served, now = load_for_agent(arguments.config), datetime.now(UTC)
        names = list(dict.fromkeys(arguments.names)) or list(served.keystores)
        quiet = _quiet(served, names, now)
        for outcome in quiet.values():
            tell(outcome, arguments)
        rest = [name for name in names if name not in quiet]
        if quiet and not rest:
            return 0
        arguments.names = rest if quiet else arguments.names
    with loading():
        from certagent.cli import renew as work  # noqa: PLC0415 -- loads all that a renewal needs

    return work.renew(arguments)


def _quiet(served: Served, names: list[str], now: datetime) -> dict[str, Outcome]:
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
