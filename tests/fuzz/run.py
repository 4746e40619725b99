"""Coverage-guided fuzzing: `python -m tests.fuzz.run --seconds 60 [TARGET...]`. Needs the extra `fuzz` (atheris).

Each target runs in a process of its own with a limit on memory, and on the time one input may take. Inputs that
were found are kept in --found and printed; a finding becomes a named test in test_found.py.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

MEMORY = 1024  # MiB, of which atheris and the libraries take some 150
SLOWEST = 10  # seconds for one input
_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)\s", re.MULTILINE)


def main() -> int:
    """0: nothing was found; 1: something was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="where inputs that broke something go")
    parser.add_argument("--inside", metavar="CORPUS", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    asked = parser.parse_args()
    if asked.inside:
        fuzz(asked.targets[0], Path(asked.inside), asked.seconds, asked.found)
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 -- the inner process instruments what it imports

    names = [target.name for target in TARGETS]
    if unknown := set(asked.targets) - set(names):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    total, broken = 0, []
    for name in asked.targets or names:
        runs, found = one(name, asked.seconds, asked.found)
        total += runs
        print(f"{name:20} {runs:>10} executions  {'FOUND' if found else 'nothing found'}", flush=True)
        if found:
            broken.append(name)
            print(found, flush=True)
    print(f"{'all':20} {total:>10} executions  {len(broken)} targets with findings")
    return 1 if broken else 0


def one(name: str, seconds: int, found: Path) -> tuple[int, str]:
    """Fuzz one target in a process of its own: executions, and the end of what it said if it found something."""
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        inside = [sys.executable, "-m", "tests.fuzz.run", "--inside", corpus, "--seconds", str(seconds)]
        # A minute more than it was given: by then it hangs outside any input.
        try:
            done = subprocess.run(
                [*inside, "--found", str(found), name],
                capture_output=True,
                text=True,
                timeout=seconds + 60,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 0, "did not end when its time was over"
    counts = [int(one or other) for one, other in _RUNS.findall(done.stderr)]
    said = "\n".join(done.stderr.splitlines()[-60:])
    return max(counts, default=0), "" if done.returncode == 0 else said


def fuzz(name: str, corpus: Path, seconds: int, found: Path) -> None:
    """The inner process. Never returns."""
    import atheris  # noqa: PLC0415 -- an extra

    with atheris.instrument_imports(include=["certagent", "asn1crypto", "msgspec", "yaml"]):
        from certagent.errors import CertagentError  # noqa: PLC0415 -- instrumented
        from tests.fuzz.mutation import changed  # noqa: PLC0415
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415
    target = next(each for each in TARGETS if each.name == name)
    for number, seed in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(seed)

    def run(data: bytes) -> None:
        with contextlib.suppress(CertagentError):
            target.run(data)

    def mutate(data: bytes, limit: int, number: int) -> bytes:
        random = Random(number)
        if random.random() < 0.3:
            return bytes(atheris.Mutate(data, limit))
        return changed(target, data, random)[:limit]

    _start(run, mutate, [
        f"-max_total_time={seconds}", "-max_len=16384", f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY}",
        "-print_final_stats=1", f"-artifact_prefix={found}/{name}-", str(corpus),
    ])  # fmt: skip


def _start(run: Callable[[bytes], None], mutate: Callable[[bytes, int, int], bytes], options: list[str]) -> None:
    import atheris  # noqa: PLC0415 -- an extra

    atheris.Setup([sys.argv[0], *options], run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
