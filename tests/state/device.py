"""A device at another time: a directory that lies at /media, where its configuration says, and a clock set by hand.

The state directory holds absolute paths, and what is remembered of a CA hangs on its URL. So every command runs in a
mount namespace of its own, and reaches the lab CA as its proxy. Root is needed for the mount.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE, until

HOME = Path("/media")
RELEASES = Path(__file__).parent / "releases"
_NOW = "now"
CERTAGENT = """\
import select, sys, time
time.sleep = lambda seconds: select.select([], [], [], seconds)
from certagent.cli import main
sys.exit(main())
"""
"""The command. Python sleeps until a moment, which libfaketime now and then takes for an invalid one."""


@cache
def _faketime() -> str:
    """The library itself: its program would be one more process, and leaves a semaphore if it is ended."""
    argv = ["faketime", "-f", "@2026-01-01 00:00:00", "printenv", "LD_PRELOAD"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@dataclass
class Device:
    """`directory` holds agent.yaml, the lab CA in lab/, the state in state/, the consumer's files in files/."""

    directory: Path
    now: datetime
    proxy: str = "http://127.0.0.1:1"

    @classmethod
    def from_release(cls, made: Path, directory: Path) -> Device:
        """A copy of what a release left, at the moment it was left."""
        shutil.copytree(made, directory, symlinks=True)
        (directory / "files").mkdir(exist_ok=True)  # git keeps no empty directory either
        for path in (directory, *directory.rglob("*")):
            if not path.is_symlink():  # git keeps no modes
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o600)
        return cls(directory, datetime.fromisoformat((directory / _NOW).read_text().strip()))

    def leave(self) -> None:
        """Note the moment."""
        (self.directory / _NOW).write_text(f"{self.now.isoformat()}\n")

    def advance(self, **length: float) -> None:
        self.now += timedelta(**length)

    def path(self, name: str) -> Path:
        return self.directory / name

    def argv(self, *words: str) -> list[str]:
        """The command as it runs at /media, by the device's clock."""
        mounted = 'mount --bind "$0" /media && export LD_PRELOAD="$1" && shift && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mounted, str(self.directory), _faketime(), sys.executable, *words]

    @property
    def environment(self) -> dict[str, str]:
        kept = {word: value for word, value in os.environ.items() if not word.lower().endswith("_proxy")}
        return {
            **kept,
            "TZ": "UTC",
            "FAKETIME": f"@{self.now.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            "DONT_FAKE_MONOTONIC": "1",
            "SOFTHSM2_CONF": str(HOME / "softhsm2.conf"),
            "http_proxy": self.proxy,
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`certagent` with these words."""
        argv = self.argv("-c", CERTAGENT, "-c", str(HOME / "agent.yaml"), *words)
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def status(self) -> dict[str, Any]:
        """What `status --json` says of the keystore `web`."""
        done = self.run("status", "--json")
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)["keystores"]["web"]
        return found

    def decide(self, word: str) -> None:
        """`certagent lab approve`, or `reject`, for all that waits."""
        for waiting in (self.path("lab/pending")).glob("*.pem"):
            argv = self.argv("-c", CERTAGENT, "lab", "--dir", str(HOME / "lab"), word, waiting.stem)
            subprocess.run(argv, env=self.environment, check=True, capture_output=True, timeout=PATIENCE)

    @contextmanager
    def lab(self, *options: str) -> Iterator[None]:
        """The lab CA is up meanwhile, from the device's present moment on."""
        argv = self.argv("-c", CERTAGENT, "lab", "--dir", str(HOME / "lab"), "--port", "0", *options)
        banner = self.directory.with_name(f"{self.directory.name}.log")
        with (
            banner.open("w") as log,
            subprocess.Popen(argv, env=self.environment, stdout=log, stderr=log) as process,
        ):
            try:
                until(lambda: "Requests:" in banner.read_text() or process.poll() is not None)
                found = re.search(r"URL +(\S+)/scep", banner.read_text())
                assert found is not None, banner.read_text()
                self.proxy = found[1]
                yield
            finally:
                self.proxy = "http://127.0.0.1:1"
                process.terminate()
