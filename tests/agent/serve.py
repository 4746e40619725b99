"""The real agent, quicker than in life: argv is the configuration and the worker's argv.

A file `clock` beside the configuration holds the seconds by which its wall clock is off. GRACE in the environment
is what a worker that is to end gets, in seconds; without it, more than it needs.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certagent.agent import log, loop
from certagent.agent.clock import Clocks
from certagent.agent.schedule import Pace
from certagent.config.load import load_for_agent
from certagent.errors import CertagentError


def clock() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=float(offset.read_text()))


path = Path(sys.argv[1])
offset = path.with_name("clock")
pace = Pace(
    pulse=timedelta(seconds=0.1),
    clock_wait=timedelta(seconds=0.1),
    coalesce=timedelta(seconds=0.1),
    busy_again=timedelta(seconds=0.2),
    crash_again=timedelta(seconds=0.4),
    grace=timedelta(seconds=float(os.environ.get("GRACE", "60"))),
)
log.configure()
if offset.exists():
    asyncio.run(loop.Agent(path, load_for_agent(path), sys.argv[2:], pace, Clocks(clock)).serve())
else:
    try:
        raise SystemExit(loop.run(path, worker=sys.argv[2:], pace=pace))
    except CertagentError as error:
        raise SystemExit(f"{error}\n{error.hint}") from None
