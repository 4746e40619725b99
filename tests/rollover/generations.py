"""Generations of a CA in real time: `certagent lab` on a schedule, `certagent run`, nginx, and clients that believe
nothing but ca_file. For a test of some generations and for bench/rollover.py with more of them.
"""

from __future__ import annotations

import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509

from certagent import certificate as facts
from tests.consumers import servers
from tests.consumers.clients import SERVER_NAME, Clients, serial
from tests.interop.commands import argv, environment, lab_process
from tests.renewal.site import pair_matches
from tests.waiting import free_port, until

_CONFIG = """\
state_dir: {directory}/state
live_dir: {directory}/live
authorities:
  lab:
    url: {url}
    fingerprint: {fingerprint}
    challenge: {{file: {directory}/lab/challenge}}
    rollover_at: {rollover_at}
keystores:
  web:
    type: pem
    authority: lab
    subject: CN={name}
    san: [dns:{name}]
    key_file: {directory}/web.key
    certificate_file: {directory}/web.pem
    ca_file: {directory}/ca.pem
    certificate_format: leaf
    jitter: 0%
    hooks:
      post: [[{directory}/reload]]
      ca_changed: [[touch, {directory}/ca_changed]]
"""


@dataclass(frozen=True)
class Schedule:
    """Seconds. A CA lives `life`; the next one is announced `announced` and begins `overlap` before its end."""

    life: int
    announced: int
    overlap: int
    certificate: int
    rollover_at: str

    def stretched(self, factor: float) -> Schedule:
        """The same with longer lives, for a slow machine."""
        longer = {name: round(getattr(self, name) * factor) for name in ("life", "announced", "overlap", "certificate")}
        return replace(self, **longer)

    @property
    def period(self) -> int:
        return self.life - self.overlap


@dataclass
class Figures:
    """What was seen. A switch: seconds from its due time to the files in place, and to nginx serving them."""

    switches: list[tuple[float, float]] = field(default_factory=list)
    renewals: int = 0
    connections: int = 0
    failures: list[str] = field(default_factory=list)
    unmatched: int = 0
    trusted: list[int] = field(default_factory=list)


class Followers(Clients):
    """Clients that read ca_file again when the ca_changed hook has run, and note when a certificate is served first."""

    def __init__(self, port: int, directory: Path) -> None:
        super().__init__(port, directory / "ca.pem")
        self.directory, self.read_at = directory, self._changed_at(directory)
        self.first_served: dict[int, float] = {}

    def connect(self) -> ssl.SSLSocket:
        changed_at = self._changed_at(self.directory)
        if changed_at != self.read_at:
            self.context, self.read_at = ssl.create_default_context(cafile=self.directory / "ca.pem"), changed_at
        connection = super().connect()
        self.first_served.setdefault(serial(connection), time.time())
        time.sleep(0.04)  # two cores are shared by all
        return connection

    @staticmethod
    def _changed_at(directory: Path) -> float:
        mark = directory / "ca_changed"
        return mark.stat().st_mtime if mark.exists() else 0.0


def observe(directory: Path, generations: int, schedule: Schedule) -> Figures:
    """Go through so many generations, the first one included, and some seconds of the last."""
    options = {
        "--ca-lifetime": f"{schedule.life}s",
        "--rollover": f"{schedule.announced}s",
        "--overlap": f"{schedule.overlap}s",
        "--lifetime": f"{schedule.certificate}s",
    }
    words = [word for option in options.items() for word in option]
    with lab_process(directory / "lab", *words) as url:
        banner = (directory / "lab.log").read_text()
        port = free_port()
        nginx = servers.nginx_configuration(
            directory / "nginx", port=port, key=directory / "web.key", certificate=directory / "web.pem"
        )
        _write(directory, url, re.findall(r"CA +(sha256:\S+)", banner)[0], nginx, schedule)
        with _agent(directory), servers.nginx(nginx, port):
            clients = Followers(port, directory)
            with clients:
                return _watch(directory, clients, generations, schedule)


def _write(directory: Path, url: str, fingerprint: str, nginx: Path, schedule: Schedule) -> None:
    config = directory / "agent.yaml"
    config.write_text(
        _CONFIG.format(
            directory=directory, url=url, fingerprint=fingerprint, name=SERVER_NAME, rollover_at=schedule.rollover_at
        )
    )
    config.chmod(0o600)
    reload_ = directory / "reload"
    reload_.write_text(f"#!/bin/sh\ntest ! -s {nginx.parent}/pid || exec nginx -c {nginx} -s reload\n")
    reload_.chmod(0o755)


@contextmanager
def _agent(directory: Path) -> Iterator[None]:
    with (directory / "agent.log").open("w") as log:
        command = argv("-c", directory / "agent.yaml", "run")
        with subprocess.Popen(command, env=environment(), stdout=log, stderr=log) as process:
            try:
                until(lambda: (directory / "web.pem").exists() and (directory / "ca.pem").exists())
                yield
            finally:
                process.terminate()


def _watch(directory: Path, clients: Followers, generations: int, schedule: Schedule) -> Figures:
    figures, seen = Figures(), _leaf(directory)
    issuers = [_issuer(seen)]
    switched: list[tuple[x509.Certificate, float]] = []
    end = time.monotonic() + (generations + 1) * schedule.period
    while time.monotonic() < end and (len(issuers) < generations or time.time() < switched[-1][1] + 3):
        time.sleep(0.02)
        leaf = _leaf(directory)
        if leaf == seen:
            continue
        seen, now = leaf, time.time()
        if _issuer(leaf) in issuers:
            figures.renewals += 1
        else:
            issuers.append(_issuer(leaf))
            switched.append((leaf, now))
            figures.trusted.append(len(facts.load_pem((directory / "ca.pem").read_bytes(), "ca.pem")))
        figures.unmatched += not _matched(directory)
    for leaf, now in switched:
        due = leaf.not_valid_before_utc.timestamp()
        served = clients.first_served.get(leaf.serial_number, float("inf"))
        figures.switches.append((now - due, served - due))
    figures.connections, figures.failures = clients.connections, list(clients.failures)
    return figures


def _leaf(directory: Path) -> x509.Certificate:
    return facts.load_pem((directory / "web.pem").read_bytes(), "web.pem")[0]


def _issuer(leaf: x509.Certificate) -> bytes:
    return leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""


def _matched(directory: Path) -> bool:
    """Whether key and certificate belong together; of two files, the second rename may be a moment away."""
    for _ in range(10):
        if pair_matches(directory / "web.key", _leaf(directory)):
            return True
        time.sleep(0.01)
    return False
