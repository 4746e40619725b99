"""`make soak`: `python -m tests.soak --minutes 20 --seed 0`. A broken promise is told, and the log kept."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from random import Random

from tests.soak.soak import Plan, soak
from tests.waiting import slowness


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--life", type=float, default=8, help="seconds that a certificate lives on a quiet machine")
    asked = parser.parse_args()
    seed = Random().randrange(1, 1 << 32) if asked.seed is None else asked.seed
    plan = Plan(seed, asked.minutes * 60, asked.life * slowness())
    print(f"SEED={seed}: certificates live {plan.life:.0f} s", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="certagent-soak-"))
    figures = soak(directory, plan)
    print(f"SEED={seed}: {figures}")
    print(", ".join(f"{count} times {what}" for what, count in sorted(figures.happened.items())))
    if figures.failures or figures.wrong:
        print(*figures.failures[:20], *figures.wrong, f"the logs lie in {directory}", sep="\n")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
