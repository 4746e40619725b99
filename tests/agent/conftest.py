"""A running agent: the real one, with a small program in the worker's place (worker.py)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]


class Running:
    """An agent of its own in `directory`: what it is told, what it tells systemd, what its workers did."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "agent.yaml"
        self.state_dir = directory / "state"
        self.behaviour = directory / "behaviour"
        self.behaviour.mkdir()
        self.log = directory / "log"
        self.told: list[str] = []
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(directory / "notify"))
        # By a thread, because a full socket loses what comes next.
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        self._processes: list[subprocess.Popen[bytes]] = []

    def configure(self, names: Sequence[str], **settings: object) -> None:
        (self.directory / "clients").mkdir(exist_ok=True)
        keystores = {
            name: {
                "type": "pem",
                "authority": "corp",
                "subject": f"CN={name}",
                "key_file": str(self.directory / "clients" / f"{name}.key"),
                "certificate_file": str(self.directory / "clients" / f"{name}.pem"),
            }
            for name in names
        }
        corp = {"url": "http://127.0.0.1:1/scep", "fingerprint": "sha256:" + "00" * 32}
        content = {"state_dir": str(self.state_dir), "authorities": {"corp": corp}, "keystores": keystores}
        self.config.write_text(json.dumps({**content, **settings}))  # JSON is YAML
        self.config.chmod(0o600)

    def behave(self, name: str, words: str) -> None:
        (self.behaviour / name).write_text(words)

    def start(self, worker: Sequence[str] = (), **environment: str) -> subprocess.Popen[bytes]:
        """The agent, once it is ready (or gone)."""
        command = worker or (sys.executable, str(ROOT / "tests/agent/worker.py"), self.behaviour, self.state_dir)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", str(ROOT / "tests/agent/serve.py"), self.config, *command],
                stderr=log,
                stdout=log,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(ROOT),
                    "NOTIFY_SOCKET": str(self.directory / "notify"),
                    **environment,
                },
            )
        self._processes.append(self.process)
        self.until(lambda: "READY=1" in self.told or self.process.poll() is not None)
        return self.process

    def _listen(self) -> None:
        while message := self._notify.recv(4096):
            self.told += message.decode().split("\n")

    @property
    def status(self) -> str:
        return next((line for line in reversed(self.told) if line.startswith("STATUS=")), "")

    def rounds(self, number: int) -> None:
        """Wait until its loop went round so many more times, whatever it had to do."""
        before = self.told.count("WATCHDOG=1")
        self.until(lambda: self.told.count("WATCHDOG=1") >= before + number)

    def journal(self, key: str, value: object = None) -> list[dict[str, Any]]:
        """What workers noted: the entries with this key (`start`, `begin`, `end`), and this value if given."""
        path = self.behaviour / "journal"
        entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [each for each in entries if key in each and value in (None, each[key])]

    def until(self, condition: Callable[[], object]) -> None:
        until(condition, told=lambda: f"log: {self.log.read_text()[-2000:]}\nstatus: {self.status}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._notify.shutdown(socket.SHUT_RDWR)
        self._listening.join()
        self._notify.close()
        for entry in self.journal("pid"):  # workers a failed test left behind, and what they started
            try:
                os.kill(entry["pid"], signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.close()
