"""`certagent renew`. Where `--due` finds nothing due, it tells what the last look left, and loads no cryptography.

Only the keystores that may not be left alone (cli/at_rest.py) are looked at as always.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from certagent.cli.reported import tell
from certagent.config.load import load_for_agent
from certagent.uncollected import loading


def renew(arguments: argparse.Namespace) -> int:
    handed = arguments.definitions_from_stdin or arguments.only_metrics  # the agent has looked already
    if arguments.due and not (handed or arguments.dry_run or arguments.finish):
        from certagent.cli import at_rest  # noqa: PLC0415 -- --force does not ask

        served, now = load_for_agent(arguments.config), datetime.now(UTC)
        names = list(dict.fromkeys(arguments.names)) or list(served.keystores)
        left_alone = at_rest.outcomes(served, names, now)
        for outcome in left_alone.values():
            tell(outcome, arguments)
        rest = [name for name in names if name not in left_alone]
        if left_alone and not rest:
            return 0
        arguments.names = rest if left_alone else arguments.names
    with loading():
        from certagent.cli import renew as work  # noqa: PLC0415 -- loads all that a renewal needs

    return work.renew(arguments)
