"""What is known of each keystore, as one snapshot: for `status`, `check` and the metrics file.

Read without a lock and without touching a key, while workers may be busy: every file is replaced whole, so each
part is right by itself, and the next look settles what changed in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certagent import certificate as facts
from certagent import durable, policy, road, state
from certagent.config.definitions import Authority, Configuration, KeystoreDefinition
from certagent.errors import CertagentError, ConfigError, KeystoreError
from certagent.hooks import read_secret
from certagent.keystore import open_keystore
from certagent.keystore.base import Keystore
from certagent.policy import Action, Condition, Decision, Lifetime, Past, Rules
from certagent.road import Ca, Road
from certagent.state import LastError, State, iso
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
Samples = list[tuple[dict[str, str], float]]
Family = tuple[str, str, Samples]


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
    road: Road | None


def snapshots(
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
        taken.append(snapshot(place, authorities, now))
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


def snapshot(place: Place, authorities: Authorities, now: datetime) -> Snapshot:
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
    way = _tried(faults, lambda: road.look(certificate_in_place(keystore), known, rollover, memory.rollover, rules))
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
        key = certificate.public_key()
    except UnsupportedAlgorithm:
        return "unknown"
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa:{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ec:{key.curve.name.replace('secp256r1', 'p256').replace('secp384r1', 'p384')}"
    return type(key).__name__.removesuffix("PublicKey").lower()


def _dated(error: CertagentError, before: LastError | None, now: datetime) -> LastError:
    """The error as of now; if a worker met the very same one, as of then."""
    return before if before is not None and before.message == str(error) else LastError.of(error, now)


def _bent(definition: KeystoreDefinition, lifetime: Lifetime | None) -> str:
    wanted = definition.renew_at.before_end
    if lifetime is None or wanted is None or policy.fits(definition.renew_at, lifetime):
        return ""
    whole = span(lifetime.not_after - lifetime.not_before)
    return f"renew_at {span(wanted)} leaves too little of a lifetime of {whole}: renewed after two thirds of it instead"


def span(time: timedelta) -> str:
    """A length of time in one unit, cut off: `40 s`, `15 min`, `6 h`, `30 d`, `12 y`."""
    seconds = int(abs(time).total_seconds())
    for size, unit, least in ((31_557_600, "y", 2), (86_400, "d", 2), (3600, "h", 2), (60, "min", 2)):
        if seconds >= size * least:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def as_json(snapshots: Iterable[Snapshot]) -> dict[str, Any]:
    """What `status --json` prints (docs/commands.md): null where something is not known, times in UTC."""
    return {"keystores": {each.name: _entry(each) for each in snapshots}}


def _entry(it: Snapshot) -> dict[str, Any]:
    certificate, error, transaction = it.certificate, it.last_error, it.transaction
    return {
        "state": it.condition.value,
        "subject": certificate.subject if certificate else None,
        "issuer": certificate.issuer if certificate else None,
        "serial": certificate.serial if certificate else None,
        "key": certificate.key if certificate else None,
        "not_before": iso(certificate.lifetime.not_before) if certificate else None,
        "not_after": iso(certificate.lifetime.not_after) if certificate else None,
        "next_action": it.next_action.value if it.next_action else None,
        "next_action_at": iso(it.next_action_at) if it.next_action_at else None,
        "reason": it.reason,
        "failures": it.failures,
        "transaction": {"kind": transaction.kind.value, "phase": transaction.phase.value} if transaction else None,
        "last_error": _error(error),
        "rollover": _rollover(it.road) if it.road else None,
    }


def _error(error: LastError | None) -> dict[str, str] | None:
    return {"message": error.message, "hint": error.hint, "at": iso(error.at)} if error else None


def _rollover(way: Road) -> dict[str, Any]:
    return {
        "ca_not_after": iso(way.ca.lifetime.not_after) if way.ca else None,
        "begins_at": iso(way.begins_at) if way.begins_at else None,
        "phase": way.phase.value if way.phase else None,
        "next_ca": _ca(way.next_ca) if way.next_ca else None,
        "shadow": {"serial": way.shadow.serial, **_span(way.shadow.lifetime)} if way.shadow else None,
        "switch_at": iso(way.switch_at) if way.switch_at else None,
        "last_error": _error(way.last_error),
    }


def _ca(ca: Ca) -> dict[str, str]:
    return {"fingerprint": ca.fingerprint, "subject": ca.subject, "proof": ca.proof, **_span(ca.lifetime)}


def _span(lifetime: Lifetime) -> dict[str, str]:
    return {"not_before": iso(lifetime.not_before), "not_after": iso(lifetime.not_after)}


def metrics(snapshots: Iterable[Snapshot], now: datetime) -> str:
    """The keystores in Prometheus' text format, for node-exporter's textfile collector. `now`: the run's end."""
    every = list(snapshots)
    families: list[Family] = [
        *_certificate_families(every),
        *_rollover_families(every, now),
        ("certagent_last_run_seconds", "End of the newest run of a worker, Unix time.", [({}, now.timestamp())]),
    ]
    return "".join(_family(name, about, samples) for name, about, samples in families)


