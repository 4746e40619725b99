"""`certagent demo`: a lab CA, the agent and a TLS service, each in its own process, and a view of all three.

Everything is real except the lifetimes: certificates live for seconds. Like the agent with its workers, the
demo starts processes itself (processes.py); it learns what they do only from what anybody could see.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`certagent demo [--dir D]`."""
    parser.add_argument("--dir", type=Path, help="an empty or new directory for its files (default: a temporary one)")


def run(arguments: argparse.Namespace) -> int:
    """Play the demo; 0 if everything really happened. Raises ConfigError, DemoError."""
    # The TLS service is in this package too, and starts without cryptography and rich.
    from certagent.demo.play import play  # noqa: PLC0415 -- hence not at the top

    return play(arguments.dir)
