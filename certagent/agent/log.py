"""How certagent logs: stdlib logging to stderr, one line per event, which begins with the keystore's name.

If stderr goes to the journal, each line is sent there with its priority, and with its keystore as a field
(`CERTAGENT_KEYSTORE`). Otherwise, a line begins with its priority under systemd (`<3>web: …`, sd-daemon(3)), and with
the time in UTC anywhere else. What workers write is logged the same way.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from typing import TextIO

from certagent import journald
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
        return "\n".join(prefix + line for line in lines.split("\n"))  # so that a traceback keeps its priority


class _Handler(logging.StreamHandler[TextIO]):
    """To the journal with fields, or to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        if journald.is_journal(2):
            text = printable(record.getMessage())
            if record.exc_info and record.exc_info[1]:
                text += "\n" + "".join(traceback.format_exception(record.exc_info[1])).rstrip()
            if journald.send(text, _PRIORITIES.get(record.levelno, 6), getattr(record, "keystore", "")):
                return
        super().emit(record)


def about(keystore: str) -> dict[str, str]:
    """For `extra=`: the keystore that a line is about."""
    return {"keystore": keystore}


def configure(level: int = logging.INFO) -> None:
    """Send log records of `level` and above to stderr. May be called again."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Lines(journal="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.raiseExceptions = False  # the log's disk is full: a traceback about that helps nobody
    logging.getLogger("apscheduler").setLevel(max(level, logging.WARNING))  # otherwise it logs a line per job


def log_error(where: str, error: CertagentError, keystore: str = "") -> None:
    """Log an error in all its lines: what is wrong, each fault of a configuration, what to do."""
    log.error("%s%s", where, error, extra=about(keystore))
    for problem in error.problems if isinstance(error, ConfigError) else ():
        log.error("%s%s", where, problem, extra=about(keystore))
    if error.hint:
        log.error("%shint: %s", where, error.hint, extra=about(keystore))
