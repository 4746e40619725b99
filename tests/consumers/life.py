"""A consumer's life on a machine that boots: `python -m tests.consumers.life NAME RESULT`, as root, in there.

Its definition is used as shipped. First enrollment before the service runs, renewals under load, and a rollover, with
the next CA announced when we are ready for it; before, during and after it, a peer under each CA. What was seen is
written to RESULT.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from certagent import certificate as facts
from certagent import keys
from certagent.config.key_types import KeyType
from certagent.lab import LabCA, Settings, issuing, serve
from certagent.lab.generation import Generation
from tests.consumers.catalogue import CONSUMERS
from tests.consumers.eap import Authenticator
from tests.consumers.ike import IkePeer
from tests.consumers.openvpn import OpenVpnPeer
from tests.consumers.peers import AnyPeer, Load, Peer
from tests.interop.commands import ROOT, Done, certagent
from tests.waiting import PATIENCE, slowness, until

CONFIG = Path("/etc/certagent/agent.yaml")
HOME = Path("/root/life")
RENEWALS = 3
DAY = timedelta(days=1)


@dataclass
class Seen:
    """`before`, `during`, `after`: which of the two peers was served. `failed` are handshakes, of `handshakes` more."""

    first_enrollment: str = ""
    enrolled: str = ""
    renewals: int = 0
    handshakes: int = 0
    failed: list[str] = field(default_factory=list)
    all_served: bool = False
    staged: str = ""
    rolled_over: str = ""
    events: list[str] = field(default_factory=list)
    before: list[bool] = field(default_factory=list)
    during: list[bool] = field(default_factory=list)
    after: list[bool] = field(default_factory=list)
    state: str = ""


_DAEMONS: dict[str, Callable[[Path, Path], AnyPeer]] = {
    "eap": Authenticator,
    "ike": IkePeer,
    "openvpn client": partial(OpenVpnPeer, "client"),
    "openvpn server": partial(OpenVpnPeer, "server"),
}


class Life:
    """One consumer, its CA, and what was seen so far."""

    def __init__(self, name: str) -> None:
        self.consumer, self.seen = CONSUMERS[name], Seen()
        self.name = self.consumer.definition or name
        HOME.mkdir(mode=0o700)
        settings = Settings(lifetime=DAY / 2, ca_lifetime=DAY, rollover=DAY / 100)
        self.ca = LabCA(HOME / "lab", lambda: datetime.now(UTC), settings)

    def live(self) -> None:
        with serve(self.ca, "127.0.0.1", 8080) as server:
            self.install(server.url, rollover_at="90%")
            self.enroll()
            self.renew_under_load()
            self.roll_over(server.url)

    def install(self, url: str, rollover_at: str) -> None:
        CONFIG.parent.joinpath("keystores").mkdir(parents=True, exist_ok=True)
        definition = CONFIG.parent / "keystores" / f"{self.name}.yaml"
        text = (ROOT / "keystores" / definition.name).read_text()
        for shipped, changed in self.consumer.changes.items():
            assert shipped in text, shipped
            text = text.replace(shipped, changed)
        # The next CA at once, not at a moment of this host's own.
        definition.write_text(re.sub(r"^( +)type: .*$", r"\g<0>\n\1jitter: 0%", text, flags=re.MULTILINE))
        challenge = HOME / "challenge"
        challenge.write_text(self.ca.challenge)
        challenge.chmod(0o600)
        CONFIG.write_text(
            "include: keystores/*.yaml\nauthorities:\n  corp:\n"
            f"    url: {url}\n    challenge: {{file: {challenge}}}\n    rollover_at: {rollover_at}\n"
            f"    fingerprint: {facts.fingerprint(self.ca.generations._generations[0].issuer.certificate)}\n"
        )
        CONFIG.chmod(0o600)

    def enroll(self) -> None:
        for path, text in self.consumer.files.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
        shell(self.consumer.prepare)
        self.seen.first_enrollment = told(certagent(CONFIG, "enroll", self.name))
        if not self.consumer.starts:
            shell(f"systemctl start {self.consumer.unit}")
            self.seen.enrolled = told(certagent(CONFIG, "renew", self.name))

    def renew_under_load(self) -> None:
        first = self.ca.generation
        load = Load(self.peer(self.trusting("ca1", first), self.identity(1, first)))
        served = set[int]()
        with load:
            for _ in range(RENEWALS):
                load.await_more(self.consumer.tries)
                done = certagent(CONFIG, "renew", "--force", self.name)
                assert done.returncode == 0, done.stderr
                self.seen.renewals += 1
                served.add(self.ca.issued()[-1].serial)
                until(lambda: served <= load.serials, told=lambda: f"{load.failures[-3:]}")
            load.await_more(self.consumer.tries)
        self.count(load)
        self.seen.all_served = len(served) == RENEWALS

    def roll_over(self, url: str) -> None:
        """During it: the next CA has begun, its certificates are in use elsewhere, and we have not changed over yet."""
        generations, first = self.ca.generations, self.ca.generation
        begins = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=self.consumer.lead * slowness())
        second = generations._made(begins)
        peers = [self.rollover_peer(number, each, first, second) for number, each in ((1, first), (2, second))]
        self.seen.before = [peer.is_served() for peer in peers]
        generations._generations.append(second)  # announced
        self.install(url, rollover_at="0.01%")
        with Load(self.peer(self.trusting("both", first, second), self.identity(1, first))) as load:
            self.seen.staged = told(certagent(CONFIG, "renew", "--due", self.name))
            assert datetime.now(UTC) < begins, "this machine is too slow for so short a lead"
            time.sleep(max(0.0, (begins - datetime.now(UTC)).total_seconds()))
            self.seen.during = settled(peers, [True, self.consumer.verifies])
            self.seen.rolled_over = told(certagent(CONFIG, "renew", "--due", self.name))
            self.seen.after = settled(peers, [self.consumer.verifies, True])
            load.await_more(self.consumer.tries)
        self.count(load)
        status = json.loads(certagent(CONFIG, "status", "--json").stdout)
        lines = certagent(CONFIG, "history", self.name, "--json").stdout.splitlines()
        self.seen.events = [json.loads(line)["event"] for line in lines]
        self.seen.state = status["keystores"][self.name]["state"]

    def rollover_peer(self, number: int, generation: Generation, *both: Generation) -> AnyPeer:
        """Of a server that wants certificates of its clients, one under this CA; else one that believes it alone."""
        if self.consumer.verifies:
            return self.peer(self.trusting("both", *both), self.identity(number, generation))
        return self.peer(self.trusting(f"ca{number}", generation), None)

    def peer(self, trusted: Path, identity: Path | None) -> AnyPeer:
        it = self.consumer
        if identity is not None and (made := _DAEMONS.get(it.protocol)):
            return made(trusted, identity)
        return Peer(it.port, it.protocol, it.server_name, trusted, identity if it.verifies else None)

    def trusting(self, name: str, *generations: Generation) -> Path:
        file = HOME / f"{name}.pem"
        file.write_bytes(facts.to_pem([each.issuer.certificate for each in generations]))
        return file

    def identity(self, number: int, generation: Generation) -> Path:
        """A client's key and certificate, valid now, whenever its CA begins."""
        key = keys.generate(KeyType.RSA_2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"client {number}")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        certificate = issuing.leaf_certificate(request, generation.issuer, datetime.now(UTC), DAY / 2)
        file = HOME / f"client{number}.pem"
        file.write_bytes(keys.to_pem(key) + facts.to_pem([certificate]))
        return file

    def count(self, load: Load) -> None:
        self.seen.handshakes += load.handshakes
        self.seen.failed += load.failures


def settled(peers: list[AnyPeer], wanted: list[bool]) -> list[bool]:
    """What the peers see once it is what is wanted; after a while, whatever they see. Reloads are asynchronous."""
    deadline = time.monotonic() + PATIENCE / 4
    while (seen := [peer.is_served() for peer in peers]) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return seen


def shell(lines: str) -> None:
    subprocess.run(["bash", "-ec", lines], check=True, stdin=subprocess.DEVNULL)


def told(done: Done) -> str:
    return f"{done.returncode}: {done.stdout}{done.stderr}"


def main(name: str, result: Path) -> None:
    life = Life(name)
    try:
        life.live()
    finally:
        result.write_text(json.dumps(asdict(life.seen), indent=1))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
