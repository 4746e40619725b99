"""The lab CA of a torture: a process of its own, on a clock that is told how far to go wrong.

It is never set back between tries. Nothing it remembers of one try matters to the next, for every transaction has a
name of its own; how many certificates a try has cost is seen from its directory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from certagent.lab import LabCA, Settings, serve

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Life:
    """How old the CA is, how long it and its certificates live, how long before its end the next one is announced
    and begins; all in days."""

    age: float = 70
    lifetime: float = 3650
    certificates: float = 90
    rollover: float | None = None
    overlap: float = 0


@dataclass
class Authority(AbstractContextManager["Authority"]):
    """The handle of the process. At first it believes that it is the CA's first day."""

    directory: Path
    life: Life
    _process: subprocess.Popen[str] = field(init=False)
    url: str = field(init=False)

    def __post_init__(self) -> None:
        argv = [sys.executable, "-m", "tests.torture.ca", str(self.directory), json.dumps(vars(self.life))]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._process:
            self._process.terminate()

    def tell(self, *, ago: float = 0, manual: bool = False) -> None:
        """Let it believe that it is so many days ago; `manual`: requests wait for a person."""
        assert self._process.stdin is not None
        print(json.dumps({"ago": ago, "manual": manual}), file=self._process.stdin, flush=True)
        self._answer()

    def issued(self) -> int:
        """How many certificates it has issued so far."""
        return len(list((self.directory / "issued").glob("*.pem")))

    def certificates(self) -> str:
        """Its certificate and those that came after, in PEM."""
        return "".join(path.read_text() for path in sorted(self.directory.glob("**/ca.pem")))

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the lab CA has ended"
        return line


def main() -> None:
    """Serve; each line of standard input is an order of `Authority.tell`, its end ends the CA."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("life", type=json.loads)
    arguments = parser.parse_args()
    life = Life(**arguments.life)
    ago = life.age

    def clock() -> datetime:
        return datetime.now(UTC) - ago * DAY

    settings = Settings(
        lifetime=life.certificates * DAY,
        ca_lifetime=life.lifetime * DAY,
        rollover=None if life.rollover is None else life.rollover * DAY,
        overlap=life.overlap * DAY,
        challenge="open sesame",
    )
    ca = LabCA(arguments.directory, clock, settings)
    with serve(ca) as server:
        print(server.url, flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            ago = order["ago"]
            ca.settings = replace(settings, manual=order["manual"])
            print("done", flush=True)


if __name__ == "__main__":
    main()
