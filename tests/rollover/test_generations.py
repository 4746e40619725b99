"""The whole thing in real time: no client notices that the CA changes. bench/rollover.py prints the lateness."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.rollover.generations import Schedule, observe


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


@pytest.mark.needs("nginx")
def test_three_generations_and_no_failed_handshake(tmp_path: Path) -> None:
    schedule = Schedule(life=22, announced=16, overlap=9, certificate=12, rollover_at="30%").stretched(slowness())
    figures = observe(tmp_path, 3, schedule)
    log = (tmp_path / "agent.log").read_text()
    assert figures.failures == [], log
    assert len(figures.switches) == 2, log
    assert figures.unmatched == 0
    assert figures.connections > 100
    assert figures.trusted == [2, 2]  # both CAs: the old one has not expired yet
    assert all(-0.01 <= late < schedule.overlap for late, _ in figures.switches), log
