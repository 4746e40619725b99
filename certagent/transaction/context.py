"""What the steps of a transaction work with: one keystore, its authority, a clock and a log."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import TypedDict

from cryptography import x509
from msgspec import Struct, field, structs

from certagent import certificate as facts
from certagent import keys, policy
from certagent.errors import TransientError
from certagent.host import Host
from certagent.keystore.base import Identity, Keystore, Shadow
from certagent.policy import Arrival, Lifetime, Past
from certagent.revocation.known import revoked_since
from certagent.revocation.memory import Revocations
from certagent.state import Track
from certagent.state_directory import KeystoreDirectory
from certagent.transaction.configured import ConfiguredKeystore, certificate_in_place
from certagent.transaction.journal import Journal, Kind, Phase, Transaction
from certagent.transaction.ladder import Rung, renews_with
from certagent.transaction.next_step import Situation, situation_of
from certagent.transaction.seen import arrival_of, ca_above
from certagent.trust.authorities import Authorities, Contact
from certagent.trust.memory import Known
from certagent.wall_clock import Doubt, is_steady, is_synchronised, may_say

Clock = Callable[[], datetime]
Log = Callable[[str], None]


class InPlace(TypedDict):
    old_serial: str
    old_not_after: datetime | None


class AbandonedError(TransientError):
    """The transaction cannot be carried on; nothing is lost by starting a new one.

    `stands`: what it was begun for is still wanted.
    """

    def __init__(self, message: str, hint: str = "", *, stands: bool = True) -> None:
        super().__init__(message, hint)
        self.stands = stands


class Context(Struct, frozen=True):
    """One keystore being worked on; whoever changes something holds its lock.

    `journal` is that of the current transaction: the keystore's first, or its rollover's. `log` takes lines for the
    log, `say` what a person at a terminal may like to know. `peer` opens another keystore by its name: the identity
    in it may sign an enrollment, `moves_from` (docs/tokens.md). `doubt`: why the clock is not trusted.
    `synchronised`: whether something (NTP) keeps the clock right. `leaves_once`: hooks that run once for several
    keystores are left to once_hooks.py. `at_once`: a person wants it now, whatever `activate_in` says. `host`: the host
    that this runs on.
    """

    configured: ConfiguredKeystore
    journal: Journal
    authorities: Authorities
    clock: Clock
    log: Log
    say: Log
    peer: Callable[[str], Keystore]
    moves_from: str = ""
    doubt: Doubt | None = None
    synchronised: Callable[[datetime], bool] = is_synchronised
    leaves_once: bool = False
    at_once: bool = False
    host: Host = field(default_factory=Host)

    def contact(self, transaction: Transaction) -> Contact:
        """The authority as this transaction sees it: for a rollover, the next CA is the recipient and the issuer."""
        now, name = self.clock(), self.configured.definition.authority
        contact = self.authorities.contact(name, now)
        became_current = bool(transaction.recipient) and contact.recipient == transaction.recipient
        if transaction.kind is not Kind.ROLLOVER or became_current:
            return contact
        successor = self.authorities.successor(name, now)
        if successor is None:
            raise AbandonedError("the CA no longer announces a next CA", "the rollover starts again when it does")
        return contact.for_rollover(successor)

    def known(self) -> Known | None:
        """What certagent remembers about the authority; None before the first contact."""
        return self.authorities.known(self.configured.definition.authority)

    def trusted(self) -> tuple[x509.Certificate, ...]:
        """The certificates for ca_file now; empty before the first contact with the authority."""
        known = self.known()
        return known.trusted(self.clock()) if known else ()

    def signing_time(self, signer: x509.Certificate) -> datetime | None:
        """The time to sign with; None if the clock is not trusted, or says that the signer is not valid.

        Some CAs (those with Go's pkcs7) refuse a signature made outside its signer's validity, but accept one without a
        time: there, an expired certificate can still be renewed.
        """
        now, state_dir = self.clock(), KeystoreDirectory(self.configured.directory).state_directory.path
        return now if may_say(now, Lifetime.of(signer)) and is_steady(state_dir, now) else None

    def situation(
        self, certificate: x509.Certificate | None, past: Past, track: Track, arrival: Arrival | None = None
    ) -> Situation:
        """What decides the next step. `certificate` is the one in place, `arrival` what is remembered about it.

        Raises StateError.
        """
        rules = self.configured.rules
        found = situation_of(
            structs.replace(rules, activate_in=()) if self.at_once else rules,
            policy.lifetime_of(certificate),
            ca_above(certificate, self.known()),
            transaction=self.configured.journal.open(),
            rollover=self.configured.rollover.open(),
            past=past,
            rollover_past=track.past,
            arrival=arrival_of(certificate, arrival, self.clock()),
        )
        return structs.replace(found, revoked=self.revoked(certificate)) if certificate is not None else found

    def revoked(self, certificate: x509.Certificate) -> datetime | None:
        """Since when the certificate, in place here, is revoked; None if no CRL at hand lists it."""
        configured = self.configured
        revocations = Revocations(KeystoreDirectory(configured.directory).state_directory.path)
        return revocations.since(configured.definition.authority, configured.name, facts.serial_hex(certificate))

    def revoked_successor(self, certificate: x509.Certificate) -> datetime | None:
        """Since when a certificate that is not in place yet is revoked; None if no CRL at hand lists it."""
        configured, known = self.configured, self.known()
        directory = KeystoreDirectory(configured.directory).state_directory.authority(configured.definition.authority)
        cas = (*known.chain, *known.next_chain, *known.old) if known is not None else ()
        return revoked_since(directory, certificate, cas, frozenset(configured.authority.accept))

    def predecessor(self, transaction: Transaction) -> Keystore | None:
        """Where the identity is that gets a successor in this transaction; None for a first enrollment."""
        if transaction.source:
            return self.peer(transaction.source)
        return self.configured.keystore if transaction.succeeds else None

    def introduction(self) -> Identity:
        """The factory identity. Raises KeystoreError, ConfigError, HookError, and AbandonedError without one."""
        found = self.configured.factory_identity
        if found is None:
            raise AbandonedError("`introduce_with` was removed from the configuration", "a new request is made")
        return found

    def is_introduced(self, certificate: x509.Certificate | None) -> bool:
        """Whether the factory identity signs the request for a successor of the certificate in place."""
        if certificate is None:
            return False
        configured, key = self.configured, keys.type_of(certificate.public_key())
        return renews_with(key, configured.authority, configured.ways) is Rung.INTRODUCTION

    def begin(
        self, kind: Kind, phase: Phase = Phase.STARTED, name: str = "", *, forced: bool = False, rung: str = ""
    ) -> Transaction:
        """A transaction of this keystore, based on what is in place now; not in any journal yet.

        `forced`: a person wants it now, whatever is in place. `rung`: what authenticates an enrollment. Raises
        KeystoreError if the certificate that gets a successor cannot be read.
        """
        certificate = None
        if kind in (Kind.TRUST, Kind.PUT_BACK):  # neither is about a successor
            replaced = _remembered(None)
        elif kind is Kind.ENROLLMENT:
            replaced = self.in_place()
        else:
            certificate = self.configured.keystore.read_certificate()
            replaced = _remembered(certificate)
        if kind is not Kind.ENROLLMENT or self.moves_from:
            rung = ""
        if kind in (Kind.RENEWAL, Kind.ROLLOVER) and self.is_introduced(certificate):
            rung = Rung.INTRODUCTION
        return Transaction(
            id=name or secrets.token_hex(16),
            kind=kind,
            phase=phase,
            started_at=self.clock(),
            authority=self.configured.definition.authority,
            endpoint=self.configured.endpoint_at(self.configured.authority.urls[0]),
            host=self.host,
            source=self.moves_from if kind is Kind.ENROLLMENT else "",
            rung=rung,
            forced=forced,
            **replaced,
        )

    def in_place(self) -> InPlace:
        """What a transaction remembers about the certificate it replaces; nothing if that cannot be read."""
        return _remembered(certificate_in_place(self.configured.keystore))

    def shadow(self, transaction: Transaction) -> Shadow:
        """The transaction's shadow, made now if a killed run did not get that far; with what was issued for it."""
        definition = self.configured.definition
        keep = transaction.succeeds and definition.rekey == "never" and not transaction.compromised
        shadow = self.configured.keystore.create_shadow(transaction.id, None if keep else definition.key_type)
        if shadow.certificate is not None or not transaction.certificate:
            return shadow
        chain = tuple(map(facts.load_der, transaction.chain))
        return structs.replace(shadow, certificate=facts.load_der(transaction.certificate), chain=chain)

    def sweep_shadows(self) -> None:
        """Remove the shadows that no open transaction needs, and what has been out of use for long enough."""
        configured = self.configured
        transaction, rollover = configured.journal.open(), configured.rollover.open()
        configured.keystore.sweep_shadows({each.id for each in (transaction, rollover) if each is not None})
        if transaction is None:
            for line in configured.keystore.tidy(self.clock()):
                self.log(line)


def _remembered(certificate: x509.Certificate | None) -> InPlace:
    if certificate is None:
        return {"old_serial": "", "old_not_after": None}
    return {"old_serial": facts.serial_hex(certificate), "old_not_after": certificate.not_valid_after_utc}
