"""The table as a picture: each figure as a share of its goal, and what is beside it in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.rows import bound, number

_LINE, _NAMES, _WIDTH, _MOST = 24, 400, 420, 3.0  # px; bars end at three times the goal


def svg(rows: Sequence[Mapping[str, Any]], machine: Mapping[str, str]) -> str:
    """`rows` and `machine` as in performance.json."""
    shown = [row for row in rows if row["goal"] is not None]
    height = _LINE * (len(shown) + 3)
    goal_at = _NAMES + _WIDTH / _MOST
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1080 {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="1080" height="{height}" fill="#fff"/>',
        f'<line x1="{goal_at:.0f}" y1="{_LINE}" x2="{goal_at:.0f}" y2="{height - _LINE}" stroke="#555"/>',
        f'<text x="{goal_at:.0f}" y="{_LINE - 6}" text-anchor="middle">the goal</text>',
    ]
    for place, row in enumerate(shown, start=1):
        y = _LINE * place
        share = row["goal"] / row["figure"] if row["more"] else row["figure"] / row["goal"]
        colour = "#4a8f5c" if share <= 1 else "#c77f3a"
        end = _WIDTH * min(max(share, 0), _MOST) / _MOST
        told = f"{number(row['figure'])} {row['unit']} (goal {bound(row['goal'], more=row['more'])})"
        lines += [
            f'<text x="{_NAMES - 8}" y="{y + 16}" text-anchor="end">{escape(row["name"])}</text>',
            f'<rect x="{_NAMES}" y="{y + 4}" width="{end:.1f}" height="{_LINE - 8}" fill="{colour}"/>',
            f'<text x="{_NAMES + _WIDTH + 8}" y="{y + 16}">{escape(told)}</text>',
        ]
    about = f"{machine['command']}, {machine['when']}: {machine['processor']}, Python {machine['python']}"
    return "\n".join([*lines, f'<text x="8" y="{height - 8}">{escape(about)}</text>', "</svg>"]) + "\n"
