"""Live many lives: `python -m tests.simulation --seed 0 --lives 40 --years 5`. One that breaks a promise is told."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from .life import KeyPool, Life, Plan

# Memory, where it is to be had: a life syncs some thousand files.
_WHERE = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None


def main() -> int:
    arguments = _arguments()
    pool, total, broken = KeyPool(), Counter[str](), []
    started = time.process_time()
    for seed in range(arguments.seed, arguments.seed + arguments.lives):
        with tempfile.TemporaryDirectory(prefix="certagent-life-", dir=_WHERE) as directory:
            life = Life(
                Plan(seed, arguments.years, not arguments.without_recovery, arguments.hours), Path(directory), pool
            )
            try:
                life.run()
            except Exception as error:  # noqa: BLE001 -- whatever it is, the next life is lived too
                broken.append(seed)
                print(f"seed {seed} at {life.now:%Y-%m-%d %H:%M}: {type(error).__name__}: {error}", flush=True)
                print(*(f"    {line}" for line in life.story), sep="\n", flush=True)
                if not isinstance(error, AssertionError):
                    traceback.print_exc()
            total += life.counts
    spent = time.process_time() - started
    years = arguments.lives * arguments.years
    print(f"{arguments.lives} lives, {years:g} device-years, {spent:.0f} s of CPU; {len(broken)} broke a promise")
    print(", ".join(f"{count} {what}" for what, count in sorted(total.items())))
    if total["certificates used"]:
        print(f"certificates issued for each one used: {total['certificates issued'] / total['certificates used']:.3f}")
    if broken:
        print(
            f"again, one of them: python -m tests.simulation --lives 1 --years {arguments.years:g} --seed {broken[0]}"
        )
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first life")
    parser.add_argument("--lives", type=int, default=40)
    parser.add_argument("--years", type=float, default=5, help="of each life")
    parser.add_argument("--hours", default="", help="of swaps and hooks, such as 'Sat-Sun 02:00-05:00'; default: any")
    parser.add_argument("--without-recovery", action="store_true", help="to see that the checks notice")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
