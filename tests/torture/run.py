"""`make torture`: every flow in every machine. `python -m tests.torture.run --flow NAME --machine NAME --point …`"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random

from tests.torture import calls, crashes, errors, kills
from tests.torture.flows import FLOWS, Flow
from tests.torture.session import Session, session

# How many points of a flow each machine tries where nobody asks for more.
MACHINES = {"kills": 150, "errors": 100, "crashes": 300}
_TRACED = (*calls.FILES, *calls.NETWORK, *calls.READING)
# Memory, where it is to be had: a try writes a hundred files.
_WHERE = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None


@dataclass(frozen=True)
class Order:
    """What is to be done with one flow. `most`: points for each machine, 0 for all, None for its own number."""

    flow: str
    machines: tuple[str, ...]
    seed: int
    most: int | None = None
    point: str = ""


@dataclass(frozen=True)
class Case:
    """One point. `weight`: how many of the machine's points are like it."""

    name: str
    torture: Callable[[], list[str]]
    weight: int = 1


@dataclass
class Result:
    """What one machine made of one flow. `lost`: what was wrong, by point."""

    flow: str
    machine: str
    tried: int = 0
    covered: int = 0
    all: int = 0
    seconds: float = 0
    lost: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.flow:18} {self.machine:8} {self.covered:6} of {self.all:6} points in {self.tried:5} tries, "
            f"{len(self.lost)} lost, {self.seconds:.0f} s"
        )


def cases(machine: str, now: Session, order: Order) -> tuple[list[Case], int]:
    """The points of a machine that are to be tried, in their order, and how many there are."""
    random = Random(f"{order.seed} {order.flow} {machine}")
    match machine:
        case "kills":
            found = [Case(str(each), partial(kills.torture, now, each)) for each in kills.points(now)]
        case "errors":
            points = errors.points(now)
            chosen = points if order.point or order.most == 0 else errors.one_each(points, random)
            found = [Case(f"{point}:{error}", partial(errors.torture, now, point, error)) for point, error in chosen]
        case _:
            left = crashes.remains(now, order.seed) if now.flow.survives_power_cuts else []
            found = [Case(each.name, partial(crashes.torture, now, each), weight=each.ways) for each in left]
    number = sum(case.weight for case in found)
    if order.point:
        return [case for case in found if case.name == order.point], number
    most = MACHINES[machine] if order.most is None else order.most or len(found)
    picked = random.sample(range(len(found)), min(most, len(found)))
    return [found[place] for place in sorted(picked)], number


def carry_out(order: Order) -> list[Result]:
    """All machines on one flow."""
    flow = next(each for each in FLOWS if each.name == order.flow)
    results = []
    with session(flow, _TRACED, _WHERE) as now:
        for machine in order.machines:
            began, result = time.monotonic(), Result(order.flow, machine)
            chosen, result.all = cases(machine, now, order)
            for case in chosen:
                result.tried, result.covered = result.tried + 1, result.covered + case.weight
                if wrong := case.torture():
                    result.lost[case.name] = wrong
            result.seconds = time.monotonic() - began
            results.append(result)
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """0: nothing was lost; 1: something was; 2: a point that does not exist."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flow", action="append", choices=[flow.name for flow in FLOWS], help="default: all")
    parser.add_argument("--machine", action="append", choices=list(MACHINES), help="default: all")
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--points", type=int, default=None, help="of each flow in each machine; 0: all")
    parser.add_argument("--point", default="", help="this one alone, as a loss was told")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(argv)
    seed = Random().randrange(1, 1 << 32) if asked.seed is None else asked.seed
    print(f"SEED={seed}", flush=True)
    machines = tuple(asked.machine or MACHINES)
    orders = [Order(flow.name, machines, seed, asked.points, asked.point) for flow in _able(asked.flow)]
    results: list[Result] = []
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        try:
            for done in as_completed([pool.submit(carry_out, order) for order in orders]):
                for result in done.result():
                    results.append(result)
                    _tell(result, seed)
        finally:
            pool.shutdown(cancel_futures=True)
    tried, lost = sum(result.covered for result in results), sum(len(result.lost) for result in results)
    print(f"SEED={seed}: {tried} points tried, {lost} lost")
    if asked.point and not tried:
        return 2
    return 1 if lost else 0


def _able(names: Sequence[str] | None) -> list[Flow]:
    """The flows asked for, those left out by name whose programs are not installed."""
    able = []
    for flow in FLOWS:
        missing = [program for program in flow.needs if shutil.which(program) is None]
        if names and flow.name not in names:
            continue
        if missing:
            print(f"{flow.name:18} left out: {', '.join(missing)} not installed")
        else:
            able.append(flow)
    return able


def _tell(result: Result, seed: int) -> None:
    print(result, flush=True)
    for point, wrong in result.lost.items():
        print(f"  make torture FLOW={result.flow} MACHINE={result.machine} SEED={seed} POINT={point}")
        for line in wrong:
            print(f"      {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
