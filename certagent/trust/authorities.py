"""Authorities as one worker sees them: contacted once a run, believed by `trust`, remembered on the disk.

state_dir/authorities/NAME/authority.json   what it could do, who issues, which CA followed which
                           ca.pem           the issuer and what is above it
                           ra.pem           its RA certificates
                           next-ca.pem      the authenticated next CA and what is above it
                           old-ca.pem       CAs it had before, until they expire
                           first-ca.pem     the CA that the remembered changes begin at, and what is above it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509

from certagent import certificate as facts
from certagent import durable
from certagent.config.authority import Authority
from certagent.config.values import Fingerprint
from certagent.errors import CertagentError, ConfigError, HttpError, StateError, TrustError
from certagent.scep import Capabilities, Client
from certagent.state_directory import StateDirectory
from certagent.trust.next_ca import Link, Offer, Successor, extended, find_next, is_rooted, renewals
from certagent.trust.proof import is_twin
from certagent.trust.rules import Believed, Pins, believe

VERSION = 1


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of CA that was authenticated: fingerprints (`above`: of what is above the successor), and the proof."""

    successor: str
    predecessor: str
    proof: str
    seen_at: datetime
    above: tuple[str, ...] = ()

    @property
    def link(self) -> Link:
        above = tuple(map(Fingerprint.parse, self.above))
        return Link(Fingerprint.parse(self.successor), Fingerprint.parse(self.predecessor), above, self.proof)


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """authority.json: the authority when it was last believed. `issuer`, `next_issuer`, `ras`: fingerprints."""

    version: int = VERSION
    url: str
    capabilities: tuple[str, ...]
    issuer: str
    seen_at: datetime
    next_issuer: str = ""
    changes: tuple[Change, ...] = ()
    ras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contact:
    """An authority that was reached and is believed."""

    client: Client
    capabilities: Capabilities
    believed: Believed
    offered: tuple[x509.Certificate, ...] = ()
    news: tuple[str, ...] = ()
    """What a person should hear of it, as lines of the log."""

    @property
    def recipient(self) -> bytes:
        """Whom requests are enveloped to, as DER; empty where only a password locks them."""
        return facts.to_der(self.believed.recipient) if self.believed.recipient is not None else b""

    def operate(self, message: bytes) -> bytes:
        """PKIOperation, by POST where the CA takes it."""
        return self.client.pki_operation(message, post=self.capabilities.post)

    def for_rollover(self, successor: Successor) -> Contact:
        """The same server, where requests are for the next CA, and both may sign."""
        later = successor.believed
        return replace(self, believed=replace(later, signers=(*later.signers, *self.believed.signers)))


@dataclass(frozen=True)
class Known:
    """What is known of an authority without asking it."""

    memory: Memory
    chain: tuple[x509.Certificate, ...]
    next_chain: tuple[x509.Certificate, ...]
    old: tuple[x509.Certificate, ...]
    first: tuple[x509.Certificate, ...] = ()
    """Where the remembered changes begin. Expired or not, and no part of what is trusted."""

    @property
    def issuer(self) -> x509.Certificate:
        return self.chain[0]

    def trusted(self, now: datetime) -> tuple[x509.Certificate, ...]:
        """What belongs into ca_file: the current CA, what is above it, the next one, and old ones until they expire."""
        every = dict.fromkeys((*self.chain, *self.next_chain, *self.old))
        return tuple(each for each in every if each.not_valid_after_utc > now)


