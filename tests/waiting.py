"""Waiting for what must come. Only a failure takes as long as PATIENCE: it may be long, for a busy machine."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable

PATIENCE = 60.0  # seconds


def until(condition: Callable[[], object], seconds: float = PATIENCE, *, told: Callable[[], str] = str) -> None:
    """Look again and again until `condition` holds; `told()` is what a failure says besides."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nothing of it within {seconds:g} s\n{told()}"
        time.sleep(0.02)


def free_port() -> int:
    """Of those the kernel gives to no client, lest one takes it before the server does."""
    while True:
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", random.randrange(20_000, 32_768)))
            except OSError:
                continue
            return int(free.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def slowness() -> float:
    """How much longer a worker takes to start here and now than on a quiet machine: 1 to 6.

    The lives of these certificates are seconds of real time, and each needs some workers before its end.
    """
    took = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import certagent.transaction.renewal"], check=True)
        took.append(time.monotonic() - began)
    return min(6.0, max(1.0, sorted(took)[1] / 0.5))
