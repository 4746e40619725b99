"""A minute of `make soak`. Its certificates live long for a minute, so that a busy machine keeps up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.soak import Plan, soak
from tests.waiting import slowness

pytestmark = [pytest.mark.slow, pytest.mark.needs("nginx")]


def test_nothing_fails_and_nothing_is_left(tmp_path: Path) -> None:
    figures = soak(tmp_path, Plan(seed=1, seconds=60, life=16 * slowness()))
    assert (figures.failures[:3], figures.wrong) == ([], []), figures
    assert figures.connections > 100
    assert figures.rotations > 2
