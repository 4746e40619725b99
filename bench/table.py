"""Every figure of docs/performance.md, measured in one run: `make bench`, about five minutes on two cores.

python -m bench.table [--quick]        writes docs/performance.json and docs/performance.svg

Ratios to a floor or a peer measured in turn, and exponents of growth, hold on a busy machine; ms of CPU vary by half.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench import installation
from bench.chart import svg
from bench.costs import ENVIRONMENT, HOME, PYTHON, Argv, certagent, cost, exponent, fsyncs, in_turn
from bench.peers import certmonger_each, commands
from certagent import certificate as facts
from tests.interop.peers import Lab, running

QUICK = "--quick" in sys.argv
RUNS = 2 if QUICK else 5
BATCH = 5 if QUICK else 25
STORM = 10 if QUICK else 100
INSTALLED = (1, 10, 100) if QUICK else (10, 100, 1000)
OLD = ("--accept", "des", "--accept", "3des", "--accept", "sha1", "--lifetime", "90d")  # for scepclient and pki
KINDS = {"rsa": "key_type: 'rsa:2048'", "kept": "rekey: never", "ec": "key_type: 'ec:p256'"}
SWAPS = {"PEM, rename": "rekey: never", "PEM, symlink": "rekey: never, swap: symlink", "PKCS#12": "pkcs12"}
LIBRARIES = """import yaml, msgspec, apscheduler.schedulers.asyncio
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))"""


@dataclass(frozen=True)
class Row:
    """One figure. `goal`: at most that, or at least if `more`. `beside`: what was measured in turn with it."""

    name: str
    figure: float
    unit: str
    goal: float | None = None
    more: bool = False
    beside: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """Keystores at a lab CA, enrolled."""

    directory: Path
    lab: Lab
    configuration: Path

    def cpu(self, *words: str) -> float:
        return cost(certagent(self.configuration, *words), self.directory)


def write_configuration(directory: Path, lab: Lab, keystores: dict[str, str], *more: str) -> Path:
    """`keystores`: further keys of each, by name."""
    challenge = directory / "challenge"
    challenge.write_text(lab.challenge)
    challenge.chmod(0o600)
    pin = facts.fingerprint(facts.load_pem(lab.ca.read_bytes(), str(lab.ca))[0])
    lines = [f"state_dir: {directory / 'state'}", f"live_dir: {directory / 'live'}", *more, "authorities:"]
    lines += [f"  lab: {{url: {lab.url}, fingerprint: '{pin}', challenge: {{file: {challenge}}}}}"]
    lines += ["defaults: {authority: lab}", "keystores:"]
    for name, keys in keystores.items():
        files = f"type: pem, key_file: {directory / name}.key, certificate_file: {directory / name}.pem, {keys}"
        if keys == "pkcs12":
            files = f"type: pkcs12, file: {directory / name}.p12, password: {{file: {challenge}}}, rekey: never"
        lines.append(f"  {name}: {{subject: CN={name}, {files}}}")
    configuration = directory / "agent.yaml"
    configuration.write_text("\n".join(lines) + "\n")
    configuration.chmod(0o600)
    return configuration


@contextlib.contextmanager
def site(keystores: dict[str, str]) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        with running(directory, *OLD) as lab:
            configuration = write_configuration(directory, lab, keystores)
            cost(certagent(configuration, "enroll", *keystores), directory)
            yield Site(directory, lab, configuration)


def batches() -> Iterator[Row]:
    """CPU of a renewal in a batch, beside the cryptography alone."""
    keystores = {f"{kind}{number}": keys for kind, keys in KINDS.items() for number in range(BATCH)}
    with site(keystores) as at:
        for kind in KINDS:
            names = [f"{kind}{number}" for number in range(BATCH)]
            actions = {"floor": partial(floor, kind), "certagent": partial(renewed, at, names)}
            seen = in_turn(max(RUNS - 2, 1), actions)
            beside = {"the cryptography alone, ms": seen["floor"]}
            if kind == "rsa":
                beside["a renewal, ms"] = seen["certagent"]
                yield Row(
                    "batch, new rsa:2048 keys ÷ floor", seen["certagent"] / seen["floor"], "×", 1.25, beside=beside
                )
            else:
                what, goal = {"kept": ("key kept", 25.0), "ec": ("new ec:p256 keys", 30.0)}[kind]
                yield Row(f"batch, {what}", seen["certagent"], "ms CPU", goal, beside=beside)


def floor(kind: str) -> float:
    argv: list[str | Path] = [PYTHON, HOME / "bench/floor.py", kind, str(4 * BATCH)]
    return float(subprocess.run(argv, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout)


def renewed(at: Site, names: list[str]) -> float:
    return at.cpu("renew", "--force", *names) / len(names)


def by_hand() -> Iterator[Row]:
    """Commands as a person types them, beside those of the peers."""
    with site({"device": "rekey: never"}) as at:
        key, certificate = at.directory / "device.key", at.directory / "device.pem"
        peers = commands(at.directory, at.lab, key, certificate)
        python = {
            "python -c pass": [PYTHON, "-c", "pass"],
            "its libraries": [PYTHON, "-c", "import cryptography.x509, asn1crypto.cms, msgspec, yaml"],
        }
        ours = {"renew --force device": 230, "renew --due": 130, "status": 130, "history device": 130}
        argvs: dict[str, Argv] = {each: certagent(at.configuration, *each.split()) for each in ours}
        argvs |= {**peers, **python}
        seen = in_turn(RUNS, {name: partial(cost, argv, at.directory) for name, argv in argvs.items()})
        beside = {f"{name}, ms": seen[name] for name in peers}
        beside["certmonger, ms"] = certmonger_each(at.directory, at.lab, RUNS * 2)
    for number, (command, goal) in enumerate(ours.items()):
        what = ("one renewal by hand, key kept", "renew --due, nothing due", "status", "history")[number]
        yield Row(
            what,
            seen[command],
            "ms CPU",
            goal,
            beside=beside if not number else {f"{name}, ms": seen[name] for name in python},
        )


def disk() -> Iterator[Row]:
    names = dict(zip(("rename", "symlink", "pkcs12"), SWAPS, strict=True))
    with site({name: SWAPS[what] for name, what in names.items()}) as at:
        cost(certagent(at.configuration, "renew", "--force"), at.directory)  # now each has a previous pair
        for name, what in names.items():
            count = fsyncs(certagent(at.configuration, "renew", "--force", name), at.directory)
            yield Row(f"fsyncs of a renewal, {what}", count, "", 20)


def storm() -> Iterator[Row]:
    """All due at once, by the agent. The only figure of the wall clock: it tells what this machine had to spare."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        with running(directory, *OLD) as lab:
            names = [f"device{number}" for number in range(STORM)]
            configuration = write_configuration(directory, lab, dict.fromkeys(names, KINDS["ec"]))
            started, most = time.monotonic(), 0.0
            agent = subprocess.Popen(certagent(configuration, "run"), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
            try:
                while sum(map(Path.exists, (directory / f"{name}.pem" for name in names))) < STORM:
                    most = max(most, proportional(agent.pid))
                    time.sleep(0.2)
                lasted = time.monotonic() - started
            finally:
                agent.terminate()
                agent.wait()
    told = {"at once": float(STORM), "load of the machine": os.getloadavg()[0]}
    yield Row("storm, first certificates a second", STORM / lasted, "/s", 12, more=True, beside=told)
    yield Row("storm, agent and its workers", most, "MB PSS", 128)


def proportional(agent: int) -> float:
    """MB of a process and its children, what they share counted once."""
    total = 0
    for process in (agent, *map(int, Path(f"/proc/{agent}/task/{agent}/children").read_text().split())):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def installed() -> Iterator[Row]:
    """What keystores cost of which none is due, and how that grows."""
    memory: dict[int, float] = {}
    figures: dict[str, dict[int, float]] = {"start of the agent": {}, "status --json": {}, "renew --due": {}}
    for count in INSTALLED:
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place)
            main = installation.install(directory, count)
            agent = installation.Agent(directory, main)
            agent.until(lambda told: "READY=1" in told)
            figures["start of the agent"][count] = sum(agent.cpu()) * 1000
            agent.until(lambda told: ", 0 due, 0 workers" in told)
            memory[count] = agent.resident()
            agent.end()
            figures["status --json"][count] = cost(certagent(main, "status", "--json"), directory)
            figures["renew --due"][count] = cost(certagent(main, "renew", "--due"), directory)
    resident = subprocess.run([PYTHON, "-c", LIBRARIES], env=ENVIRONMENT, check=True, capture_output=True).stdout
    libraries = int(resident) / 1024
    first, *_, last = INSTALLED
    yield Row(
        "idle agent above its libraries", memory[first] - libraries, "MB", 2, beside={"its libraries, MB": libraries}
    )
    yield Row("memory of the agent for each keystore", (memory[last] - memory[first]) * 1024 / (last - first), "KiB", 1)
    for what, costs in figures.items():
        shown = {f"ms of CPU, {count} keystores": figure for count, figure in costs.items()}
        yield Row(f"growth of {what}", exponent(costs), "exponent", 1, beside=shown)


PARTS: tuple[Callable[[], Iterator[Row]], ...] = (batches, by_hand, disk, storm, installed)


def machine() -> dict[str, str]:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "when": datetime.now(UTC).date().isoformat(),
        "command": "make bench",
        "processor": f"{os.cpu_count()} × {model.partition(':')[2].strip() or platform.machine()}",
        "python": platform.python_version(),
        "load": " ".join(f"{each:.1f}" for each in os.getloadavg()),
    }


def main() -> int:
    began, rows = machine(), []
    for part in PARTS:
        for row in part():
            rows.append(row)
            beside = ", ".join(f"{name} {figure:.4g}" for name, figure in row.beside.items())
            goal = "" if row.goal is None else f"   goal {'≥' if row.more else '≤'} {row.goal:g}"
            print(f"{row.name:40} {row.figure:8.4g} {row.unit:8}{goal}   {beside}", flush=True)
    table = [asdict(row) for row in rows]
    where = Path(tempfile.gettempdir()) if QUICK else HOME / "docs"
    (where / "performance.json").write_text(
        json.dumps({"machine": began, "rows": table}, indent=1, ensure_ascii=False) + "\n"
    )
    (where / "performance.svg").write_text(svg(table, began))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
