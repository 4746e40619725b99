"""How certagent logs: stdlib logging to stderr, one line per event, the keystore's name in front.

Under systemd a line starts with its priority (`<3>web: …`, sd-daemon(3)) and the journal adds the time;
anywhere else it starts with the time in UTC. A worker inherits the agent's stderr and environment, so
both come out alike.
"""

from __future__ import annotations

import logging
import os
import sys
import time

from certagent.errors import CertagentError, ConfigError
from certagent.text import ISO, printable

log = logging.getLogger(__name__)

_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


class _Lines(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self, *, journal: bool) -> None:
        super().__init__("%(message)s" if journal else "%(asctime)s %(message)s", ISO)
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        record.msg, record.args = printable(record.getMessage()), None
        lines = super().format(record)
        if not self._journal:
            return lines
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in lines.split("\n"))  # a traceback keeps its priority


def configure(level: int = logging.INFO) -> None:
    """Send log records of `level` and above to stderr. May be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(journal="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.raiseExceptions = False  # a full disk below the log: a traceback about it helps nobody
    logging.getLogger("apscheduler").setLevel(max(level, logging.WARNING))  # else a line per job


def log_error(where: str, error: CertagentError) -> None:
    """An error in as many lines as it has: what is wrong, each fault of a configuration, what to do."""
    log.error("%s%s", where, error)
    for problem in error.problems if isinstance(error, ConfigError) else ():
        log.error("%s%s", where, problem)
    if error.hint:
        log.error("%shint: %s", where, error.hint)
