"""Debian's certmonger, all of it, on a message bus of its own and with directories of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import PATIENCE, until

BUS = """<busconfig>
  <type>system</type>
  <listen>unix:path={directory}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow eavesdrop="true"/><allow send_destination="*" eavesdrop="true"/>
  </policy>
</busconfig>
"""


@dataclass(frozen=True)
class Certmonger:
    directory: Path
    environment: dict[str, str]

    def getcert(self, *words: str | Path) -> str:
        """One command of its user; what it printed. It waits where the command has `-w`."""
        done = subprocess.run(
            ["getcert", *words], env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def told(self, name: str) -> str:
        return self.getcert("list", "-i", name)

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    def certificate(self, name: str) -> Path:
        return self.directory / f"{name}.pem"


@contextlib.contextmanager
def certmonger(directory: Path) -> Iterator[Certmonger]:
    """Running, and to be talked to."""
    names = {"REQUESTS_DIR": "requests", "CAS_DIR": "cas", "LOCAL_CA_DIR": "local", "TMPDIR": "tmp"}
    for name in names.values():
        (directory / name).mkdir(parents=True)
    (directory / "certmonger.conf").touch()
    (directory / "bus.conf").write_text(BUS.format(directory=directory))
    environment = {
        **os.environ,
        "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={directory}/bus",
        "CERTMONGER_CONFIG": str(directory / "certmonger.conf"),
        "CERTMONGER_SYSTEM_LOCK_FILE": str(directory / "lock"),
        **{f"CERTMONGER_{variable}": str(directory / name) for variable, name in names.items()},
    }
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((directory / "log").open("wb"))
        for command in (
            ["dbus-daemon", f"--config-file={directory}/bus.conf", "--nofork", "--nopidfile"],
            ["certmonger", "-S", "-n", "-d", "1"],
        ):
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            until((directory / "bus").exists)
        until(lambda: _answers(environment))
        yield Certmonger(directory, environment)


def _answers(environment: dict[str, str]) -> bool:
    return subprocess.run(["getcert", "list-cas"], env=environment, capture_output=True, check=False).returncode == 0
