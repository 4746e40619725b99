"""The table of docs/performance.md, made of performance.json: nothing in it is copied by hand.

python -m bench.page        writes it anew from the JSON beside it; `make bench` does so after measuring
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.chart import svg
from bench.rows import bound, number

DOCS = Path(__file__).parents[1] / "docs"
_BEGIN, _END = "<!-- measured: written by `make bench` -->", "<!-- measured: end -->"


def table(document: Mapping[str, Any]) -> str:
    """The machine and the rows, in Markdown. `document`: performance.json."""
    machine = document["machine"]
    where = f"{machine['processor']}, {machine['disk']}, Python {machine['python']}, load {machine['load']}"
    lines = [
        f"`{machine['command']}`, {machine['when']}: {where}.",
        "",
        "| | measured | goal | reached | in the same run |",
        "|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        goal = "–" if row["goal"] is None else bound(row["goal"], more=row["more"])
        reached = "–" if row["goal"] is None else "yes" if is_reached(row) else "**no**"
        beside = "; ".join(_told(what, figure) for what, figure in row["beside"].items()) or "–"
        cells = (row["name"], f"{number(row['figure'])} {row['unit']}".strip(), goal, reached, beside)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def is_reached(row: Mapping[str, Any]) -> bool:
    figure, goal = row["figure"], row["goal"]
    return bool(figure >= goal if row["more"] else figure <= goal)


def _told(what: str, figure: float) -> str:
    """`a renewal, ms` and 138.2: `a renewal: 138 ms`."""
    name, _, unit = what.rpartition(", ")
    return f"{name or what}: {number(figure)}{f' {unit}' if name else ''}"


def renewed(page: str, document: Mapping[str, Any]) -> str:
    """The page with the table of this document. Raises ValueError if the page has no place for it."""
    place = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
    if len(place.findall(page)) != 1:
        raise ValueError(f"the page needs one block between {_BEGIN} and {_END}")
    return place.sub(lambda _: f"{_BEGIN}\n{table(document)}\n{_END}", page)


def publish(document: Mapping[str, Any], directory: Path) -> None:
    """performance.json, .svg and .md there; the text around the table is that of the page in docs."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (directory / "performance.json").write_text(f"{text}\n")
    (directory / "performance.svg").write_text(svg(document["rows"], document["machine"]))
    (directory / "performance.md").write_text(renewed((DOCS / "performance.md").read_text(), document))


if __name__ == "__main__":
    publish(json.loads((DOCS / "performance.json").read_text()), DOCS)
