"""How late is each switch? Ten generations of a CA with the real agent, nginx and clients that believe ca_file alone.

python bench/rollover.py [GENERATIONS]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.rollover.generations import Schedule, observe

SCHEDULE = Schedule(life=26, announced=15, overlap=6, certificate=14, rollover_at="45%")


def main() -> int:
    generations = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print(f"{generations} generations, a change every {SCHEDULE.period} s, certificates of {SCHEDULE.certificate} s")
    with tempfile.TemporaryDirectory() as directory:
        figures = observe(Path(directory), generations, SCHEDULE)
        log = (Path(directory) / "agent.log").read_text()
    for number, (files, served) in enumerate(figures.switches, start=2):
        print(f"  to generation {number:2}: files {files:5.2f} s after the due time, served by nginx {served:5.2f} s")
    print(
        f"{len(figures.switches)} switches, {figures.renewals} renewals between them; "
        f"{figures.connections} handshakes, {len(figures.failures)} failed; {figures.unmatched} unmatched pairs"
    )
    for failure in figures.failures[:5]:
        print(f"  {failure}")
    well = len(figures.switches) == generations - 1 and not figures.failures and not figures.unmatched
    if not well:
        print(log)
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main())
