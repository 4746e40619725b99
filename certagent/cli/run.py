"""`certagent run`: hand over to the agent."""

from __future__ import annotations

import argparse

from certagent.agent import loop


def run(arguments: argparse.Namespace) -> int:
    return loop.run(arguments.config)
