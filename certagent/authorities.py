"""Authorities as one worker sees them: contacted once a run, believed by `trust`, remembered on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509

from certagent import certificate as facts
from certagent import durable, trust
from certagent.definitions import Authority
from certagent.errors import CertagentError, ConfigError, TrustError
from certagent.scep import Capabilities, Client
from certagent.state import decode_file

VERSION = 1


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """authority.json: what the authority could do when it was last believed."""

    version: int = VERSION
    url: str
    capabilities: tuple[str, ...]
    issuer: str
    seen_at: datetime


@dataclass(frozen=True)
class Contact:
    """An authority that was reached and is believed."""

    client: Client
    capabilities: Capabilities
    believed: trust.Believed

    def operate(self, message: bytes) -> bytes:
        """PKIOperation, by POST where the CA takes it."""
        return self.client.pki_operation(message, post=self.capabilities.post)


class Authorities:
    """The configured authorities. An answer, good or bad, holds for the rest of the run:
    a hundred keystores do not wait a hundred times for one CA that is down.
    """

    def __init__(self, authorities: Mapping[str, Authority], state_dir: Path) -> None:
        self._authorities = authorities
        self._directory = state_dir / "authorities"
        self._known: dict[str, Contact | CertagentError] = {}

    def contact(self, name: str, now: datetime, *, remember: bool = True) -> Contact:
        """Reach an authority and believe it, or raise TransientError, TrustError, ConfigError.

        `remember` False leaves the disk as it is (`certagent check`).
        """
        if name not in self._known:
            try:
                self._known[name] = self._reach(name, now, remember=remember)
            except CertagentError as error:
                self._known[name] = error
        known = self._known[name]
        if isinstance(known, CertagentError):
            raise known
        return known

    def _reach(self, name: str, now: datetime, *, remember: bool) -> Contact:
        definition = self._authorities[name]
        client = Client(
            definition.url,
            ca_identifier=definition.ca_identifier,
            timeout=definition.timeout,
            proxy=definition.proxy,
        )
        offered = client.get_ca_certificates()
        believed = trust.believe(offered, pins(definition), now)
        capabilities = client.get_capabilities()
        memory = decode_file(self._directory / name / "authority.json", Memory, VERSION)
        if memory is not None and memory.url == definition.url:
            self._refuse_downgrade(name, capabilities, Capabilities(frozenset(memory.capabilities)))
        if remember:
            self._remember(name, definition, capabilities, believed, now)
        return Contact(client, capabilities, believed)

    def _refuse_downgrade(self, name: str, now: Capabilities, before: Capabilities) -> None:
        lost = now.lost(before)
        if lost:
            raise TrustError(
                f"authority {name} no longer offers {', '.join(sorted(lost))}, which it did before",
                f"somebody may be weakening the exchange; if the CA really changed, remove "
                f"{self._directory / name / 'authority.json'}",
            )

    def _remember(
        self, name: str, definition: Authority, capabilities: Capabilities, believed: trust.Believed, now: datetime
    ) -> None:
        directory = self._directory / name
        memory = Memory(
            url=definition.url,
            capabilities=tuple(sorted(capabilities.names)),
            issuer=str(facts.fingerprint(believed.issuer)),
            seen_at=now,
        )
        ras = tuple(each for each in {*believed.signers, believed.recipient} if each != believed.issuer)
        with durable.lock(directory / "lock", f"authority {name}", wait=True):
            durable.write(directory / "ca.pem", facts.to_pem(believed.chain))
            if ras:
                durable.write(directory / "ra.pem", facts.to_pem(sorted(ras, key=lambda ra: ra.serial_number)))
            else:
                durable.remove(directory / "ra.pem")
            durable.write(directory / "authority.json", msgspec.json.encode(memory))


def pins(definition: Authority) -> trust.Pins:
    """What the definition says may be believed, its anchor files read. Raises ConfigError."""
    anchors: list[x509.Certificate] = []
    for path in definition.trust_anchors:
        try:
            found = facts.load_pem(path.read_bytes(), str(path))
        except OSError as error:
            raise ConfigError(
                f"trust_anchor {path}: {error.strerror}", "put the root certificate there, as PEM"
            ) from None
        if not found:
            raise ConfigError(f"trust_anchor {path} holds no certificate", "put the root certificate there, as PEM")
        anchors.extend(found)
    return trust.Pins(definition.fingerprints, tuple(anchors), frozenset(definition.accept))
