"""Half a minute of what `make soak` does for long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.soak import Plan, soak
from tests.waiting import slowness


@pytest.mark.needs("nginx")
def test_nothing_fails_whatever_happens(tmp_path: Path) -> None:
    life = 8 * slowness()
    figures = soak(tmp_path, Plan(seed=1, seconds=4 * life, life=life))
    log = (tmp_path / "agent.log").read_text()
    assert figures.failures == [], log
    assert figures.wrong == [], log
    assert figures.rotations >= 8, log
    assert figures.connections > 100
    assert sum(figures.happened.values()) >= 3
