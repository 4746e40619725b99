"""A device in a rollover: what its authority said, and what is prepared, as files on the disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent import certificate as facts
from certagent.keys import PrivateKey
from certagent.state import LastError, Track
from certagent.transaction.journal import Journal, Kind, Phase, Transaction
from certagent.trust.memory import Memory
from certagent.trust.next_ca import Change

from .place import Place, certify

DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def ca(key: PrivateKey, name: str, start: datetime, days: float) -> x509.Certificate:
    subject = x509.Name.from_rfc4514_string(name)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + days * DAY)
    return builder.add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())


class Rollover:
    """A keystore under a CA of 1000 days that has so many left; `next_ca` takes over half of them before its end."""

    def __init__(self, place: Place, *, left: float = 100, start: datetime | None = None) -> None:
        self.place = place
        self.start = start or now()
        self.ends = self.start + left * DAY
        self.switch_at = self.start + left / 2 * DAY
        self.ca = ca(place.key, "CN=Some CA", self.ends - 1000 * DAY, 1000)
        self.next_ca = ca(place.key, "CN=Next CA", self.switch_at, 1000)
        self._keep()

    @property
    def directory(self) -> str:
        return str(self.place.root / "state" / "authorities" / "corp")

    def _keep(self, *, announced: bool = False) -> None:
        directory = self.place.root / "state" / "authorities" / "corp"
        directory.mkdir(parents=True, exist_ok=True)
        self.place.fingerprint = str(facts.fingerprint(self.ca))
        names = {word: str(facts.fingerprint(each)) for word, each in (("now", self.ca), ("next", self.next_ca))}
        change = Change(successor=names["next"], predecessor=names["now"], proof="signed by the current CA")
        memory = Memory(
            url=self.place.url,
            capabilities=("AES", "GetNextCACert"),
            issuer=names["now"],
            next_issuer=names["next"] if announced else "",
            changes=(change,) if announced else (),
        )
        (directory / "authority.json").write_bytes(msgspec.json.encode(memory))
        (directory / "ca.pem").write_bytes(facts.to_pem([self.ca]))
        if announced:
            (directory / "next-ca.pem").write_bytes(facts.to_pem([self.next_ca]))

    def announce(self) -> None:
        """The next CA is known and believed."""
        self._keep(announced=True)

    def stage(self, name: str = "web") -> None:
        """And a shadow under it waits."""
        self.announce()
        shadow = certify(self.place.key, start=self.switch_at, lifetime=90 * DAY)
        self._prepare(name, Phase.ISSUED, certificate=facts.to_der(shadow), switch_at=self.switch_at, serial="0B0B")

    def wait(self, name: str = "web") -> None:
        """And the next CA thinks about the shadow."""
        self.announce()
        self._prepare(name, Phase.PENDING, poll_at=self.start + timedelta(minutes=5))

    def _prepare(self, name: str, phase: Phase, **fields: object) -> None:
        transaction = Transaction(
            id="r1",
            kind=Kind.ROLLOVER,
            phase=phase,
            started_at=self.start,
            authority="corp",
            endpoint=self.place.url,
        )
        Journal(self.place.directory(name), "rollover").write(msgspec.structs.replace(transaction, **fields))

    def refuse(self, name: str = "web", kind: str = "trust") -> None:
        """What is offered as the next CA was not believed."""
        fault = LastError(kind=kind, message="nothing proves the next CA", hint="add the line", at=self.start)
        track = Track(failures=1, retry_at=self.start + timedelta(hours=1), last_error=fault)
        self.place.remember(name, rollover=track, last_error=fault)
