"""What the tests with other people's clients share: a lab in a process of its own, and what it was asked."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certagent.lab.store import Store
from tests.interop.commands import argv, environment, lab_process

# Options of `certagent lab`: what sort of CA the clients meet.
KINDS = [
    pytest.param((), id="CA"),
    pytest.param(("--ra",), marks=pytest.mark.slow, id="CA and RA"),
    pytest.param(("--intermediate",), marks=pytest.mark.slow, id="intermediate CA"),
    pytest.param(("--intermediate", "--ra"), id="intermediate CA and RA"),
    pytest.param(("--ca-key", "ec:p256"), id="EC CA and RSA RA"),
]


@dataclass(frozen=True)
class Lab:
    directory: Path
    url: str

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def trusted(self) -> Path:
        """What openssl needs to judge its certificates: the CA, and the root above it if there is one."""
        bundle = self.directory / "trusted.pem"
        bundle.write_bytes(b"".join(path.read_bytes() for path in self.directory.glob("*.pem") if _is_ca(path)))
        return bundle

    @property
    def challenge(self) -> str:
        return (self.directory / "challenge").read_text().strip()

    def log(self) -> list[str]:
        return self.directory.with_name(f"{self.directory.name}.log").read_text().splitlines()

    def heard(self) -> list[tuple[str, str]]:
        """Message type and result of every SCEP message, in order."""
        found = [re.search(r" PKIOperation (\w+) by .*: (SUCCESS|PENDING|FAILURE \w+)", line) for line in self.log()]
        return [(match[1], match[2]) for match in found if match]

    def kinds(self) -> list[str]:
        """What the issued certificates were issued as, in order: `enrollment` or `renewal`."""
        return [record.kind for record in Store(self.directory).all_issued()]

    def approve(self) -> None:
        command = argv("lab", "approve", "--all", "--dir", self.directory)
        subprocess.run(command, env=environment(), check=True, capture_output=True)

    def approve_later(self, seconds: int) -> subprocess.Popen[bytes]:
        """Approve from another process, while a client waits in this one."""
        code = "import subprocess, sys, time; time.sleep(float(sys.argv[1])); subprocess.run(sys.argv[2:], check=True)"
        command = argv("lab", "approve", "--all", "--dir", self.directory)
        return subprocess.Popen([sys.executable, "-c", code, str(seconds), *command], env=environment())


def _is_ca(path: Path) -> bool:
    return path.name in ("ca.pem", "root.pem")


@contextlib.contextmanager
def running(directory: Path, *options: str) -> Iterator[Lab]:
    """A lab in `directory`/lab, served with these options of `certagent lab`."""
    with lab_process(directory / "lab", *options) as url:
        yield Lab(directory / "lab", url)
