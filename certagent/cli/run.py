"""`certagent run`: hand over to the agent."""

from __future__ import annotations

import argparse

from certagent import agent


def run(arguments: argparse.Namespace) -> int:
    return agent.run(arguments.config)
