"""What a command costs the host: CPU and memory of its process, as the kernel counts them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cost import unit
from tests.waiting import PATIENCE

# Its own process between: after fork and exec a child's highest memory begins with its parent's, and pytest's is large.
_LAUNCHER = """
import json, os, sys
report, *words = sys.argv[1:]
child = os.posix_spawn(words[0], words, os.environ)
_, status, usage = os.wait4(child, 0)
with open(report, "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss], file)
"""
SECOND = 50  # units of tests.cost: about a second's work
MEMORY = 32 * 1024  # KiB


@dataclass(frozen=True)
class Measured:
    """`cpu` in units of `tests.cost`, `memory` in KiB."""

    returncode: int
    output: str
    cpu: float
    memory: int


def measured(words: Sequence[str | Path], report: Path) -> Measured:
    """One run of `certagent WORDS`."""
    argv = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report)]
    argv += [sys.executable, "-m", "certagent", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=True)
    code, seconds, memory = json.loads(report.read_text())
    return Measured(code, done.stdout + done.stderr, seconds / unit(), memory)
