"""A device with files alone: certagent installed without python-pkcs11 and rich, as docs/running.md says."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.readme.test_wheel import make
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
AUTHORITY = """
state_dir: {place}/state
metrics_file: {place}/certagent.prom
authorities:
  lab: {{url: "{url}", fingerprint: "{fingerprint}", challenge: {{file: "{place}/lab/challenge"}}}}
defaults: {{authority: lab}}
keystores:
  web: {{type: pem, key_file: {place}/web.key, certificate_file: {place}/web.pem, subject: CN=web}}
"""
TOKEN = """\
  vpn:
    {{type: pkcs11, module: {module}, token: vpn, pin: {{file: "{place}/lab/challenge"}}, uri_file: {place}/vpn.uri,
     subject: CN=vpn}}
"""


class Device:
    """A virtual environment made as the page says, a lab CA of the same certagent, and a configuration."""

    def __init__(self, place: Path, program: Path) -> None:
        self.place, self.program, self.config = place, program, place / "agent.yaml"

    def run(self, *argv: str, code: int = 0) -> str:
        done = subprocess.run(
            [self.program, "-c", self.config, *argv], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run_in_terminal(self, *argv: str) -> str:
        ours, theirs = pty.openpty()
        done = subprocess.run([self.program, "-c", self.config, *argv], stdout=theirs, stderr=theirs, check=False)
        os.close(theirs)
        printed = os.read(ours, 65536)
        os.close(ours)
        assert done.returncode == 0, printed
        return printed.decode()

    def configure(self, *, with_token: bool) -> None:
        told = (self.place / "lab.log").read_text()
        values = {
            "place": self.place,
            "url": re.findall(r"http://\S+", told)[0],
            "fingerprint": re.findall(r"sha256:\w+", told)[0],
            "module": sys.executable,
        }
        self.config.write_text((AUTHORITY + (TOKEN if with_token else "")).format(**values))
        self.config.chmod(0o600)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    place = tmp_path_factory.mktemp("slim")
    wheel, _ = make(place)
    venv = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", f"--python={venv}/bin/python", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", wheel], check=True)
    slim = venv / "share/certagent/requirements-slim.txt"
    subprocess.run([*pip, "--no-warn-conflicts", "--constraint", ROOT / "constraints.txt", "-r", slim], check=True)
    device = Device(place, venv / "bin/certagent")
    with (place / "lab.log").open("w") as log:
        argv = [str(device.program), "lab", "--dir", str(place / "lab"), "--port", "0", "--background"]
        subprocess.run(argv, check=True, stdout=log, timeout=PATIENCE)
    yield device
    subprocess.run([device.program, "lab", "stop", "--dir", place / "lab"], check=True, stdout=subprocess.DEVNULL)


pytestmark = [pytest.mark.slow, pytest.mark.needs("git")]  # it builds, and installs


def test_it_enrolls_renews_and_tells_in_plain_text(device: Device) -> None:
    device.configure(with_token=False)
    assert "web: enrolled" in device.run("enroll", "web")
    assert "web: renewed" in device.run("renew", "--force", "web")
    for command in ("status", "plan", "history", "check"):
        for told in (device.run(command), device.run_in_terminal(command)):
            assert "web" in told
            assert "\x1b" not in told
    assert "no faults" in device.run("check")
    device.run("health")


def test_the_agent_runs(device: Device) -> None:
    device.configure(with_token=False)
    device.run("renew")
    log = device.place / "agent.log"
    with log.open("w") as file, subprocess.Popen([device.program, "-c", device.config, "run"], stderr=file) as agent:
        until(lambda: "serving 1 keystores" in log.read_text(), told=log.read_text)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(PATIENCE) == 0


def test_the_demo_says_what_to_install(device: Device) -> None:
    what, hint = device.run("demo", code=2).splitlines()
    assert what == "certagent: rich is not installed, and `certagent demo` needs it"
    assert hint.startswith(f"  add it: `python3 -m pip --python {device.place}/venv/bin/python")
    assert hint.endswith(" install --no-warn-conflicts 'rich>=13.7'`")


def test_only_the_keystore_in_a_token_is_in_trouble(device: Device) -> None:
    device.configure(with_token=True)
    told = device.run("renew", "--force", "web", "vpn", code=1)
    assert "web: renewed" in told
    assert "vpn: failed: python-pkcs11 is not installed, and keystores in tokens need it; add it: `" in told
    status = device.run("status")
    assert re.search(r"^web +valid ", status, re.MULTILINE)
    assert re.search(r"^vpn +failed ", status, re.MULTILINE)
    assert "python-pkcs11 is not installed" in status
    assert "python-pkcs11 is not installed" in device.run("check", "vpn", code=1)
    device.run("check", "web")
    device.run("plan")
