"""Other clients of SCEP, as commands that renew with the key kept, and a daemon's CPU for the same."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from bench.costs import Argv, cost
from tests.interop.certmonger import certmonger
from tests.interop.peers import Lab

_TICKS = os.sysconf("SC_CLK_TCK")


def commands(directory: Path, lab: Lab, key: Path, certificate: Path) -> dict[str, Argv]:
    """By name. `key` and `certificate`: an identity from this lab."""
    scepclient: Argv = ["scepclient", "-server-url", lab.url, "-challenge", lab.challenge, "-cn", "peer"]
    scepclient = [*scepclient, "-private-key", "peer.key", "-certificate", "peer.pem"]
    cost(scepclient, directory)  # makes its key
    pki: Argv = ["pki", "--scep", "--cipher", "des3", "--url", lab.url, "--dn", "CN=device", "--outform", "pem"]
    pki = [*pki, "--cacert-enc", lab.ca, "--cacert-sig", lab.ca, "--cacert", lab.ca]
    return {
        "scepclient": scepclient,
        "strongSwan's pki": [*pki, "--in", key, "--cert", certificate, "--key", key],
        "openssl req": ["openssl", "req", "-new", "-key", key, "-subj", "/CN=device", "-out", "device.csr"],
    }


def certmonger_each(directory: Path, lab: Lab, count: int) -> float:
    """ms of CPU of certmonger and its helpers for each of `count` renewals, one after the other."""
    with certmonger(directory / "certmonger") as daemon:
        daemon.getcert("add-scep-ca", "-c", "lab", "-u", lab.url, "-N", lab.trusted)
        files = ("-k", daemon.key("one"), "-f", daemon.certificate("one"))
        daemon.getcert("request", "-c", "lab", "-I", "one", *files, "-N", "CN=one", "-L", lab.challenge, "-w")
        [process] = [each for each in _children() if each[1] == "certmonger"]
        before = _ticks(process[0])
        for _ in range(count):
            daemon.getcert("resubmit", "-i", "one", "-w")
        time.sleep(1)  # it ends its helpers
        return (_ticks(process[0]) - before) / _TICKS * 1000 / count


def _children() -> list[tuple[int, str]]:
    listed = ["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="]
    done = subprocess.run(listed, check=True, capture_output=True, text=True)
    return [(int(pid), name) for pid, name in (line.split(None, 1) for line in done.stdout.splitlines())]


def _ticks(process: int) -> int:
    """Its own, and its ended children's."""
    return sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15]))
