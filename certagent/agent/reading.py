"""Reading the configuration in its own process: ten thousand definitions take seconds, in which the loop answers the
watchdog and its workers, and much memory, which is free again when that process ends.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from certagent.agent.worker_process import environment
from certagent.config.served import Refused, Served
from certagent.errors import CertagentError, ConfigError

# Ten times what ten thousand definitions need on a slow router; do not wait longer for a file system that hangs.
LIMIT = 600.0


def read(config_path: Path) -> Served:
    """Raises ConfigError as `load_configuration` does, and CertagentError if the process itself failed."""
    words = ("-c", str(config_path), "run", "--definitions-to-stdout")
    try:
        done = subprocess.run(
            (sys.executable, "-m", "certagent", *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment(),
            timeout=LIMIT,
            check=False,
        )
    except OSError as error:
        raise _unread(config_path, f"{sys.executable}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise _unread(config_path, f"reading it took longer than {LIMIT:g} s") from None
    if done.returncode:
        code = done.returncode
        ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited {code}"
        raise _unread(config_path, f"the process that reads it {ended}")
    try:
        found = msgspec.msgpack.decode(done.stdout, type=Served | Refused)
    except msgspec.DecodeError:
        raise _unread(config_path, "another version of certagent has been installed since the agent started") from None
    if isinstance(found, Refused):
        raise ConfigError(found.message, found.hint, found.problems)
    return found


def _unread(config_path: Path, why: str) -> CertagentError:
    return CertagentError(f"{config_path} could not be read: {why}", "restart the agent; the log may have details")
