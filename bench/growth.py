"""How costs grow with the number of keystores of which none is due, and with the batch that is renewed.

python -m bench.growth [NUMBER…]        the costs at each; default: 1 100 1000 10000
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.agent import PATIENCE, Agent
from bench.costs import ENVIRONMENT, certagent, cost, exponent, in_turn, python
from bench.installation import install
from bench.rows import Row
from bench.storm import due

SWEEP = 10  # s between two sweeps; two of them are measured
START, ONE_SWEEP, WORKER, MEMORY = "READY", "a sweep", "a worker for one", "memory of the agent"
COMMANDS = {
    "renew --due": ("renew", "--due"),
    "renew --due NAME": ("renew", "--due", "k00000"),
    "status --json": ("status", "--json"),
    "plan": ("plan",),
    "health": ("health",),
}
_LIBRARIES = """import yaml, msgspec, apscheduler.schedulers.asyncio
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))"""


def costs(count: int, *, worker: bool = False) -> dict[str, float]:
    """ms of CPU of each at this number of keystores, and MB of the idle agent. `worker`: with one for one keystore."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        configuration = install(directory, count, SWEEP)
        agent, found = Agent(directory, configuration), dict[str, float]()
        try:
            agent.until(lambda told: "READY=1" in told)
            found[START] = sum(agent.cpu()) * 1000
            agent.until(lambda told: ", 0 due, 0 workers" in told)
            before = agent.cpu()
            time.sleep(2 * SWEEP)
            found[ONE_SWEEP] = (sum(agent.cpu()) - sum(before)) * 1000 / 2
            found[MEMORY] = agent.resident()
            if worker:
                found[WORKER] = _of_a_worker(agent, directory / "pem/k00000.pem")
        finally:
            agent.end()
        return found | {word: cost(certagent(configuration, *words), directory) for word, words in COMMANDS.items()}


def _of_a_worker(agent: Agent, file: Path) -> float:
    """ms of CPU of the worker that the agent starts because this file was touched."""
    before, until = agent.cpu()[1], time.monotonic() + PATIENCE
    file.touch()
    while agent.cpu()[1] == before and time.monotonic() < until:
        time.sleep(0.1)
    return (agent.cpu()[1] - before) * 1000


def installed(counts: Sequence[int]) -> Iterator[Row]:
    """What keystores cost of which none is due."""
    found = {count: costs(count) for count in counts}
    memory = {count: each[MEMORY] for count, each in found.items()}
    done = subprocess.run([python(), "-c", _LIBRARIES], env=ENVIRONMENT, check=True, capture_output=True)
    libraries = int(done.stdout) / 1024
    first, *_, last = counts
    above = memory[first] - libraries
    yield Row("idle agent above its libraries", above, "MB", 2, beside={"its libraries, MB": libraries})
    yield Row("memory of the agent for each keystore", (memory[last] - memory[first]) * 1024 / (last - first), "KiB", 1)
    yield growth(MEMORY, memory, "MB")
    for what in (START, ONE_SWEEP, *COMMANDS):
        if what != "renew --due NAME":
            yield growth(what, {count: each[what] for count, each in found.items()}, "ms")


def of_batches(runs: int, sizes: Sequence[int]) -> Iterator[Row]:
    """CPU of one process that renews so many, with the key kept."""
    with due(max(sizes), "kept") as (directory, configuration, _lab):
        names = [f"device{number}" for number in range(max(sizes))]
        actions: dict[int, Callable[[], float]] = {
            size: partial(cost, certagent(configuration, "renew", "--force", *names[:size]), directory)
            for size in sizes
        }
        seen = in_turn(runs, {str(size): action for size, action in actions.items()})
    yield growth("a batch, key kept", {int(size): figure for size, figure in seen.items()}, "ms", of="renewals")


def growth(what: str, figures: Mapping[int, float], unit: str, *, of: str = "keystores") -> Row:
    beside = {f"{count:,} {of}, {unit}": figure for count, figure in figures.items()}
    return Row(f"growth of {what}", exponent(figures), "exponent", 1, beside=beside)


def main() -> int:
    for count in map(int, sys.argv[1:] or ("1", "100", "1000", "10000")):
        for what, figure in costs(count, worker=True).items():
            print(f"{count:6} {what:20} {figure:8.1f} {'MB' if what == MEMORY else 'ms'}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
