"""What is known of each keystore, as one snapshot: for `status`, `check` and the metrics file.

Read without a lock and without using a key, while workers may be busy: files are always replaced whole, so each
part is correct by itself, and the next look corrects what changed in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

from msgspec import Struct, structs

from certagent import policy, state, wall_clock
from certagent.config.configuration import Configuration
from certagent.config.introduction import Introduction
from certagent.config.keystores import KeystoreDefinition
from certagent.errors import CertagentError, internal_fault, named
from certagent.policy import Lifetime
from certagent.revocation.memory import Revocations
from certagent.state import Cas, LastError, Seen, State
from certagent.state_directory import KeystoreDirectory, StateDirectory
from certagent.status.rollover import RolloverStatus, rollover_status
from certagent.text import span
from certagent.transaction.configured import ConfiguredKeystore, configured_keystore
from certagent.transaction.journal import Transaction
from certagent.transaction.ladder import Rung, Standing, renews_with, told
from certagent.transaction.next_step import (
    Assessment,
    Situation,
    arrival_of_serial,
    assess,
    pace_notes,
    remembered,
    situation_of,
    somebody_changed,
)
from certagent.wall_clock import Doubt

if TYPE_CHECKING:
    from certagent.trust.authorities import Authorities
    from certagent.trust.fitness import Lack

T = TypeVar("T")


class InPlace(Struct, frozen=True):
    """The certificate in place. Names in RFC 4514 form, `serial` in hex, `key` as `key_type` writes it (rsa:2048)."""

    subject: str
    issuer: str
    serial: str
    key: str
    lifetime: Lifetime
    renew_at: datetime


class Snapshot(Struct, frozen=True):
    """One keystore at one moment: `situation` is what exists, `assessment` what follows from it.

    If something could not be read (`situation.readable`), `last_error` says why, and the rest is what could be read.
    `renew_at_note` says what replaces a `renew_at` that does not fit into the certificate's lifetime; else it is empty.
    `pace_notes` say how its CA keeps it from being renewed as planned, `exposed` which files let everybody read the
    key. `rollover` is None if none is known. `lacks`: what the definition asks for and the certificate lacks.
    `ways`: the ways back to a certificate, in the order in which they are tried (transaction/ladder.py);
    `introduction` is the factory identity among them.
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
    ways: tuple[Rung, ...] = ()
    introduction: Introduction | None = None


def take_snapshots(
    configuration: Configuration,
    *,
    now: datetime,
    host: str,
    names: Sequence[str] | None = None,
    debug: bool = False,
) -> list[Snapshot]:
    """A snapshot of each configured keystore, or of those named.

    A bug of ours with one keystore is shown there and does not affect the others; with `debug` it is raised.
    """

    @cache
    def authorities() -> Authorities:
        from certagent.trust.authorities import Authorities  # noqa: PLC0415 -- see `take_snapshot`

        return Authorities(configuration.authorities, Path(configuration.state_dir))

    shared = Shared(Path(configuration.state_dir))
    doubt = wall_clock.doubt(Path(configuration.state_dir), now)
    taken = []
    for name in configuration.keystores if names is None else names:
        try:
            configured = configured_keystore(configuration, name, host)
            taken.append(take_snapshot(configured, authorities, now, doubt, shared))
        except Exception as fault:
            if debug:
                raise
            taken.append(_unseen(name, configuration.keystores[name], internal_fault(fault), now))
    return taken


def _unseen(name: str, definition: KeystoreDefinition, error: CertagentError, now: datetime) -> Snapshot:
    """The snapshot of a keystore that could not be read."""
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


class Shared:
    """What many keystores share, each read once: the signature of an authority's CAs, and what is revoked."""

    def __init__(self, state_dir: Path) -> None:
        self.revocations = Revocations(state_dir)
        self._places = StateDirectory(state_dir)
        self._signatures: dict[str, str] = {}

    def signature(self, authority: str) -> str:
        if authority not in self._signatures:
            self._signatures[authority] = state.signature_of(self._places.authority(authority))
        return self._signatures[authority]


def take_snapshot(
    configured: ConfiguredKeystore,
    authorities: Callable[[], Authorities],
    now: datetime,
    doubt: Doubt | None = None,
    shared: Shared | None = None,
) -> Snapshot:
    """Look at one keystore and at what is remembered of its authority. Does not raise for what it finds.

    A certificate that its worker has already seen as it is now is not read again (docs/decisions/0041), and if that is
    so for all, no cryptography is loaded.
    """
    shared = shared or Shared(KeystoreDirectory(configured.directory).state_directory.path)
    faults: list[CertagentError] = []
    found = _found(configured, authorities, shared, faults)
    seen, memory = found.seen, found.memory
    known = _situation(configured, found, shared, now)
    rollover = _tried(faults, lambda: rollover_status(found.cas, known, found.preparation, memory.rollover))
    situation = known if doubt is None and not faults else structs.replace(known, readable=not faults, doubt=doubt)
    return Snapshot(
        name=configured.name,
        situation=situation,
        assessment=assess(situation, now),
        last_error=_dated(faults[0], configured.name, memory.last_error, now) if faults else memory.last_error,
        certificate=_in_place(seen, known.rules) if seen else None,
        transaction=found.transaction,
        renew_at_note=_renew_at_note(configured.definition, situation.lifetime),
        rollover=rollover,
        pace_notes=tuple(pace_notes(situation)),
        lacks=_lacks(seen) if seen else (),
        exposed=seen.exposed if seen else _exposed(configured),
        **_ways(configured, situation, seen, now),
    )


