"""Many keystores on one device, all due at once: put there by another tool, and issued by a lab CA long ago."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from certagent import certificate as facts
from certagent import keys, state
from certagent.config.key_types import KeyType
from certagent.lab import LabCA, issuing
from certagent.lab.store import Record, Store
from certagent.scep import build_csr
from tests.interop.commands import start
from tests.renewal.site import pair_matches


@dataclass(frozen=True)
class Fleet:
    directory: Path
    names: tuple[str, ...]

    @property
    def config(self) -> Path:
        return self.directory / "agent.yaml"

    @property
    def lab(self) -> Path:
        return self.directory / "lab"

    @property
    def log(self) -> str:
        return (self.directory / "agent.log").read_text()

    def adopt(self) -> str:
        """Put a key and a certificate due for renewal in place for each; the CA's fingerprint.

        One key for all: it is their successors that count, and making keys takes long.
        """
        past = datetime.now(UTC) - timedelta(days=80)
        ca = LabCA(self.lab, lambda: past)
        key = keys.generate(KeyType.RSA_2048)
        (self.directory / "files").mkdir()
        for name in self.names:
            subject = x509.Name.from_rfc4514_string(f"CN={name}.example.net")
            csr = x509.load_der_x509_csr(build_csr(key, subject, san=None, challenge=None, digest="sha256"))
            certificate = issuing.leaf_certificate(csr, ca.generation.issuer, past, timedelta(days=90))
            ca.store.put_issued(Record(f"by-hand-{name}", "enrollment", "nobody", certificate))
            file = self.path(name, "key")
            file.touch(0o600)
            file.write_bytes(keys.to_pem(key))
            self.path(name, "pem").write_bytes(facts.to_pem([certificate]))
        return str(facts.fingerprint(ca.generation.issuer.certificate))

    def write(self, url: str, fingerprint: str) -> None:
        lines = [
            f"state_dir: {self.directory / 'state'}",
            "max_workers: 2",
            "authorities:",
            "  lab:",
            f"    url: {url}",
            f"    fingerprint: {fingerprint}",
            "defaults: {authority: lab}",
            "keystores:",
        ]
        for name in self.names:
            lines += [
                f"  {name}:",
                "    type: pem",
                f"    key_file: {self.path(name, 'key')}",
                f"    certificate_file: {self.path(name, 'pem')}",
            ]
        self.config.write_text("\n".join(lines) + "\n")
        self.config.chmod(0o600)

    def path(self, name: str, suffix: str) -> Path:
        return self.directory / f"files/{name}.{suffix}"

    def start(self) -> subprocess.Popen[str]:
        return start(self.config, "run")

    def renewed(self) -> Counter[str]:
        """Renewals by subject, as the CA has them on record."""
        return Counter(record.subject for record in Store(self.lab).all_issued() if record.kind == "renewal")

    def renewals(self) -> int:
        """How many certificates the CA has given for renewals: quick to look at."""
        return sum(1 for _ in (self.lab / "issued").glob("*.pem")) - len(self.names)

    def open_transactions(self) -> list[Path]:
        return list((self.directory / "state/keystores").glob("*/transaction/transaction.json"))

    def events(self) -> Counter[str]:
        """What all histories tell, swaps that `recover` had to finish left out."""
        told = [state.read_history(self.directory / "state/keystores" / name) for name in self.names]
        return Counter(event.event for events in told for event in events if event.event != "recovered")

    def certificate(self, name: str) -> x509.Certificate:
        return facts.load_pem(self.path(name, "pem").read_bytes(), name)[0]

    def mismatched(self) -> list[str]:
        """Keystores whose key and certificate do not belong together."""
        return [name for name in self.names if not pair_matches(self.path(name, "key"), self.certificate(name))]
