"""A device for the commands: a configuration, files in place, a state directory, and the command itself."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent import certificate as facts
from certagent import keys
from certagent.config.load import load_configuration
from certagent.keys import PrivateKey
from certagent.state import State, save, watch
from certagent.transaction.configured import configured_keystore
from certagent.transaction.journal import Journal, Kind, Phase, Transaction
from tests.waiting import PATIENCE

NOBODY = "sha256:" + "ab" * 32
SUBJECT = "CN=web.example.net,O=Example"


def certify(
    key: PrivateKey,
    *,
    start: datetime,
    lifetime: timedelta,
    subject: str = SUBJECT,
    names: tuple[str, ...] = (),
    signer: PrivateKey | None = None,
) -> x509.Certificate:
    """A certificate as some CA might have issued it."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(subject))
        .issuer_name(x509.Name.from_rfc4514_string("CN=Some CA"))
        .public_key(key.public_key())
        .serial_number(0x0ABC)
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    return builder.sign(signer or key, hashes.SHA256())


@dataclass
class Place:
    """`authority` and `keystore` hold YAML lines added to those of authority corp and keystore web."""

    root: Path
    key: PrivateKey
    url: str = "http://127.0.0.1:9/scep"
    fingerprint: str = NOBODY
    authority: list[str] = field(default_factory=list)
    keystore: list[str] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    names: tuple[str, ...] = ("web",)

    def __post_init__(self) -> None:
        (self.root / "ssl").mkdir(parents=True)

    @property
    def config(self) -> Path:
        return self.root / "agent.yaml"

    def files(self, name: str = "web") -> tuple[Path, Path]:
        return self.root / "ssl" / f"{name}.key", self.root / "ssl" / f"{name}.pem"

    def directory(self, name: str = "web") -> Path:
        return self.root / "state" / "keystores" / name

    def configure(self) -> None:
        lines = [
            f"state_dir: {self.root}/state",
            f"live_dir: {self.root}/live",
            *self.more,
            "authorities:",
            "  corp:",
            f"    url: {self.url}",
            f"    fingerprint: {self.fingerprint}",
            *(f"    {line}" for line in self.authority),
            "defaults: {authority: corp}",
            "keystores:" if self.names else "keystores: {}",
        ]
        for name in self.names:
            key_file, certificate_file = self.files(name)
            lines += [f"  {name}:", "    type: pem", f"    key_file: {key_file}"]
            lines += [f"    certificate_file: {certificate_file}", *(f"    {line}" for line in self.keystore)]
        text = "\n".join(lines) + "\n"
        if not self.config.exists() or self.config.read_text() != text:
            self.config.write_text(text)
            self.config.chmod(0o600)

    def put(self, certificate: x509.Certificate, *, key: PrivateKey | None = None, name: str = "web") -> None:
        key_file, certificate_file = self.files(name)
        key_file.write_bytes(keys.to_pem(key or self.key))
        key_file.chmod(0o600)
        certificate_file.write_bytes(facts.to_pem([certificate]))

    def put_living(self, *, name: str = "web", days: int = 90, names: tuple[str, ...] = ()) -> None:
        """A certificate issued an hour ago, by the wall clock: the command's own."""
        start = datetime.now(UTC) - timedelta(hours=1)
        self.put(certify(self.key, start=start, lifetime=timedelta(days=days), names=names), name=name)

    def remember(self, name: str = "web", **state: object) -> None:
        """What a worker keeps after a look at what is here now."""
        self.configure()
        configured = configured_keystore(load_configuration(self.config), name, "device")
        seen = State(definition=configured.digest, watched=watch(configured.keystore.watched()))
        save(self.directory(name), msgspec.structs.replace(seen, **state))

    def open_transaction(self, phase: Phase, name: str = "web", **fields: object) -> None:
        transaction = Transaction(
            id="t1",
            kind=Kind.RENEWAL,
            phase=phase,
            started_at=datetime.now(UTC),
            authority="corp",
            endpoint=self.url,
        )
        Journal(self.directory(name)).write(msgspec.structs.replace(transaction, **fields))

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """The real command, its output to pipes."""
        self.configure()
        return subprocess.run(self._argv(argv), capture_output=True, text=True, timeout=PATIENCE, check=False)

    def run_without_override(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """The command held to the files' modes, even if we are root."""
        self.configure()
        bare = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        return subprocess.run([*bare, *self._argv(argv)], capture_output=True, text=True, timeout=PATIENCE, check=False)

    def run_in_terminal(self, *argv: str, columns: int, **environment: str) -> str:
        """What the command writes to a terminal of that width."""
        self.configure()
        ours, theirs = pty.openpty()
        given = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": str(columns), "LANG": "C.UTF-8"}
        process = subprocess.Popen(
            self._argv(argv), stdin=theirs, stdout=theirs, stderr=theirs, env={**given, **environment}
        )
        os.close(theirs)
        written = b""
        with process:
            while True:
                try:
                    part = os.read(ours, 65536)
                except OSError:  # Linux' way to say that the other end is closed
                    break
                written += part
        os.close(ours)
        assert process.returncode == 0, written.decode()
        return written.decode().replace("\r\n", "\n")

    def _argv(self, argv: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "certagent", "-c", str(self.config), *argv]


@dataclass
class Checked:
    """What `check` said; `text` without its hints."""

    code: int
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(line for line in self.lines if not line.startswith("      "))

    @property
    def faults(self) -> list[str]:
        return [line for line in self.lines if line.startswith("  ✗")]

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.lines if line.startswith("  !")]


class Check(Protocol):
    def __call__(self, place: Place, *options: str) -> Checked: ...
