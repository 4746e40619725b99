"""Every figure of docs/performance.md, measured in one run: `make bench`, ten to thirteen minutes on two idle cores.

python -m bench.table                 writes performance.json, .svg and the table in performance.md, all in docs
python -m bench.table --quick         fewer of everything, in two minutes; writes them to the temporary directory
python -m bench.table storms disk     these parts alone; writes nothing

Ratios to a floor or a peer measured in turn, and exponents of growth, hold on a busy machine; ms of CPU vary by half.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench import fleet, growth, renewals
from bench.page import DOCS, publish
from bench.rows import Row, bound
from bench.storm import storms

Part = Callable[[], Iterator[Row]]

PARTS: dict[str, Part] = {
    "batches": partial(renewals.batches, 4, (25, 100)),
    "others": partial(renewals.beside_others, 9, (25, 100, 200)),
    "disk": renewals.disk,
    "storms": partial(storms, 2000),
    "installed": partial(growth.installed, (10, 100, 1000)),
    "sizes": partial(growth.of_batches, 3, (1, 10, 100)),
    "fleet": partial(fleet.rows, 100_000, 3, ((20_000, 60.0, 50, 700), (10_000, 1.0, 100, 400))),
}
QUICK: dict[str, Part] = {
    "batches": partial(renewals.batches, 1, (2, 5)),
    "others": partial(renewals.beside_others, 2, (2, 5, 10)),
    "disk": renewals.disk,
    "storms": partial(storms, 20),
    "installed": partial(growth.installed, (1, 10, 100)),
    "sizes": partial(growth.of_batches, 1, (1, 5, 10)),
    "fleet": partial(fleet.rows, 1000, 1, ((200, 60.0, 1, 700), (100, 1.0, 1, 400))),
}


def machine() -> dict[str, str]:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    place = tempfile.gettempdir()
    disk = subprocess.run(["findmnt", "-no", "FSTYPE", "-T", place], capture_output=True, text=True, check=True).stdout
    return {
        "when": datetime.now(UTC).date().isoformat(),
        "command": "make bench",
        "processor": f"{os.cpu_count()} × {model.partition(':')[2].strip() or platform.machine()}",
        "disk": disk.strip(),
        "python": platform.python_version(),
        "load": load(),
    }


def load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def measured(parts: dict[str, Part]) -> list[dict[str, Any]]:
    rows = []
    for part in parts.values():
        for row in part():
            rows.append(asdict(row))
            beside = ", ".join(f"{name} {figure:.4g}" for name, figure in row.beside.items())
            goal = "" if row.goal is None else f"   goal {bound(row.goal, more=row.more)}"
            print(f"{row.name:40} {row.figure:8.4g} {row.unit:8}{goal}   {beside}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART")
    chosen = parser.parse_args()
    parts, before = QUICK if chosen.quick else PARTS, machine()
    rows = measured({name: part for name, part in parts.items() if name in (chosen.parts or parts)})
    if not chosen.parts:
        where = Path(tempfile.gettempdir()) if chosen.quick else DOCS
        publish({"machine": {**before, "load": f"{before['load']}, {load()} at the end"}, "rows": rows}, where)
        print(f"see {where}/performance.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
