"""A running agent, what it told systemd, and what it costs."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.costs import ENVIRONMENT, certagent, children_of, cpu_of

# s; what has not come by then is not waited for.
PATIENCE = 120.0


class Agent:
    def __init__(self, directory: Path, configuration: Path) -> None:
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(str(directory / "notify"))
        self._status = ""
        self._process = subprocess.Popen(
            certagent(configuration, "run"),
            env={**ENVIRONMENT, "NOTIFY_SOCKET": str(directory / "notify")},
            stderr=subprocess.DEVNULL,
        )

    def cpu(self) -> tuple[float, float]:
        """Seconds: its own, which are exact, and its ended workers'."""
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        own = sum(int(each.read_text().split()[0]) for each in threads) / 1e9
        return own, cpu_of(self._process.pid)[1]

    def resident(self) -> float:
        """MB."""
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024

    def proportional(self) -> float:
        """MB of it and its workers, what they share counted once."""
        total = 0
        for process in (self._process.pid, *children_of(self._process.pid)):
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{process}/smaps_rollup").read_text()
                total += sum(map(int, re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)))
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
