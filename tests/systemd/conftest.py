"""A machine that boots: systemd in a container, over an overlay of this host's `/`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
# In the machine: a checkout below /tmp would be hidden by PrivateTmp=.
THERE = Path("/opt/checkout")
SCENARIO = """\
[Unit]
After=multi-user.target
[Service]
Type=idle
ExecStart=/bin/bash /root/scenario
ExecStopPost=/bin/systemctl poweroff --force --force
"""


class Machine:
    """`root` is where its file system can be prepared before `boot`, and looked at after."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self._layers = directory / "layers"

    def mount(self) -> None:
        self._layers.mkdir()
        self.root.mkdir()
        _run("mount", "-t", "tmpfs", "tmpfs", self._layers)
        upper, work = self._layers / "upper", self._layers / "work"
        upper.mkdir()
        work.mkdir()
        _run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", self.root)
        # What the host's own units do at boot is not this test's business, and takes long.
        for wish in (self.root / "etc/systemd/system").glob("*.wants/*"):
            wish.unlink()

    def unmount(self) -> None:
        for path in (self.root, self._layers):
            if path.is_mount():
                _run("umount", "-l", path)

    def write(self, path: str, content: str | bytes, mode: int = 0o600) -> Path:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        return target

    def install(self, *enabled: str) -> None:
        """certagent where its units expect it, this very source; and the units."""
        python = Path(sys.executable)
        python = THERE / python.relative_to(ROOT) if python.is_relative_to(ROOT) else python
        code = f"import sys\nsys.path.insert(0, {str(THERE)!r})\nfrom certagent.cli import main\nsys.exit(main())\n"
        self.write("/usr/bin/certagent", f"#!{python} -B\n{code}", 0o755)
        for unit in (ROOT / "systemd").iterdir():
            shutil.copy(unit, self.root / "etc/systemd/system")
        _run("systemctl", f"--root={self.root}", "enable", *enabled)

    def boot(self, scenario: str, seconds: float = 5 * PATIENCE) -> str:
        """Boot, run the lines of bash once the machine is up, power off; returns what they printed."""
        self.write("/root/scenario", f"exec >/root/printed 2>&1\n{scenario}")
        self.write("/etc/systemd/system/scenario.service", SCENARIO, 0o644)
        wants = self.root / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / "scenario.service").unlink(missing_ok=True)
        (wants / "scenario.service").symlink_to("/etc/systemd/system/scenario.service")
        command = ["systemd-nspawn", "-q", "--boot", "--register=no", "--keep-unit", "--private-network"]
        binds = [f"--bind-ro={ROOT}", f"--bind-ro={ROOT}:{THERE}"]
        with suppress(subprocess.TimeoutExpired):  # what it printed says more
            subprocess.run(
                [*command, *binds, f"--machine=certagent{id(self)}", "-D", self.root],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                check=False,
            )
        printed = self.root / "root/printed"
        return printed.read_text() if printed.exists() else "(the machine did not come up)"


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    try:
        made.mount()
        yield made
    finally:
        made.unmount()
