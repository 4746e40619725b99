"""A worker's report on the terminal: a line for people, or JSON. No cryptography is loaded here."""

from __future__ import annotations

import argparse
import sys

from certagent.cli import streams
from certagent.journald import ERROR, INFO
from certagent.text import iso
from certagent.transaction import report
from certagent.transaction.report import Outcome, Result


def as_json(arguments: argparse.Namespace) -> bool:
    return bool(arguments.json or arguments.report == "json")


def tell(outcome: Outcome, arguments: argparse.Namespace) -> None:
    """The line, unless the options ask for less."""
    if as_json(arguments) or _is_told(outcome, quiet=arguments.quiet):
        tell_always(outcome, arguments)


def tell_always(outcome: Outcome, arguments: argparse.Namespace) -> None:
    """The line, whatever else the options ask for."""
    if as_json(arguments):
        streams.say(report.encode(outcome).decode(), sys.stdout)
    else:
        _tell_people(outcome)


def _is_told(outcome: Outcome, *, quiet: bool) -> bool:
    if outcome.result is Result.IN_PLACE:
        return False
    return not quiet or outcome.result in (Result.FAILED, Result.BUSY)


def _tell_people(outcome: Outcome) -> None:
    """One line for people."""
    line = f"{outcome.keystore}: {report.words(outcome)}"
    if outcome.next_action is not None and outcome.next_action_at is not None:
        line += f", next {outcome.next_action} at {iso(outcome.next_action_at)}"
    stream = sys.stderr if outcome.result in (Result.FAILED, Result.STOPPED) else sys.stdout
    streams.say(line, stream, outcome.keystore, ERROR if outcome.result is Result.FAILED else INFO)
