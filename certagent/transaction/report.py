"""A worker's report: one line of JSON per keystore, written by `renew --report json` and read by its caller.

The agent reads it too, so no cryptography is loaded here.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from certagent.moments import Moment
from certagent.policy import Action, Condition
from certagent.text import with_hint


class Result(StrEnum):
    """The result of an attempt."""

    ENROLLED = "enrolled"
    RENEWED = "renewed"
    ROLLED_OVER = "rolled over"
    TRUSTED = "trusted"  # only ca_file was brought up to date
    ADJUSTED = "adjusted"  # the files were brought in line with the definition; the certificate is the same
    PUT_BACK = "put back"  # the old pair is in place again: its successor is not valid
    IN_PLACE = "in place"  # but hooks are owed that run once for several keystores; another line follows
    PENDING = "pending"  # somebody has to decide at the CA
    NOTHING = "nothing"  # nothing was due
    WAITING = "waiting"  # the clock is not set, the successor is not valid yet, or the hour has not come
    STOPPED = "stopped"  # asked to stop; goes on next time
    BUSY = "busy"  # another process is working on it
    FAILED = "failed"


class Outcome(msgspec.Struct, frozen=True):
    """One keystore's line of the report. `state` and the next step are null if nobody could look."""

    keystore: str
    result: Result
    state: Condition | None = None
    next_action: Action | None = None
    next_action_at: Moment | None = None
    message: str | None = None
    hint: str | None = None
    hooks_owed: bool = False
    """Set if the attempt failed: its files are already in place, and the hooks that failed will run again."""


def words(outcome: Outcome) -> str:
    """The report for a person: `renewed`; for a failure also why, and what to do."""
    told = with_hint(outcome.message, outcome.hint) if outcome.message else ""
    return told if outcome.hooks_owed and told else ": ".join(filter(None, (outcome.result.value, told)))


def encode(outcome: Outcome) -> bytes:
    """The line, without its newline; times in whole seconds, as everywhere."""
    if outcome.next_action_at is not None:
        outcome = msgspec.structs.replace(outcome, next_action_at=outcome.next_action_at.replace(microsecond=0))
    return msgspec.json.encode(outcome)


def decode(line: bytes) -> Outcome | None:
    """None for a line that is not a report: a worker's output may hold whatever a module or a hook printed."""
    try:
        return msgspec.json.decode(line, type=Outcome)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
