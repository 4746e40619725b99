"""One figure of docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """`goal`: at most that, or at least if `more`. `beside`: what was measured in turn with it, each with its unit."""

    name: str
    figure: float
    unit: str
    goal: float | None = None
    more: bool = False
    beside: Mapping[str, float] = field(default_factory=dict)


def bound(goal: float, *, more: bool) -> str:
    return f"{'≥' if more else '≤'} {goal:g}"


def number(figure: float) -> str:
    """Three digits, and no more than two behind the point, as more would only tell noise."""
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{round(figure, 2) + 0:.3g}"
