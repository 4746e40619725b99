"""What a process costs, as the kernel counts: CPU of it and all it started, fsyncs. No clock on the wall.

On a shared machine single figures say little, so whatever is compared is measured in turn, in one run.
"""

from __future__ import annotations

import atexit
import functools
import math
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

HOME = Path(__file__).parents[1]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOME), "HOME": os.environ.get("HOME", "/")}
TICKS = os.sysconf("SC_CLK_TCK")
Argv = Sequence[str | Path]
_SYNCS = "fsync,fdatasync,sync_file_range,syncfs,sync"


@functools.cache
def python() -> str:
    """This Python with these libraries, as a user has them: in a venv for development, each start of Python costs more,
    because `pip install --editable` hooks into it.
    """
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place)
    venv.create(place, symlinks=True)
    [packages] = place.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return str(place / "bin/python")


def cost(argv: Argv, directory: Path) -> float:
    """ms of CPU of a command and all it started. Raises SystemExit, with what it printed, if it fails."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(argv, cwd=directory, env=ENVIRONMENT, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{argv[0]} exited with {process.returncode}: {output.read().decode()[-2000:]}")
    return (usage.ru_utime + usage.ru_stime) * 1000


def cpu_of(process: int) -> tuple[float, float]:
    """Seconds of CPU of a process, and of its ended children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / TICKS, sum(map(int, fields[13:15])) / TICKS


def children_of(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def in_turn(
    runs: int, actions: Mapping[str, Callable[[], float]], *, of: Callable[[Sequence[float]], float] = min
) -> dict[str, float]:
    """The least of each, measured one after the other, round after round: what disturbs a process only adds to it.

    `of`: what is taken of the rounds instead, where chance has a part in the cost.
    """
    seen: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(runs):
        for name, action in actions.items():
            seen[name].append(action())
    return {name: of(figures) for name, figures in seen.items()}


def fsyncs(argv: Argv, directory: Path) -> int:
    """How often a command waits for the disk, as strace counts."""
    trace = directory / "trace"
    traced = ["strace", "-f", "-qq", "-o", trace, "-e", f"trace={_SYNCS}", *argv]
    subprocess.run(traced, cwd=directory, env=ENVIRONMENT, check=True, capture_output=True)
    return len(re.findall(r"^\d+ +\w*sync\w*\(", trace.read_text(), re.MULTILINE))


def exponent(figures: Mapping[int, float]) -> float:
    """How a figure grows with its number: 0 not at all, 1 in proportion. Between the last two, where it grows most."""
    *_, (first, low), (last, high) = sorted(figures.items())
    return math.log(max(high, 1e-9) / max(low, 1e-9)) / math.log(last / first)


def certagent(configuration: Path, *words: str) -> list[str | Path]:
    return [python(), "-m", "certagent", "-c", configuration, *words]