class Authorities:
    """The configured authorities. An answer, good or bad, holds for the rest of the run:
    a hundred keystores do not wait a hundred times for one CA that is down.
    """

    def __init__(self, authorities: Mapping[str, Authority], state_dir: Path) -> None:
        self._authorities = authorities
        self._directory = StateDirectory(state_dir).authorities
        self._contacts: dict[str, Contact | CertagentError] = {}
        self._successors: dict[str, Successor | CertagentError | None] = {}

    def contact(self, name: str, now: datetime, *, remember: bool = True) -> Contact:
        """Reach an authority and believe it, or raise TransientError, TrustError, ConfigError.

        `remember` False leaves the disk as it is (`certagent check`).
        """
        if name not in self._contacts:
            try:
                self._contacts[name] = self._reach(name, now, remember=remember)
            except CertagentError as error:
                self._contacts[name] = error
        found = self._contacts[name]
        if isinstance(found, CertagentError):
            raise found
        return found

    def successor(self, name: str, now: datetime) -> Successor | None:
        """Ask for the next CA and believe it; None if there is none yet. Raises TransientError, TrustError."""
        if name not in self._successors:
            try:
                self._successors[name] = self._find_successor(name, now)
            except CertagentError as error:
                self._successors[name] = error
        found = self._successors[name]
        if isinstance(found, CertagentError):
            raise found
        return found

    def known(self, name: str) -> Known | None:
        """What the disk remembers, as far as it is still proven; None before the first contact, of another URL, or
        where the CA that was remembered is proven no more. Raises StateError.
        """
        known = self._on_disk(name)
        if known is None:
            return None
        believed_pins = self._pins(name)
        pool = (*known.chain, *known.next_chain, *known.old, *believed_pins.anchors)

        def proven(certificates: tuple[x509.Certificate, ...]) -> tuple[x509.Certificate, ...]:
            return tuple(each for each in certificates if is_rooted(each, pool, believed_pins))

        if not proven(known.chain[:1]):
            return None
        return replace(known, next_chain=proven(known.next_chain), old=proven(known.old))

    def doubt(self, name: str) -> str:
        """What to say where the disk remembers a CA that nothing proves; empty where all is well."""
        known = self._on_disk(name)
        if known is None or self.known(name) is not None:
            return ""
        issuer = known.issuer
        return (
            f"the CA remembered for {name}, {facts.subject_text(issuer)} ({facts.fingerprint(issuer)}), is not proven "
            "by what is configured: nothing of it is used, and certificates that it issued are to be replaced"
        )

    def _on_disk(self, name: str) -> Known | None:
        directory = self._directory / name
        memory = self._memory(name)
        chain = _read(directory / "ca.pem")
        if memory is None or not chain:
            return None
        next_chain, old, first = (_read(directory / file) for file in ("next-ca.pem", "old-ca.pem", "first-ca.pem"))
        return Known(memory, chain, next_chain, old, first)

    def _memory(self, name: str) -> Memory | None:
        memory = durable.read_versioned(self._directory / name / "authority.json", Memory, VERSION)
        return memory if memory is not None and memory.url == self._authorities[name].url else None

    def _pins(self, name: str) -> Pins:
        """The configured pins, and the successors of what they name."""
        configured, known = pins(self._authorities[name]), self._on_disk(name)
        if known is None:
            return configured
        memory, before = known.memory, (*known.chain, *known.next_chain, *known.old, *known.first)
        links = [change.link for change in memory.changes]
        reached = extended(configured, links, before, Fingerprint.parse(memory.issuer))
        return replace(reached, known_ras=frozenset(map(Fingerprint.parse, memory.ras)))

    def _reach(self, name: str, now: datetime, *, remember: bool) -> Contact:
        definition = self._authorities[name]
        client = Client(
            definition.url,
            ca_identifier=definition.ca_identifier,
            timeout=definition.timeout,
            proxy=definition.proxy,
            ca_file=Path(definition.https_ca_file) if definition.https_ca_file else None,
            client_certificate=definition.client_certificate,
        )
        believed_pins = self._pins(name)
        named = (each for each in (believed_pins.recipient, believed_pins.signer) if each is not None)
        offered = tuple(dict.fromkeys((*client.get_ca_certificates(), *named)))
        believed = self._believe(name, offered, now, remember=remember)
        if believed.recipient is None and definition.key_transport != "password":
            raise TrustError(
                f"the key of {name}'s CA is not RSA and it offers no RSA encryption certificate",
                "an EC CA needs an RA with an RSA key; or key_transport: password, where the CA can",
            )
        capabilities = client.get_capabilities()
        memory = self._memory(name)
        if memory is not None:
            self._refuse_downgrade(name, capabilities, Capabilities(frozenset(memory.capabilities)))
        news = self._news(name, believed)
        if remember:
            self._remember(name, capabilities, believed, now)
        return Contact(client, capabilities, believed, offered, news)

    def _news(self, name: str, believed: Believed) -> tuple[str, ...]:
        """What is new since the contact before; of the first one nothing is."""
        news, known = [self.doubt(name)], self.known(name)
        if known is not None and known.memory.ras:
            new = [ra for ra in believed.ras if str(facts.fingerprint(ra)) not in known.memory.ras]
            news += [f"{name} has a new RA: {facts.subject_text(ra)} ({facts.fingerprint(ra)})" for ra in new]
        if known is not None and is_twin(believed.issuer, known.issuer):
            end = f"{believed.issuer.not_valid_after_utc:%F %T} UTC"
            news.append(f"{name} has renewed its CA certificate with the same key, until {end}")
        return tuple(filter(None, news))

    def _believe(self, name: str, offered: tuple[x509.Certificate, ...], now: datetime, *, remember: bool) -> Believed:
        """Whom to believe; also a CA that took over before it was ever seen as the next one, if it has a proof."""
        try:
            return believe(offered, self._pins(name), now)
        except TrustError as error:
            known, refusal = self.known(name), error
        if known is None:
            raise refusal
        before = Believed(known.issuer, known.chain[1:], (), known.issuer)
        named = self._authorities[name].next_fingerprints
        try:
            successor = find_next(Offer(offered), before, self._pins(name), named, now)
        except TrustError as error:
            raise TrustError(str(refusal), error.hint) from None
        if successor is None:
            raise refusal
        if remember:
            self._remember_successor(name, known.issuer, successor, now)
        change = _change(known.issuer, successor, now)
        links = [each.link for each in (*known.memory.changes, change)]
        seen = (*known.chain, *successor.believed.chain, *known.old, *known.first)
        return believe(offered, extended(pins(self._authorities[name]), links, seen), now)

    def _refuse_downgrade(self, name: str, now: Capabilities, before: Capabilities) -> None:
        lost = now.lost(before)
        if lost:
            raise TrustError(
                f"authority {name} no longer offers {', '.join(sorted(lost))}, which it did before",
                f"somebody may be weakening the exchange; if the CA really changed, remove "
                f"{self._directory / name / 'authority.json'}",
            )

    def _remember(self, name: str, capabilities: Capabilities, believed: Believed, now: datetime) -> None:
        directory = self._directory / name
        with durable.lock(directory / "lock", f"authority {name}", wait=True):
            known = self.known(name)
            issuer = str(facts.fingerprint(believed.issuer))
            memory = Memory(
                url=self._authorities[name].url,
                capabilities=tuple(sorted(capabilities.names)),
                issuer=issuer,
                seen_at=now,
                next_issuer=known.memory.next_issuer if known else "",
                changes=known.memory.changes if known else (),
                ras=tuple(str(facts.fingerprint(ra)) for ra in believed.ras),
            )
            memory = _with_renewals(memory, believed, known, self._pins(name))
            if known is None:
                # Of another URL, or not proven any more.
                durable.remove(directory / "next-ca.pem")
                durable.remove(directory / "old-ca.pem")
                durable.remove(directory / "first-ca.pem")
            elif known.memory.issuer != issuer:
                if not any(each.successor == known.memory.issuer for each in memory.changes):
                    # Kept after its end: the line of changes leads back to the pin through it.
                    durable.write(directory / "first-ca.pem", facts.to_pem(known.chain))
                _keep(directory / "old-ca.pem", (*known.chain, *known.old), now, but=believed.chain)
            if memory.next_issuer == issuer:
                memory = msgspec.structs.replace(memory, next_issuer="")
                durable.remove(directory / "next-ca.pem")
            _keep(directory / "ca.pem", believed.chain, now)
            _keep(directory / "ra.pem", sorted(believed.ras, key=lambda ra: ra.serial_number), now)
            durable.write(directory / "authority.json", msgspec.json.encode(memory))

    def _find_successor(self, name: str, now: datetime) -> Successor | None:
        definition, contact = self._authorities[name], self.contact(name, now)
        accept = frozenset(definition.accept)
        offer = Offer(contact.offered)
        if contact.capabilities.next_ca:
            try:
                found = contact.client.get_next_ca_certificates(signers=contact.believed.signers, accept=accept)
                offer = Offer(found.certificates, found.signed_by)
            except HttpError:
                return None  # how a CA says that it has no next one: 403, 404, 500 … differ by product
        named = definition.next_fingerprints
        successor = find_next(offer, contact.believed, self._pins(name), named, now)
        if successor is not None:
            self._remember_successor(name, contact.believed.issuer, successor, now)
        return successor

    def _remember_successor(self, name: str, current: x509.Certificate, successor: Successor, now: datetime) -> None:
        """Keep it as the one successor of the current CA: one announced before and replaced since is forgotten."""
        directory = self._directory / name
        with durable.lock(directory / "lock", f"authority {name}", wait=True):
            memory = self._memory(name)
            if memory is None:
                raise StateError(f"{directory / 'authority.json'} has vanished", "it is made again at the next contact")
            change = _change(current, successor, now)
            others = tuple(each for each in memory.changes if each.predecessor != change.predecessor)
            if change.link not in [each.link for each in memory.changes]:
                memory = msgspec.structs.replace(memory, changes=(*others, change))
            _keep(directory / "next-ca.pem", successor.believed.chain, now)
            memory = msgspec.structs.replace(memory, next_issuer=change.successor)
            durable.write(directory / "authority.json", msgspec.json.encode(memory))


