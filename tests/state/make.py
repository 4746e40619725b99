"""Make the state directories of this release: `python -m tests.state.make`, as root, once for each release.

Each scenario drives the real certagent, at a clock set by hand, to a place where an upgrade may find a device. The
keys are made for this and guard nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import certagent
from tests.state.device import CERTAGENT, HOME, RELEASES, Device
from tests.tokens.site import SOFTHSM

START = datetime(2026, 12, 1, 12, tzinfo=UTC)
YEARLY = ("--ca-lifetime", "365d", "--rollover", "120d", "--overlap", "60d")
FILES = "type: pem\n    key_file: /media/files/web.key\n    certificate_file: /media/files/web.pem\n"
P12 = "type: pkcs12\n    file: /media/files/web.p12\n    password: {file: /media/password}\n"
TOKEN = f"""type: pkcs11
    module: {SOFTHSM}
    token: vpn
    pin: {{file: /media/pin}}
    certificate_file: /media/files/web.pem
    uri_file: /media/files/web.uri
"""
ALLOWED = "    hooks: {WHEN: [[/media/hook]]}\n"


def configure(device: Device, keystore: str = FILES, hooks: str = "") -> None:
    """agent.yaml with one keystore `web`, once the lab has made its CA."""
    [told] = [
        line
        for line in subprocess.run(
            ["openssl", "x509", "-in", device.path("lab/ca.pem"), "-noout", "-fingerprint", "-sha256"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        if "=" in line
    ]
    fingerprint = told.partition("=")[2].replace(":", "").lower()
    device.path("agent.yaml").write_text(f"""\
state_dir: /media/state
live_dir: /media/live
authorities:
  lab:
    url: http://ca.test/scep
    fingerprint: sha256:{fingerprint}
    challenge: {{file: /media/lab/challenge}}
    rollover_at: 120d
keystores:
  web:
    {keystore}    authority: lab
    subject: CN=web.example.net
    san: [dns:web.example.net]
    ca_file: /media/files/ca.pem
    jitter: 0%
{hooks}""")
    device.path("agent.yaml").chmod(0o600)
    device.path("files").mkdir(exist_ok=True)


def hook(device: Device, *, works: bool) -> None:
    device.path("hook").write_text(f"#!/bin/sh\nexit {0 if works else 1}\n")
    device.path("hook").chmod(0o755)


def expect(device: Device, code: int, *words: str) -> None:
    done = device.run(*words)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"


def enrolled(device: Device, keystore: str = FILES, hooks: str = "", lab: tuple[str, ...] = ()) -> None:
    with device.lab(*lab):
        configure(device, keystore, hooks)
        expect(device, 0, "enroll", "web")


def renewed(device: Device, keystore: str = FILES) -> None:
    """Once over: there is a previous/, and a history."""
    enrolled(device, keystore)
    device.advance(days=75)
    with device.lab():
        expect(device, 0, "renew", "--due")


def pending(device: Device) -> None:
    with device.lab("--manual"):
        configure(device)
        expect(device, 3, "enroll", "web")


def renewal_pending(device: Device) -> None:
    enrolled(device)
    device.advance(days=75)
    with device.lab("--manual"):
        expect(device, 3, "renew", "--due")


def vetoed(device: Device) -> None:
    """The certificate is here, and its pre hook says no."""
    hook(device, works=False)
    with device.lab():
        configure(device, hooks=ALLOWED.replace("WHEN", "pre"))
        expect(device, 1, "enroll", "web")


def hooks_owed(device: Device) -> None:
    hook(device, works=False)
    with device.lab():
        configure(device, hooks=ALLOWED.replace("WHEN", "post"))
        expect(device, 1, "enroll", "web")


def killed_in_the_swap(device: Device) -> None:
    """Gone between the two files of a renewal: the new key is in place, the certificate is not."""
    enrolled(device)
    device.advance(days=75)
    script = (
        "import os, signal\n"
        "real = os.replace\n"
        "def replace(source, target, **other):\n"
        "    if str(target).endswith('web.pem'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(source, target, **other)\n"
        "os.replace = replace\n"
    )
    with device.lab():
        argv = device.argv("-c", script + CERTAGENT, "-c", str(HOME / "agent.yaml"), "renew", "--due")
        subprocess.run(argv, env=device.environment, check=False, capture_output=True)
    assert device.status()["transaction"] == {"kind": "renewal", "phase": "activating"}, device.status()


def adopted(device: Device) -> None:
    """Put there by another tool; looked at once."""
    enrolled(device)
    shutil.rmtree(device.path("state"))
    with device.lab():
        expect(device, 0, "renew", "--due")


def unreachable(device: Device) -> None:
    enrolled(device)
    device.advance(days=75)
    expect(device, 1, "renew", "--due")


def staged(device: Device) -> None:
    """The next CA is proven, in ca_file, and has issued a successor for its day."""
    enrolled(device, lab=YEARLY)
    for _ in range(4):
        device.advance(days=62)
        with device.lab(*YEARLY):
            expect(device, 0, "renew", "--due")
    assert device.status()["state"] == "staged", device.status()


def rolled_over(device: Device) -> None:
    staged(device)
    switch = datetime.fromisoformat(device.status()["rollover"]["switch_at"])
    device.now = switch
    device.advance(hours=1)
    with device.lab(*YEARLY):
        expect(device, 0, "renew", "--due")


def softhsm(device: Device) -> None:
    device.path("tokens").mkdir()
    device.path("softhsm2.conf").write_text(
        "directories.tokendir = /media/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    device.path("pin").write_text("1234\n")
    device.path("pin").chmod(0o600)
    words = ["softhsm2-util", "--init-token", "--free", "--label", "vpn", "--pin", "1234", "--so-pin", "567890"]
    # Started by the same Python, at /media and by the same clock, as everything else.
    argv = device.argv("-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])", *words)
    subprocess.run(argv, env=device.environment, check=True, capture_output=True)


def token(device: Device) -> None:
    softhsm(device)
    renewed(device, TOKEN)


def wrong_pin(device: Device) -> None:
    """Refused once: it is remembered, and not tried again."""
    softhsm(device)
    device.path("pin").write_text("4321\n")
    with device.lab():
        configure(device, TOKEN)
        expect(device, 1, "enroll", "web")


def pkcs12(device: Device) -> None:
    device.path("password").write_text("changeit\n")
    device.path("password").chmod(0o600)
    renewed(device, P12)


SCENARIOS: dict[str, Callable[[Device], None]] = {
    "valid": enrolled,
    "renewed": renewed,
    "pending": pending,
    "renewal-pending": renewal_pending,
    "vetoed": vetoed,
    "hooks-owed": hooks_owed,
    "killed-in-the-swap": killed_in_the_swap,
    "adopted": adopted,
    "unreachable": unreachable,
    "staged": staged,
    "rolled-over": rolled_over,
    "token": token,
    "wrong-pin": wrong_pin,
    "pkcs12": pkcs12,
}


def main() -> None:
    release = RELEASES / certagent.__version__
    for name in sys.argv[1:] or SCENARIOS:
        with tempfile.TemporaryDirectory() as temporary:
            device = Device(Path(temporary) / "device", START)
            device.directory.mkdir()
            SCENARIOS[name](device)
            device.leave()
            shutil.rmtree(release / name, ignore_errors=True)
            shutil.copytree(device.directory, release / name, symlinks=True)
        sys.stdout.write(f"{release / name}\n")
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    ).stdout
    (release / "commit").write_text(commit)


if __name__ == "__main__":
    main()
