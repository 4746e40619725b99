"""A storm: so many certificates are past their renewal threshold when the agent starts. How fast are they renewed?

python -m bench.storm [COUNT [rsa|kept|ec]]        default: 2000 rsa

The certificates in place were issued 61 days ago for 90 days, by the lab CA itself at its clock of then. The CA keeps
its files in memory, as its disk would be another machine's; it runs on the same cores, and its share is told.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from bench.agent import Agent
from bench.costs import children_of, cpu_of
from bench.rows import Row
from bench.site import KINDS, LAB, WEAK, write_configuration
from certagent import keys
from certagent.config.key_types import KeyType
from certagent.lab import LabCA, checks
from certagent.lab.generation import Settings
from certagent.lab.store import Record
from certagent.lab.transactions import ENROLLMENT
from tests.interop.peers import Lab, running

_AGE = timedelta(days=61)
_LIMIT = 600.0  # s
_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Storm:
    """What was seen. Seconds; MB of memory that nobody else has, what processes share counted once (PSS).

    `cpu`: of the agent, its workers, and the CA.
    """

    renewed: int
    lasted: float
    memory: float
    cpu: dict[str, float]

    @property
    def rate(self) -> float:
        return self.renewed / self.lasted

    @property
    def busy(self) -> float:
        """How many cores worked on it, on average."""
        return sum(self.cpu.values()) / self.lasted


def issue(directory: Path, names: list[str], place: Path) -> None:
    """A CA in `directory`, and in `place` a key and its certificate for each name. One key for all: keys take long."""
    then = datetime.now(UTC) - _AGE
    ca = LabCA(directory, lambda: then, Settings(accept=frozenset(WEAK)))
    key = keys.generate(KeyType.RSA_2048)
    for number, name in enumerate(names):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = ca.issue(x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256()))
        ca.store.put_issued(Record(f"{number:x}", ENROLLMENT, checks.requester(certificate), certificate))
        (place / f"{name}.key").write_bytes(keys.to_pem(key))
        (place / f"{name}.key").chmod(0o600)
        (place / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


@contextmanager
def due(count: int, kind: str) -> Iterator[tuple[Path, Path, Lab]]:
    """So many keystores with a renewal due: the directory, the configuration, and the CA, which runs."""
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory(dir=memory) as far:
        names = [f"device{number}" for number in range(count)]
        issue(Path(far) / "lab", names, Path(place))
        with running(Path(far), *LAB) as lab:
            yield Path(place), write_configuration(Path(place), lab, dict.fromkeys(names, KINDS[kind])), lab


def storm(count: int, kind: str) -> Storm:
    """Raises SystemExit if they are not all renewed."""
    with due(count, kind) as (directory, configuration, lab):
        ca = process_of(lab)
        before = cpu_of(ca)[0]
        agent = Agent(directory, configuration)
        try:
            agent.until(lambda told: "READY=1" in told)
            started, most = time.monotonic(), 0.0
            while not agent.until(lambda told: ", 0 due, 0 workers" in told, 0.2):
                most = max(most, agent.proportional())
                if time.monotonic() - started > _LIMIT:
                    break
            lasted = time.monotonic() - started
            own, workers = agent.cpu()
        finally:
            agent.end()
        cpu = {"the agent": own, "its workers": workers, "the CA": cpu_of(ca)[0] - before}
        renewed = lab.kinds().count("renewal")
        if renewed != count:
            raise SystemExit(f"{renewed} of {count} renewed after {lasted:.0f} s")
        return Storm(renewed, lasted, most, cpu)


def process_of(lab: Lab) -> int:
    """The one that serves this lab's directory: a child of ours."""
    wanted = str(lab.directory).encode()
    children = children_of(os.getpid())
    return next(each for each in children if wanted in Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0"))


def storms(count: int) -> Iterator[Row]:
    """The only figures of the wall clock: they tell what this machine had to spare."""
    most = 0.0
    for kind, words in (("rsa", "new rsa:2048 keys"), ("kept", "key kept")):
        seen = storm(count, kind)
        beside = {f"CPU of {whose} each, ms": value / seen.renewed * 1000 for whose, value in seen.cpu.items()}
        beside |= {"cores at work": seen.busy, "load of the machine": os.getloadavg()[0]}
        yield Row(f"storm of {count:,}, {words}", seen.rate, "/s", 12, more=True, beside=beside)
        most = max(most, seen.memory)
    yield Row("storm, agent and its workers", most, "MB PSS", 128)


def main() -> int:
    count, kind = int(sys.argv[1]) if len(sys.argv) > 1 else 2000, sys.argv[2] if len(sys.argv) > 2 else "rsa"
    seen = storm(count, kind)
    print(f"{seen.renewed} renewed in {seen.lasted:.1f} s: {seen.rate:.1f} /s, {seen.memory:.0f} MB PSS")
    for whose, seconds in seen.cpu.items():
        print(f"  CPU of {whose:12} {seconds:7.2f} s, {seconds / seen.renewed * 1000:6.1f} ms each")
    print(f"  {seen.busy:.2f} cores at work; load {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