def _with_renewals(memory: Memory, believed: Believed, known: Known | None, named: Pins) -> Memory:
    """What is remembered, and that a CA was renewed with its key: its old certificate will be gone one day."""
    among = (*known.chain, *known.old) if known else ()
    links = renewals(believed, among, named)
    made = [
        Change(
            successor=str(link.successor), predecessor=str(link.predecessor), proof=link.proof, seen_at=memory.seen_at
        )
        for link in links
        if link not in [each.link for each in memory.changes]
    ]
    return msgspec.structs.replace(memory, changes=(*memory.changes, *made))


def _change(current: x509.Certificate, successor: Successor, now: datetime) -> Change:
    return Change(
        successor=str(facts.fingerprint(successor.believed.issuer)),
        predecessor=str(facts.fingerprint(current)),
        proof=successor.proof,
        seen_at=now,
        above=tuple(str(facts.fingerprint(each)) for each in successor.believed.above),
    )


def _read(path: Path) -> tuple[x509.Certificate, ...]:
    try:
        return facts.load_pem(path.read_bytes(), str(path))
    except FileNotFoundError:
        return ()


def _keep(
    path: Path,
    certificates: Iterable[x509.Certificate],
    now: datetime,
    *,
    but: Iterable[x509.Certificate] = (),
) -> None:
    """Write what has not expired and is not kept elsewhere; no file for nothing."""
    kept = [each for each in dict.fromkeys(certificates) if each.not_valid_after_utc > now and each not in but]
    if kept:
        durable.write(path, facts.to_pem(kept))
    else:
        durable.remove(path)


def pins(definition: Authority) -> Pins:
    """What the definition says may be believed, its files read. Raises ConfigError."""
    anchors = [each for path in definition.trust_anchors for each in _configured(path, "trust_anchor")]
    return Pins(
        definition.fingerprints,
        tuple(anchors),
        frozenset(definition.accept),
        recipient=_configured(Path(definition.recipient), "recipient")[0] if definition.recipient else None,
        signer=_configured(Path(definition.signer), "signer")[0] if definition.signer else None,
    )


def _configured(path: Path, word: str) -> tuple[x509.Certificate, ...]:
    try:
        found = facts.load_pem(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{word} {path}: {error.strerror}", "put the certificate there, as PEM") from None
    if not found:
        raise ConfigError(f"{word} {path} holds no certificate", "put the certificate there, as PEM")
    return found