def _certificate_families(every: Sequence[Snapshot]) -> list[Family]:
    held = [({"keystore": each.name}, each.certificate.lifetime) for each in every if each.certificate]
    return [
        (
            "certagent_certificate_not_after_seconds",
            "End of the validity of the certificate in place, Unix time.",
            [(name, lifetime.not_after.timestamp()) for name, lifetime in held],
        ),
        (
            "certagent_certificate_not_before_seconds",
            "Begin of the validity of the certificate in place, Unix time.",
            [(name, lifetime.not_before.timestamp()) for name, lifetime in held],
        ),
        (
            "certagent_keystore_state",
            "1 for the state the keystore is in, 0 for the others.",
            [({"keystore": each.name, "state": word}, each.condition == word) for each in every for word in Condition],
        ),
        (
            "certagent_keystore_failures",
            "Attempts that failed in a row.",
            [({"keystore": each.name}, each.failures) for each in every],
        ),
        (
            "certagent_keystore_next_action_seconds",
            "When the keystore needs attention next, Unix time.",
            [({"keystore": each.name}, each.next_action_at.timestamp()) for each in every if each.next_action_at],
        ),
    ]


def _rollover_families(every: Sequence[Snapshot], now: datetime) -> list[Family]:
    roads = [({"keystore": each.name}, each.road) for each in every if each.road]
    return [
        (
            "certagent_ca_not_after_seconds",
            "End of the CA above the certificate in place, Unix time.",
            [(name, way.ca.lifetime.not_after.timestamp()) for name, way in roads if way.ca],
        ),
        (
            "certagent_rollover_switch_seconds",
            "When the staged shadow takes over, Unix time; none while nothing is staged.",
            [(name, way.switch_at.timestamp()) for name, way in roads if way.switch_at],
        ),
        (
            "certagent_rollover_late",
            "1 if the CA's end is near and no next CA is believed yet.",
            [(name, way.late(now)) for name, way in roads],
        ),
        (
            "certagent_rollover_refused",
            "1 if a next CA was not believed, or refused the shadow.",
            [(name, way.refused) for name, way in roads],
        ),
    ]


def _family(name: str, about: str, samples: Samples) -> str:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{name}{f'{{{inside}}}' if inside else ''} {value:.0f}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def write_metrics(path: Path, text: str) -> None:
    """Replace the metrics file, readable for everybody: node-exporter is another user. Raises ConfigError."""
    try:
        durable.write(path, text.encode(), durable.Ownership(0o644))
    except OSError as error:
        raise ConfigError(
            f"metrics_file {path} cannot be written: {error.strerror or error}",
            "create its directory, free some space, or correct metrics_file",
        ) from None
