"""A device under test: its configuration, its files, its clock, and a lab CA of its own beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec.structs import replace

from certagent import certificate as facts
from certagent import keys, state, wall_clock
from certagent.agent.worker_process import worker_command
from certagent.cli.assemble import contexts
from certagent.config.load import load_configuration, load_for_agent
from certagent.host import Host
from certagent.lab import LabCA, LabServer, Settings, serve
from certagent.status.snapshot import take_snapshot
from certagent.transaction import recovery
from certagent.transaction.context import Context
from certagent.transaction.journal import Journal, Transaction
from certagent.transaction.renewal import Wish, advance
from certagent.transaction.report import Outcome
from tests.waiting import PATIENCE

DAY = timedelta(days=1)


@dataclass
class Clock:
    """A clock that a test moves."""

    now: datetime = datetime(2026, 12, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, length: timedelta) -> None:
        self.now += length


@dataclass
class Site:
    """`write` lays the configuration; `run` makes one attempt as a worker would."""

    directory: Path
    clock: Clock
    server: LabServer
    synchronised: bool = False
    log: list[str] = field(default_factory=list)
    keeps_time: bool = True  # as a machine with NTP does
    host: Host = field(default_factory=Host)  # nothing to be seen: what a command begins there goes on

    @property
    def ca(self) -> LabCA:
        return self.server.ca

    @property
    def config(self) -> Path:
        return self.directory / "agent.yaml"

    def path(self, name: str) -> Path:
        return self.directory / name

    @property
    def key(self) -> Path:
        return self.path("files/web.key")

    @property
    def certificate(self) -> Path:
        return self.path("files/web.pem")

    def write(self, keystore: str = "", authority: str = "", top: str = "", *, subject: bool = True) -> None:
        """The configuration of one keystore `web`, with further lines for the keystore, the authority, the top."""
        self.path("files").mkdir(exist_ok=True)
        challenge = self.path("challenge")
        challenge.write_text(f"{self.ca.challenge}\n")
        challenge.chmod(0o600)
        fingerprint = facts.fingerprint(self.ca.generation.issuer.certificate)
        told = {line.partition(":")[0] for line in authority.splitlines()}
        lines = [
            f"state_dir: {self.path('state')}",
            f"live_dir: {self.path('live')}",
            *top.splitlines(),
            "authorities:",
            "  lab:",
            *([f"    url: {self.server.url}"] if "url" not in told else []),
            *([f"    fingerprint: {fingerprint}"] if "fingerprint" not in told else []),
            *([f"    challenge: {{file: {challenge}}}"] if "challenge" not in told else []),
            *(f"    {line}" for line in authority.splitlines()),
            "keystores:",
            "  web:",
            "    type: pem",
            "    authority: lab",
            f"    key_file: {self.key}",
            f"    certificate_file: {self.certificate}" if "certificate_file:" not in keystore else "",
            "    jitter: 0%",
            *(["    subject: CN=web.example.net,O=Example", "    san: [dns:web.example.net]"] if subject else []),
            *(f"    {line}" for line in keystore.splitlines()),
        ]
        self.config.write_text("\n".join(line for line in lines if line) + "\n")
        self.config.chmod(0o600)

    def context(self, name: str = "web") -> Context:
        configuration = load_configuration(self.config)
        made = contexts(configuration, [name], lambda _name, line: self.log.append(line), lambda _name, _line: None)
        return replace(made[0], clock=self.clock, synchronised=lambda _now: self.synchronised, host=self.host)

    def run(self, wish: Wish = Wish.DUE, stopping: Callable[[], bool] = lambda: False) -> Outcome:
        """One attempt. What it left for the agent is what `status` shows."""
        now = self.clock()
        doubt = wall_clock.look(self.path("state"), now, believed=self.keeps_time or wish is not Wish.DUE)
        context = replace(self.context(), doubt=doubt)
        outcome = advance(context, wish, stopping)
        snapshot = take_snapshot(context.configured, lambda: context.authorities, self.clock(), doubt)
        with patch("certagent.status.snapshot.remembered", return_value=None):  # read anew, it is no other
            assert take_snapshot(context.configured, lambda: context.authorities, self.clock(), doubt) == snapshot
        seen = snapshot.assessment
        remembered = state.load(self.keystore_directory) if outcome.next_action else None
        if remembered is not None:
            left = (remembered.condition, remembered.next_action, remembered.next_action_at)
            assert left == (seen.condition, seen.action, seen.at)
        return outcome

    def recover(self) -> list[recovery.Recovered]:
        return recovery.recover_all(self.path("state"))

    @property
    def keystore_directory(self) -> Path:
        return self.path("state/keystores/web")

    @property
    def transaction(self) -> Transaction | None:
        return Journal(self.keystore_directory).open()

    @property
    def state(self) -> state.State:
        found = state.load(self.keystore_directory)
        assert found is not None
        return found

    def events(self) -> list[str]:
        return [event.event for event in state.read_history(self.keystore_directory)]

    def leaf(self) -> x509.Certificate:
        return facts.load_pem(self.certificate.read_bytes(), "web.pem")[0]

    def pair_matches(self) -> bool:
        return pair_matches(self.key, self.leaf())

    def leftovers(self) -> list[str]:
        """Whatever lies beside the consumer's files that should not."""
        return sorted(each.name for each in self.path("files").iterdir() if each.name.startswith("."))

    def command(self, *words: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """A command line, as a person types it; on the real clock."""
        argv = [sys.executable, "-m", "certagent", "-c", str(self.config), *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)

    def worker(self, *names: str) -> subprocess.CompletedProcess[str]:
        """As the agent starts it: handed the definitions of these keystores alone."""
        handed = self.path("handed")
        handed.write_bytes(load_for_agent(self.config).excerpt(names))
        handed.chmod(0o600)
        argv = [*worker_command(self.config), *names]
        with handed.open("rb") as stdin:
            return subprocess.run(argv, stdin=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False)


def pair_matches(key: Path, certificate: x509.Certificate) -> bool:
    """Whether they belong together; the key's own soundness is not asked for, which takes OpenSSL 40 ms."""
    loaded = load_pem_private_key(key.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(loaded, keys.PrivateKey)
    return keys.match(loaded, certificate.public_key())


def recording_hook(site: Site, name: str, *, exit_code: str = "0") -> str:
    """An executable that notes its event and environment; its exit code is what the file `NAME.exit` says."""
    script = site.path(f"{name}.sh")
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$CERTAGENT_EVENT $CERTAGENT_KEYSTORE $CERTAGENT_KIND $CERTAGENT_SERIAL" >> {site.path(name)}.ran\n'
        f"echo said by {name}\n"
        f"exit $(cat {site.path(name)}.exit)\n"
    )
    script.chmod(0o755)
    site.path(f"{name}.exit").write_text(exit_code)
    return str(script)


def ran(site: Site, name: str) -> list[str]:
    file = site.path(f"{name}.ran")
    return file.read_text().splitlines() if file.exists() else []


def start_lab(directory: Path, clock: Callable[[], datetime], settings: Settings, ca: type[LabCA] = LabCA) -> LabServer:
    return serve(ca(directory, clock, settings))


def openssl(*words: str, stdin: bytes = b"") -> str:
    done = subprocess.run(["openssl", *words], input=stdin, capture_output=True, check=True)
    return done.stdout.decode()


Sites = Callable[..., Site]
Words = Sequence[str]
