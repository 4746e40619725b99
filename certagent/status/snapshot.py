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
from certagent import keys, policy, state, wall_clock
from certagent.config.configuration import Configuration
from certagent.config.keystores import KeystoreDefinition
from certagent.errors import CertagentError, KeystoreError, internal_fault
from certagent.policy import Lifetime
from certagent.state import LastError, State
from certagent.status.rollover import RolloverStatus, rollover_status
from certagent.text import span
from certagent.transaction.configured import ConfiguredKeystore, configured_keystore
from certagent.transaction.journal import Transaction
from certagent.transaction.next_step import (
    Assessment,
    Situation,
    arrival_of,
    assess,
    pace_notes,
    situation_of,
    somebody_changed,
)
from certagent.trust.authorities import Authorities
from certagent.trust.fitness import Lack, lacks_of
from certagent.wall_clock import Doubt

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
    """One keystore at one moment: `situation` is what is there, `assessment` what follows from it.

    Where something could not be read (`situation.readable`), `last_error` says why, and the rest is what could.
    `renew_at_note` says how `renew_at` was replaced where the certificate's lifetime has no room for it; else empty.
    `pace_notes` say where its CA's certificates leave no room for it, `exposed` which files show the key to everybody.
    `rollover` is None where nothing is known of one. `lacks`: what the certificate lacks that the definition asks for.
    """

    name: str
    situation: Situation
    assessment: Assessment
    last_error: LastError | None
    certificate: InPlace | None
    transaction: Transaction | None
    renew_at_note: str
    rollover: RolloverStatus | None
    pace_notes: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    lacks: tuple[Lack, ...] = ()


def take_snapshots(
    configuration: Configuration,
    *,
    now: datetime,
    host: str,
    names: Sequence[str] | None = None,
    debug: bool = False,
) -> list[Snapshot]:
    """A snapshot of each configured keystore, or of those named.

    A fault of ours with one of them is shown there and costs the others nothing; with `debug` it is raised.
    """
    authorities = Authorities(configuration.authorities, Path(configuration.state_dir))
    doubt = wall_clock.doubt(Path(configuration.state_dir), now)
    taken = []
    for name in configuration.keystores if names is None else names:
        try:
            taken.append(take_snapshot(configured_keystore(configuration, name, host), authorities, now, doubt))
        except Exception as fault:
            if debug:
                raise
            taken.append(_unseen(name, configuration.keystores[name], internal_fault(fault), now))
    return taken


def _unseen(name: str, definition: KeystoreDefinition, error: CertagentError, now: datetime) -> Snapshot:
    """Of a keystore that could not be looked at."""
    rules = policy.Rules(definition.renew_at, definition.jitter, share=0, can_enroll=False)
    situation = Situation(rules, readable=False)
    return Snapshot(
        name=name,
        situation=situation,
        assessment=assess(situation, now),
        last_error=LastError.of(error, now),
        certificate=None,
        transaction=None,
        renew_at_note="",
        rollover=None,
    )


def take_snapshot(
    configured: ConfiguredKeystore, authorities: Authorities, now: datetime, doubt: Doubt | None = None
) -> Snapshot:
    """Look at one keystore, and at what is remembered of its authority. Raises nothing for what it finds."""
    definition, keystore = configured.definition, configured.keystore
    faults: list[CertagentError] = []
    known = _tried(faults, lambda: authorities.known(definition.authority))
    preparation = _tried(faults, configured.rollover.open)
    memory = _tried(faults, lambda: state.recall(configured.directory)) or State()
    transaction = _tried(faults, configured.journal.open)
    certificate = _tried(faults, keystore.read_certificate)
    # As the worker does: what somebody changed is looked at without waiting for the pause after a failure.
    changed = somebody_changed(memory, configured.digest, state.watch(keystore.watched()))
    track = memory.rollover
    situation = situation_of(
        configured.rules,
        certificate,
        known,
        transaction=transaction,
        rollover=preparation,
        past=replace(memory.past, retry_at=None) if changed else memory.past,
        rollover_past=replace(track.past, retry_at=None) if changed else track.past,
        arrival=arrival_of(certificate, memory.arrival, now),
    )
    in_place = _tried(faults, lambda: _in_place(certificate, situation))
    rollover = _tried(faults, lambda: rollover_status(certificate, known, preparation, track, situation.rules))
    exposed = _tried([], keystore.exposed) or ()  # whoever needs the key says that it cannot be read
    situation = replace(situation, readable=not faults, doubt=doubt)
    return Snapshot(
        name=configured.name,
        situation=situation,
        assessment=assess(situation, now),
        last_error=_dated(faults[0], memory.last_error, now) if faults else memory.last_error,
        certificate=in_place,
        transaction=transaction,
        renew_at_note=_renew_at_note(definition, situation.lifetime),
        rollover=rollover,
        pace_notes=tuple(pace_notes(situation)),
        lacks=_lacks(definition, certificate),
        exposed=exposed,
    )


def _tried(faults: list[CertagentError], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except CertagentError as error:
        faults.append(error)
        return None


def _in_place(certificate: x509.Certificate | None, situation: Situation) -> InPlace | None:
    lifetime = situation.lifetime
    if certificate is None or lifetime is None:
        return None
    try:
        return InPlace(
            subject=facts.subject_text(certificate),
            issuer=facts.name_text(certificate.issuer),
            serial=facts.serial_hex(certificate),
            key=_key_words(certificate),
            lifetime=lifetime,
            renew_at=policy.renew_at(lifetime, situation.rules),
        )
    except ValueError as error:  # cryptography looks into some parts only when they are asked for
        raise KeystoreError(f"the certificate in place cannot be read: {error}", facts.WRITTEN_WRONG) from None


def _lacks(definition: KeystoreDefinition, certificate: x509.Certificate | None) -> tuple[Lack, ...]:
    names, usages, purposes = definition.san, definition.key_usage, definition.extended_key_usage
    if certificate is None or not (names or usages or purposes):
        return ()
    try:
        return tuple(lacks_of(certificate, names, usages, purposes))
    except CertagentError:  # of names that cannot be: who asks for them says so
        return ()


def _key_words(certificate: x509.Certificate) -> str:
    try:
        return keys.type_of(certificate.public_key())
    except UnsupportedAlgorithm:
        return "unknown"


def _dated(error: CertagentError, before: LastError | None, now: datetime) -> LastError:
    """The error as of now; if a worker met the very same one, as of then."""
    return before if before is not None and before.message == str(error) else LastError.of(error, now)


def _renew_at_note(definition: KeystoreDefinition, lifetime: Lifetime | None) -> str:
    wanted = definition.renew_at.before_end
    if lifetime is None or wanted is None or policy.fits(definition.renew_at, lifetime):
        return ""
    whole = span(lifetime.length)
    return f"renew_at {span(wanted)} leaves too little of a lifetime of {whole}: renewed after two thirds of it instead"
