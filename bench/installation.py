"""What does it cost that many keystores are configured, of which none is due? Processor seconds, by the kernel's count.

python bench/installation.py [NUMBER…]        default: 1 100 1000 10000

`READY`: the agent, its first sweep, and the process that reads the configuration, until systemd is told. `sweep`: one
more, of the agent and all its workers. `worker`: the process that the agent starts for one keystore, told to do so by a
changed file. The others are commands as a person types them.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from certagent import policy, state
from certagent.certificate import load_pem
from certagent.config.load import digest_of, load_configuration
from certagent.transaction.seen import see

HOME = Path(__file__).parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
COMMANDS = {
    "by hand": ("renew", "--due", "k00000"),
    "status --json": ("status", "--json"),
    "health": ("health",),
    "plan": ("plan",),
}
# A sweep that has not come to its end by then is not waited for.
PATIENCE = 120.0
# s, between two sweeps.
SWEEP = 20


def identity(directory: Path) -> tuple[bytes, bytes]:
    """One for all: making keys takes long."""
    key, certificate = directory / "any.key", directory / "any.pem"
    argv = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90", "-subj", "/CN=any")
    subprocess.run([*argv, "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
    return key.read_bytes(), certificate.read_bytes()


def install(directory: Path, count: int) -> Path:
    """So many keystores with a certificate of 90 days, looked at a moment ago."""
    pems = directory / "pem"
    pems.mkdir()
    key, certificate = identity(directory)
    names = [f"k{number:05}" for number in range(count)]
    for start in range(0, count, 1000):
        lines = ["keystores:"]
        for name in names[start : start + 1000]:
            (pems / f"{name}.key").write_bytes(key)
            (pems / f"{name}.key").chmod(0o600)
            (pems / f"{name}.pem").write_bytes(certificate)
            files = f"key_file: {pems / name}.key, certificate_file: {pems / name}.pem"
            lines.append(f"  {name}: {{type: pem, subject: CN={name}, {files}}}")
        (directory / f"keystores-{start}.yaml").write_text("\n".join(lines) + "\n")
    main = directory / "agent.yaml"
    main.write_text(
        f"state_dir: {directory / 'state'}\ninclude: 'keystores-*.yaml'\ncheck_every: {SWEEP}s\n"
        f"authorities: {{corp: {{url: 'http://127.0.0.1:1/scep', fingerprint: 'sha256:{'00' * 32}'}}}}\n"
        "defaults: {authority: corp}\n"
    )
    configuration = load_configuration(main)
    [one] = load_pem(certificate, "the certificate of all")
    seen = see(one, None, next(iter(configuration.keystores.values())), ())
    for name, definition in configuration.keystores.items():
        known = state.State(
            condition=policy.Condition.VALID,
            next_action="renew",
            next_action_at=datetime.now(UTC) + timedelta(days=50),
            definition=digest_of(definition, configuration.authority_of(definition)),
            watched=state.watch(definition.paths.values()),
            seen=seen,
        )
        place = directory / "state/keystores" / name
        place.mkdir(parents=True, mode=0o700)
        (place / "state.json").write_bytes(msgspec.json.encode(known))
        (place / "state.json").chmod(0o600)
    (directory / "state").chmod(0o700)
    return main


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOME), **more}


def command(main: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "certagent", "-c", str(main), *words]


def cost_of_command(argv: list[str]) -> str:
    process = subprocess.Popen(argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return f"{usage.ru_utime + usage.ru_stime:.2f} s, {usage.ru_maxrss / 1024:.0f} MB"


class Agent:
    """A running one, and what it told systemd."""

    def __init__(self, directory: Path, main: Path) -> None:
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(str(directory / "notify"))
        self._status = ""
        self._process = subprocess.Popen(
            command(main, "run"),
            env=environment(NOTIFY_SOCKET=str(directory / "notify")),
            stderr=subprocess.DEVNULL,
        )

    def cpu(self) -> tuple[float, float]:
        """Its own, and its ended workers'."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        own, children = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
        return own / TICKS, children / TICKS

    def resident(self) -> float:
        """MB."""
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024

    def memory(self) -> str:
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        resident, peak = (int(re.findall(rf"{word}:\s+(\d+)", text)[0]) / 1024 for word in ("VmRSS", "VmHWM"))
        return f"{resident:.1f} MB, at most {peak:.1f}"

    def proportional(self) -> float:
        """MB of it and its workers, what they share counted once."""
        total, agent = 0, self._process.pid
        for process in (agent, *map(int, Path(f"/proc/{agent}/task/{agent}/children").read_text().split())):
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{process}/smaps_rollup").read_text()
                total += int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0])
        return total / 1024

    def until(self, told: Callable[[str], object], seconds: float = PATIENCE) -> bool:
        """Whether it told systemd so within this time."""
        deadline = time.monotonic() + seconds
        if told(self._status):
            return True
        while time.monotonic() < deadline:
            self._channel.settimeout(min(seconds, 0.5))
            try:
                message = self._channel.recv(4096).decode()
            except TimeoutError:
                continue
            if "STATUS=" in message:
                self._status = message
            if told(message):
                return True
        return False

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._channel.close()


def serve(directory: Path, main: Path, told: Callable[[str, str], None]) -> None:
    agent = Agent(directory, main)
    agent.until(lambda message: "READY=1" in message)
    ready, reading = agent.cpu()
    agent.until(lambda message: "STATUS=" in message)
    told("READY", f"{ready + reading:.2f} s (agent {ready:.2f})")
    done = agent.until(lambda message: ", 0 due, 0 workers" in message)
    before = agent.cpu()
    time.sleep(SWEEP)
    own, workers = agent.cpu()
    told("sweep", f"{own + workers - sum(before):.2f} s{'' if done else ' and not at its end'}")
    told("resident", agent.memory())
    if done:
        (directory / "pem/k00000.pem").touch()
        deadline = time.monotonic() + PATIENCE
        while agent.cpu()[1] == workers and time.monotonic() < deadline:
            time.sleep(0.1)
        told("worker", f"{agent.cpu()[1] - workers:.2f} s")
    agent.end()


def main() -> int:
    for count in map(int, sys.argv[1:] or ("1", "100", "1000", "10000")):
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place)

            def told(what: str, words: str, count: int = count) -> None:
                print(f"{count:6} {what:14} {words}", flush=True)

            configured = install(directory, count)
            serve(directory, configured, told)
            for what, words in COMMANDS.items():
                told(what, cost_of_command(command(configured, *words)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
