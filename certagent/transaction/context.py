"""What the steps of a transaction have at hand: one keystore, its directory, its authority, a clock and a log."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from cryptography import x509

from certagent import certificate as facts
from certagent import policy, state
from certagent.config.authority import Authority
from certagent.config.keystores import KeystoreDefinition
from certagent.errors import CertagentError, KeystoreError, TransientError
from certagent.hooks import run_hook
from certagent.keystore.base import Keystore, Shadow
from certagent.text import iso
from certagent.transaction.journal import Journal, Kind, Phase, Transaction
from certagent.trust.authorities import Authorities, Contact, Known

Clock = Callable[[], datetime]
Log = Callable[[str], None]


class InPlace(TypedDict):
    old_serial: str
    old_not_after: datetime | None


class AbandonedError(TransientError):
    """The transaction cannot go on as it was begun; nothing is lost by beginning anew."""


@dataclass(frozen=True)
class Context:
    """One keystore being worked on; whoever changes something holds its lock.

    `digest` is of its definition; `host` tells this machine from others; `log` takes lines for the log,
    `say` what a person at a terminal may like to know. `peer` opens another keystore by its name: an enrollment
    may be signed by the identity in there, `moves_from` (docs/tokens.md).
    """

    name: str
    definition: KeystoreDefinition
    authority: Authority
    digest: str
    host: str
    directory: Path
    keystore: Keystore
    journal: Journal
    rollover: Journal
    authorities: Authorities
    clock: Clock
    log: Log
    say: Log
    peer: Callable[[str], Keystore]
    moves_from: str = ""

    def contact(self, transaction: Transaction) -> Contact:
        """The authority as this transaction sees it: of a rollover, the next CA is the recipient and the issuer."""
        now, name = self.clock(), self.definition.authority
        contact = self.authorities.contact(name, now)
        became_current = bool(transaction.recipient) and contact.recipient == transaction.recipient
        if transaction.kind is not Kind.ROLLOVER or became_current:
            return contact
        successor = self.authorities.successor(name, now)
        if successor is None:
            raise AbandonedError("the CA announces no next CA any more", "the rollover begins anew when it does")
        return contact.for_rollover(successor)

    @property
    def endpoint(self) -> str:
        """Where requests go; a transaction begun elsewhere cannot be carried on."""
        return f"{self.authority.url} {self.authority.ca_identifier or ''}".strip()

    def predecessor(self, transaction: Transaction) -> Keystore | None:
        """Where the identity is that this transaction makes a successor of; None for a first enrollment."""
        if transaction.source:
            return self.peer(transaction.source)
        return self.keystore if transaction.succeeds else None

    def begin(self, kind: Kind, phase: Phase = Phase.STARTED, name: str = "") -> Transaction:
        """A transaction of this keystore, about what is in place now; not yet in any journal."""
        # ca_file alone replaces no certificate.
        replaced: InPlace = self.in_place() if kind is not Kind.TRUST else {"old_serial": "", "old_not_after": None}
        return Transaction(
            id=name or secrets.token_hex(16),
            kind=kind,
            phase=phase,
            started_at=self.clock(),
            authority=self.definition.authority,
            endpoint=self.endpoint,
            source=self.moves_from if kind is Kind.ENROLLMENT else "",
            **replaced,
        )

    def in_place(self) -> InPlace:
        """What a transaction remembers of the certificate that it replaces."""
        certificate = certificate_in_place(self.keystore)
        if certificate is None:
            return {"old_serial": "", "old_not_after": None}
        return {"old_serial": facts.serial_hex(certificate), "old_not_after": certificate.not_valid_after_utc}

    def shadow(self, transaction: Transaction) -> Shadow:
        """The transaction's shadow, made if a killed run did not come so far."""
        keep = transaction.succeeds and self.definition.rekey == "never"
        return self.keystore.create_shadow(transaction.id, None if keep else self.definition.key_type)

    def trusted(self) -> tuple[x509.Certificate, ...]:
        """What belongs into ca_file now; empty before the authority was first reached."""
        known = self.authorities.known(self.definition.authority)
        return known.trusted(self.clock()) if known else ()

    def sweep_shadows(self) -> None:
        """Remove the shadows that no open transaction needs, and what has been out of use for long enough."""
        open_ones = (self.journal.open(), self.rollover.open())
        self.keystore.sweep_shadows({each.id for each in open_ones if each is not None})
        if open_ones[0] is None:
            for line in self.keystore.tidy(self.clock()):
                self.log(line)

    def note(self, event: str, transaction: Transaction | None = None, message: str = "") -> None:
        """A line of history."""
        if transaction is None:
            line = state.Event(at=self.clock(), event=event, message=message)
        else:
            line = state.Event(
                at=self.clock(),
                event=event,
                message=message,
                transaction=transaction.id,
                kind=transaction.kind.value,
                serial=transaction.serial,
                not_after=transaction.not_after,
            )
        state.append_history(self.directory, line)

    def run_hooks(self, event: str, environment: dict[str, str]) -> None:
        """Run an event's commands in order. Raises HookError at the first that fails."""
        for command in self.definition.hooks.commands(event):
            self.say(f"running {event} hook {command.run[0]}")
            run_hook(command, {**environment, "CERTAGENT_EVENT": event}, self.log)

    def tell(self, event: str, transaction: Transaction | None, attempt: int = 1) -> None:
        """Run hooks that only inform: their failing is logged and changes nothing."""
        try:
            self.run_hooks(event, self.hook_environment(transaction, attempt))
        except CertagentError as error:
            self.log(f"{event} hook: {error}")

    def hook_environment(self, transaction: Transaction | None, attempt: int = 1) -> dict[str, str]:
        """What hooks are told (docs/hooks.md). Nothing secret."""
        paths = self.definition.hook_paths
        certificate = self._told(transaction)
        return {
            "CERTAGENT_KEYSTORE": self.name,
            "CERTAGENT_KIND": transaction.kind.value if transaction else "",
            "CERTAGENT_KEY_FILE": paths["key"],
            "CERTAGENT_CERTIFICATE_FILE": paths["certificate"],
            "CERTAGENT_CHAIN_FILE": paths["chain"],
            "CERTAGENT_CA_FILE": paths["ca"],
            "CERTAGENT_SERIAL": facts.serial_hex(certificate) if certificate else "",
            "CERTAGENT_OLD_SERIAL": transaction.old_serial if transaction else "",
            "CERTAGENT_NOT_AFTER": iso(certificate.not_valid_after_utc) if certificate else "",
            "CERTAGENT_SUBJECT": facts.subject_text(certificate) if certificate else self.definition.subject or "",
            "CERTAGENT_ATTEMPT": str(attempt),
        }

    def _told(self, transaction: Transaction | None) -> x509.Certificate | None:
        """The successor once it is issued (`pre` decides about it); else, and after a way back, what is in place."""
        if transaction is not None and transaction.certificate and transaction.phase is not Phase.REVERTED:
            return x509.load_der_x509_certificate(transaction.certificate)
        return certificate_in_place(self.keystore)

    def rules(self) -> policy.Rules:
        known = self.authorities.known(self.definition.authority)
        rules = rules_of(self.name, self.definition, self.authority, self.host, ca_of(known, self.keystore))
        return replace(rules, switch_at=switch_of(self.rollover.open()))


