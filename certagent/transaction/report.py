"""A worker's report: one line of JSON per keystore, written by `renew --report json` and read by whoever started it.

The agent reads it too, so no cryptography is loaded here.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from certagent.moments import Moment
from certagent.policy import Action, Condition
from certagent.text import with_hint


class Result(StrEnum):
    """What an attempt came to."""

    ENROLLED = "enrolled"
    RENEWED = "renewed"
    ROLLED_OVER = "rolled over"
    TRUSTED = "trusted"  # ca_file alone was brought up to date
    ADJUSTED = "adjusted"  # the files were brought in line with the definition; the certificate is the same
    PUT_BACK = "put back"  # what was there before is in place again: what followed it is not valid
    IN_PLACE = "in place"  # but hooks that are run once for several keystores are owed; another line follows
    PENDING = "pending"  # the CA wants a person
    NOTHING = "nothing"  # nothing was due
    WAITING = "waiting"  # the clock is not set, the successor is not valid yet, or it is not the hour
    STOPPED = "stopped"  # asked to stop; goes on next time
    BUSY = "busy"  # somebody else is at it
    FAILED = "failed"


class Outcome(msgspec.Struct, frozen=True):
    """One keystore's line of the report. `state` and what comes next are null where nobody could look."""

    keystore: str
    result: Result
    state: Condition | None = None
    next_action: Action | None = None
    next_action_at: Moment | None = None
    message: str | None = None
    hint: str | None = None
    hooks_owed: bool = False
    """Of one that failed: what it was to put in place is there, and hooks that failed are run again."""


def words(outcome: Outcome) -> str:
    """The report for a person: `renewed`; of a failure also why, and what to do."""
    told = with_hint(outcome.message, outcome.hint) if outcome.message else ""
    return told if outcome.hooks_owed and told else ": ".join(filter(None, (outcome.result.value, told)))


def encode(outcome: Outcome) -> bytes:
    """The line, without its end; times to the second, as everywhere."""
    if outcome.next_action_at is not None:
        outcome = msgspec.structs.replace(outcome, next_action_at=outcome.next_action_at.replace(microsecond=0))
    return msgspec.json.encode(outcome)


def decode(line: bytes) -> Outcome | None:
    """None for a line that is no report: a worker's output may hold whatever a module or a hook printed."""
    try:
        return msgspec.json.decode(line, type=Outcome)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