class _Found(Struct, frozen=True):
    """What is on the disk. `changed`: somebody changed the files or the definition since the last attempt."""

    memory: State
    transaction: Transaction | None
    preparation: Transaction | None
    seen: Seen | None
    cas: Cas
    changed: bool


def _found(
    configured: ConfiguredKeystore, authorities: Callable[[], Authorities], shared: Shared, faults: list[CertagentError]
) -> _Found:
    preparation = _tried(faults, configured.rollover.open)
    memory = _tried(faults, lambda: state.recall(configured.directory)) or State()
    transaction = _tried(faults, configured.journal.open)
    signed = shared.signature(configured.definition.authority)
    seen = remembered(memory, configured.digest, signed, lambda: state.watch(memory.watched))
    if seen is not None and not configured.authority.trusted_files:
        return _Found(memory, transaction, preparation, seen, seen.cas, changed=False)
    if seen is None and transaction is None:  # in the middle of a swap, the key may be newer than the certificate
        _tried(faults, configured.keystore.check_key)
    seen, cas, changed = _see(configured, authorities(), memory, seen, faults)
    return _Found(memory, transaction, preparation, seen, cas, changed)


def _situation(configured: ConfiguredKeystore, found: _Found, shared: Shared, now: datetime) -> Situation:
    seen, memory, above = found.seen, found.memory, found.cas.above
    situation = situation_of(
        configured.rules,
        Lifetime(seen.not_before, seen.not_after) if seen else None,
        above.lifetime if above is not None and not found.cas.is_old else None,  # an old CA is not the authority's
        transaction=found.transaction,
        rollover=found.preparation,
        past=structs.replace(memory.past, retry_at=None) if found.changed else memory.past,
        rollover_past=structs.replace(memory.rollover.past, retry_at=None) if found.changed else memory.rollover.past,
        arrival=arrival_of_serial(seen.serial, seen.not_after, memory.arrival, now) if seen else None,
    )
    if seen is None:
        return situation
    since = shared.revocations.since(configured.definition.authority, configured.name, seen.serial)
    return situation if since is None else structs.replace(situation, revoked=since)


def _see(
    configured: ConfiguredKeystore,
    authorities: Authorities,
    memory: State,
    seen: Seen | None,
    faults: list[CertagentError],
) -> tuple[Seen | None, Cas, bool]:
    """The certificate in place, the CAs as it sees them, and whether somebody changed the files or the definition.

    The files are read, or the authority's alone if the certificate was `seen`.
    """
    from certagent.transaction.seen import cas_of, see  # noqa: PLC0415 -- loads cryptography

    first: list[CertagentError] = []
    known = _tried(first, lambda: authorities.known(configured.definition.authority))
    faults[:0] = first
    if seen is not None:
        return seen, seen.cas if known is not None else Cas(), False
    # As the worker does: after somebody changed the files, do not wait for the pause after a failure.
    certificate = _tried(faults, configured.keystore.read_certificate)
    changed = somebody_changed(memory, configured.digest, state.watch(configured.keystore.watched()))
    if certificate is not None:
        seen = _tried(faults, lambda: see(certificate, known, configured.definition, _exposed(configured)))
    return seen, seen.cas if seen else cas_of(None, known), changed


def _lacks(seen: Seen) -> tuple[Lack, ...]:
    if not seen.lacks:
        return ()
    from certagent.trust.fitness import Lack  # noqa: PLC0415 -- loads cryptography

    return tuple(Lack(*words) for words in seen.lacks)


class _Ways(TypedDict):
    ways: tuple[Rung, ...]
    introduction: Introduction | None


def _ways(configured: ConfiguredKeystore, situation: Situation, seen: Seen | None, now: datetime) -> _Ways:
    lifetime, rules, named = situation.lifetime, situation.rules, configured.ways
    if seen is not None:
        named = structs.replace(named, renews=renews_with(seen.key, configured.authority, named) is Rung.CERTIFICATE)
    if lifetime is None:
        ways = told(Standing.NONE, named) if rules.can_enroll else ()
    elif situation.revoked is not None and rules.enrolls_revoked:
        ways = told(Standing.REPLACED, named)
    else:
        ways = told(Standing.EXPIRED if lifetime.not_after <= now else Standing.VALID, named)
    return {"ways": ways, "introduction": configured.introduction}


def _exposed(configured: ConfiguredKeystore) -> tuple[str, ...]:
    return _tried([], configured.keystore.exposed) or ()  # whoever needs the key reports that it cannot be read


def _tried(faults: list[CertagentError], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except CertagentError as error:
        faults.append(error)
        return None


def _in_place(seen: Seen, rules: policy.Rules) -> InPlace:
    lifetime = Lifetime(seen.not_before, seen.not_after)
    return InPlace(seen.subject, seen.issuer, seen.serial, seen.key, lifetime, policy.renew_at(lifetime, rules))


def _dated(error: CertagentError, name: str, before: LastError | None, now: datetime) -> LastError:
    """The error as of now; or as of then, if a worker had the same error."""
    error.hint = named(error.hint, name)
    return before if before is not None and before.message == str(error) else LastError.of(error, now)


def _renew_at_note(definition: KeystoreDefinition, lifetime: Lifetime | None) -> str:
    wanted = definition.renew_at.before_end
    if lifetime is None or wanted is None or policy.fits(definition.renew_at, lifetime):
        return ""
    whole = span(lifetime.length)
    return (
        f"renew_at {span(wanted)} is too long for a lifetime of {whole}: certagent renews after two "
        f"thirds of it instead"
    )
