"""Other clients of SCEP, as commands that renew with the key kept, and a daemon's CPU for the same."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.costs import Argv, children_of, cost, cpu_of
from tests.interop.certmonger import certmonger
from tests.interop.peers import Lab

_RENEWALS = 4


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


@contextmanager
def certmonger_renewing(directory: Path, lab: Lab) -> Iterator[Callable[[], float]]:
    """Each call renews with a running certmonger, and returns ms of CPU of it and its helpers for one renewal."""
    with certmonger(directory / "certmonger") as daemon:
        daemon.getcert("add-scep-ca", "-c", "lab", "-u", lab.url, "-N", lab.trusted)
        files = ("-k", daemon.key("one"), "-f", daemon.certificate("one"))
        daemon.getcert("request", "-c", "lab", "-I", "one", *files, "-N", "CN=one", "-L", lab.challenge, "-w")
        process = child_named("certmonger")

        def renew() -> float:
            before = sum(cpu_of(process))
            for _ in range(_RENEWALS):
                daemon.getcert("resubmit", "-i", "one", "-w")
            time.sleep(1)  # it ends its helpers
            return (sum(cpu_of(process)) - before) * 1000 / _RENEWALS

        yield renew


def child_named(name: str) -> int:
    """The process of this name that we started."""
    return next(each for each in children_of(os.getpid()) if Path(f"/proc/{each}/comm").read_text().strip() == name)
