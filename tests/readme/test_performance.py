"""docs/performance.md shows what was measured: its table and picture are made of performance.json, by `make bench`."""

from __future__ import annotations

import json

import pytest

from bench import page
from bench.chart import svg

DOCUMENT = json.loads((page.DOCS / "performance.json").read_text())


def test_the_table_is_that_of_the_measured_figures() -> None:
    text = (page.DOCS / "performance.md").read_text()
    assert text == page.renewed(text, DOCUMENT), "run `python -m bench.page`"


def test_the_picture_is_that_of_the_measured_figures() -> None:
    drawn = svg(DOCUMENT["rows"], DOCUMENT["machine"])
    assert (page.DOCS / "performance.svg").read_text() == drawn, "run `python -m bench.page`"


@pytest.mark.parametrize(
    ("figure", "goal", "more", "cells"),
    [
        pytest.param(1.2345, 1.25, False, "1.23 × | ≤ 1.25 | yes", id="at most"),
        pytest.param(1.26, 1.25, False, "1.26 × | ≤ 1.25 | **no**", id="too much"),
        pytest.param(11.9, 12, True, "11.9 × | ≥ 12 | **no**", id="at least"),
        pytest.param(1234.5, None, False, "1,234 × | – | –", id="without a goal"),
        pytest.param(-0.00002, 1, False, "0 × | ≤ 1 | yes", id="nothing but noise"),
    ],
)
def test_a_row_says_whether_the_goal_is_reached(figure: float, goal: float | None, more: bool, cells: str) -> None:
    row = {"name": "this", "figure": figure, "unit": "×", "goal": goal, "more": more, "beside": {"that, ms": 2.0}}
    last = page.table({**DOCUMENT, "rows": [row]}).splitlines()[-1]
    assert last == f"| this | {cells} | that: 2 ms |"
