"""What is known of each keystore, as one snapshot: for `status`, `check` and the metrics file.

Read without a lock and without touching a key, while workers may be busy: every file is replaced whole, so each
part is right by itself, and the next look settles what changed in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from certagent import certificate as facts
from certagent import keys, policy, state
from certagent.config.authority import Authority
from certagent.config.configuration import Configuration
from certagent.config.keystores import KeystoreDefinition
from certagent.errors import CertagentError, KeystoreError
from certagent.hooks import read_secret
from certagent.keystore import open_keystore
from certagent.keystore.base import Keystore
from certagent.policy import Action, Condition, Decision, Lifetime, Past, Rules
from certagent.state import LastError, State
from certagent.status.rollover import RolloverStatus, rollover_of
from certagent.text import iso, span
from certagent.transaction.context import (
    ca_of,
    certificate_in_place,
    lifetime_of,
    open_of,
    road_of,
    rules_of,
    switch_of,
)
from certagent.transaction.journal import Journal, Phase, Transaction
from certagent.trust.authorities import Authorities

T = TypeVar("T")


@dataclass(frozen=True)
class InPlace:
    """The certificate in place. Names in RFC 4514 form, `serial` in hex, `key` as `key_type` writes it (rsa:2048)."""

    subject: str
    issuer: str
    serial: str
    key: str
    lifetime: Lifetime
    renew_at: datetime


@dataclass(frozen=True)
class Snapshot:
    """One keystore at one moment.

    `readable` False: its state or its certificate could not be read, `last_error` says why, the rest is what could.
    `road`: the way to the next CA, None where nothing is known of it. `rules` and `past` are what the decision was
    made of. `bent` says how `renew_at` was replaced where the certificate's lifetime has no room for it; else empty.
    """

    name: str
    condition: Condition
    next_action: Action | None
    next_action_at: datetime | None
    reason: str
    last_error: LastError | None
    failures: int
    certificate: InPlace | None
    transaction: Transaction | None
    bent: str
    readable: bool
    rules: Rules
    past: Past
    road: RolloverStatus | None


def take_snapshots(
    configuration: Configuration, *, now: datetime, host: str, names: Sequence[str] | None = None
) -> list[Snapshot]:
    """A snapshot of each configured keystore, or of those named."""
    taken = []
    authorities = Authorities(configuration.authorities, Path(configuration.state_dir))
    for name in configuration.keystores if names is None else names:
        definition = configuration.keystores[name]
        directory = Path(configuration.state_dir) / "keystores" / name
        keystore = open_keystore(
            name, definition, directory=directory, live_dir=Path(configuration.live_dir), read_secret=read_secret
        )
        place = Place(name, definition, configuration.authority_of(definition), directory, keystore, host)
        taken.append(take_snapshot(place, authorities, now))
    return taken


@dataclass(frozen=True)
class Place:
    """One keystore to look at; `directory` is its own under the state directory."""

    name: str
    definition: KeystoreDefinition
    authority: Authority
    directory: Path
    keystore: Keystore
    host: str


def take_snapshot(place: Place, authorities: Authorities, now: datetime) -> Snapshot:
    """Look at one keystore, and at what is remembered of its authority. Raises nothing for what it finds."""
    definition, directory, keystore = place.definition, place.directory, place.keystore
    faults: list[CertagentError] = []
    known = _tried(faults, lambda: authorities.known(definition.authority))
    rollover = _tried(faults, Journal(directory, "rollover").open)
    rules = rules_of(place.name, definition, place.authority, place.host, ca_of(known, keystore))
    rules = replace(rules, switch_at=switch_of(rollover))
    memory = _tried(faults, lambda: state.load(directory)) or State()
    transaction = _tried(faults, Journal(directory).open)
    certificate = _tried(faults, lambda: _in_place(keystore, rules))
    lifetime = certificate.lifetime if certificate else None
    # Like the worker: files somebody changed are looked at without waiting for the pause after a failure.
    changed = memory.watched != state.watch(keystore.watched())
    failures = memory.failures + memory.rollover.failures
    past = policy.Past(failures, None if changed else memory.retry_at)
    staged = rollover is not None and rollover.phase is Phase.ISSUED
    condition = policy.condition(lifetime, open_of(transaction), past, rules, now, staged=staged)
    decision = policy.decide(lifetime, open_of(transaction), past, rules, now)
    if transaction is None:
        decision = policy.sooner(decision, road_of(rollover, memory.rollover, lifetime, rules, now), now)
    way = _tried(faults, lambda: rollover_of(certificate_in_place(keystore), known, rollover, memory.rollover, rules))
    last_error = memory.last_error
    if not policy.clock_is_sane(now):
        decision = Decision(None, None, f"the clock says {iso(now)}: nothing is done until it is set")
    if faults:
        condition, decision = Condition.FAILED, Decision(None, None, "what is there cannot be read")
        last_error = _dated(faults[0], memory.last_error, now)
    return Snapshot(
        name=place.name,
        condition=condition,
        next_action=decision.action,
        next_action_at=decision.at,
        reason=decision.reason,
        last_error=last_error,
        failures=failures,
        certificate=certificate,
        transaction=transaction,
        bent=_bent(definition, lifetime),
        readable=not faults,
        rules=rules,
        past=past,
        road=way,
    )


def _tried(faults: list[CertagentError], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except CertagentError as error:
        faults.append(error)
        return None


def _in_place(keystore: Keystore, rules: policy.Rules) -> InPlace | None:
    certificate = keystore.read_certificate()
    lifetime = lifetime_of(certificate)
    if certificate is None or lifetime is None:
        return None
    try:
        return InPlace(
            subject=facts.subject_text(certificate),
            issuer=certificate.issuer.rfc4514_string(),
            serial=facts.serial_hex(certificate),
            key=_key_words(certificate),
            lifetime=lifetime,
            renew_at=policy.renew_at(lifetime, rules),
        )
    except ValueError as error:  # cryptography looks into some parts only when they are asked for
        raise KeystoreError(f"the certificate in place cannot be read: {error}", "is the file damaged?") from None


def _key_words(certificate: x509.Certificate) -> str:
    try:
        return keys.type_of(certificate.public_key())
    except UnsupportedAlgorithm:
        return "unknown"


def _dated(error: CertagentError, before: LastError | None, now: datetime) -> LastError:
    """The error as of now; if a worker met the very same one, as of then."""
    return before if before is not None and before.message == str(error) else LastError.of(error, now)


def _bent(definition: KeystoreDefinition, lifetime: Lifetime | None) -> str:
    wanted = definition.renew_at.before_end
    if lifetime is None or wanted is None or policy.fits(definition.renew_at, lifetime):
        return ""
    whole = span(lifetime.not_after - lifetime.not_before)
    return f"renew_at {span(wanted)} leaves too little of a lifetime of {whole}: renewed after two thirds of it instead"