def ca_of(known: Known | None, keystore: Keystore) -> policy.Lifetime | None:
    """The life of the CA that issued the certificate in place; None where it is another than the authority's.

    After the switch that is the next CA, before the authority was met again.
    """
    certificate = certificate_in_place(keystore)
    if known is None or certificate is None:
        return None
    issuers = (known.issuer, *known.next_chain[:1])
    return lifetime_of(next((each for each in issuers if facts.issued_by(certificate, each)), None))


def rules_of(
    name: str, definition: KeystoreDefinition, authority: Authority, host: str, ca: policy.Lifetime | None
) -> policy.Rules:
    """The definition's part in the decision when to act."""
    return policy.Rules(
        renew_at=definition.renew_at,
        jitter=definition.jitter,
        share=policy.jitter_share(name, host),
        can_enroll=definition.subject is not None,
        ca=ca,
        rollover_at=authority.rollover_at,
    )


def switch_of(rollover: Transaction | None) -> datetime | None:
    """When a staged shadow becomes the identity; None where none is staged."""
    return rollover.switch_at if rollover is not None and rollover.phase is Phase.ISSUED else None


def lifetime_of(certificate: x509.Certificate | None) -> policy.Lifetime | None:
    if certificate is None:
        return None
    return policy.Lifetime(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def open_of(transaction: Transaction | None) -> policy.Open | None:
    """What an open transaction means for the decision what is next."""
    if transaction is None:
        return None
    return policy.Open(
        poll_at=transaction.poll_at if transaction.phase is Phase.PENDING else None,
        hooks_owed=transaction.phase is Phase.ACTIVATED,
    )


def road_of(
    rollover: Transaction | None,
    track: state.Track,
    lifetime: policy.Lifetime | None,
    rules: policy.Rules,
    now: datetime,
) -> policy.Decision:
    """What comes next on the way to the next CA."""
    preparation = open_of(rollover)
    if preparation is not None:
        preparation = replace(preparation, switch_at=switch_of(rollover))
    return policy.decide_rollover(lifetime, preparation, policy.Past(track.failures, track.retry_at), rules, now)


def certificate_in_place(keystore: Keystore) -> x509.Certificate | None:
    """The certificate in place; None also where none can be read."""
    try:
        return keystore.read_certificate()
    except KeystoreError:
        return None
