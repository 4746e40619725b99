"""The whole thing in real time: no client notices that the CA changes. bench/rollover.py prints the lateness."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rollover.generations import Schedule, observe
from tests.waiting import slowness


@pytest.mark.slow
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
