"""`certagent run`: starts the agent; or prints what the agent needs to know of the configuration, because the agent
itself does not load all the code that reads one.
"""

from __future__ import annotations

import argparse
import sys

from certagent.errors import ConfigError
from certagent.uncollected import collect_what_loading_left

# Each function imports what its own process needs.


def run(arguments: argparse.Namespace) -> int:
    if arguments.definitions_to_stdout:
        return _tell_the_agent(arguments)
    from certagent.agent import loop  # noqa: PLC0415

    collect_what_loading_left()
    return loop.run(arguments.config, verbose=arguments.verbose)


def _tell_the_agent(arguments: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415

    from certagent.config.load import load_for_agent  # noqa: PLC0415
    from certagent.config.served import Refused, Served  # noqa: PLC0415

    found: Served | Refused
    try:
        found = load_for_agent(arguments.config)
    except ConfigError as error:
        found = Refused(str(error), error.hint, error.problems)
    sys.stdout.buffer.write(msgspec.msgpack.encode(found))
    sys.stdout.buffer.flush()
    return 0
