"""A worker as the contract has it, which each keystore's file in the `behaviour` directory tells what to do.

argv: BEHAVIOUR_DIRECTORY STATE_DIRECTORY NAME... It notes in BEHAVIOUR_DIRECTORY/journal what it did, and when.
Words: `renew [SECONDS]` (due again after), `fail [SECONDS]`, `busy`, `mute` (writes no state, reports no time), `hang`,
`deaf` (hangs, and ignores SIGTERM), `crash`, `log LINE`, `slow [SECONDS]`, `flood` (a megabyte of garbage on both
outputs first), `orphan` (a daemon, as a careless hook may start it, keeps the outputs open), `placed` (in place at
once, done when all others are through).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from certagent import state
from certagent.policy import Action, Condition
from certagent.transaction.report import Outcome, Result, encode


def note(**what: Any) -> None:
    line = json.dumps({"pid": os.getpid(), "at": time.monotonic(), **what}) + "\n"
    with (behaviour / "journal").open("a") as file:
        file.write(line)


def report(name: str, result: Result, when: datetime | None) -> None:
    """Of a keystore that nobody could look at, nothing else is known."""
    busy = result is Result.BUSY
    outcome = Outcome(name, result, None if busy else Condition.VALID, None if busy else Action.RENEW, when)
    print(encode(outcome).decode(), flush=True)


def serve(name: str) -> None:
    path = behaviour / name
    word, _, argument = (path.read_text().strip() if path.exists() else "renew").partition(" ")
    note(begin=name)
    match word:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "busy" | "mute":
            report(name, Result.BUSY if word == "busy" else Result.NOTHING, None)
            return
        case "hang" | "deaf":
            hang(deaf=word == "deaf")
        case "flood":
            sys.stderr.write("garbage without end " * 50_000)
            sys.stdout.write("garbage without end " * 50_000 + "\n{}\nnull\n")
        case "placed":
            report(name, Result.IN_PLACE, None)
            placed.append(name)
            return
        case "log":
            print(argument, file=sys.stderr, flush=True)
            argument = ""
        case "slow":
            time.sleep(float(argument))
            argument = ""
        case "orphan":
            note(orphan=name, pid=subprocess.Popen(["sleep", "1000"]).pid)
    when = datetime.now(UTC) + timedelta(seconds=float(argument or 1_000_000))
    conclude(name, Result.FAILED if word == "fail" else Result.RENEWED, when)


def conclude(name: str, result: Result, when: datetime) -> None:
    watched = state.watch([behaviour.parent / f"{name}.pem"])
    state.save(states / name, state.State(next_action="renew", next_action_at=when, watched=watched))
    report(name, result, when)
    note(end=name)


def hang(*, deaf: bool) -> None:
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def terminated(number: int, frame: FrameType | None) -> None:
    """The keystore in progress came to a durable point; the rest is left alone."""
    note(end="SIGTERM")
    report(current, Result.STOPPED, None)
    raise SystemExit(0)


current = ""
placed: list[str] = []
behaviour = Path(sys.argv[1])
states = Path(sys.argv[2]) / "keystores"
signal.signal(signal.SIGTERM, terminated)
note(start=sys.argv[3:], environment=sorted(os.environ))
for current in sys.argv[3:]:
    serve(current)
for current in placed:
    conclude(current, Result.RENEWED, datetime.now(UTC) + timedelta(days=1))
