"""Snapshots in Prometheus' text format, for node-exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from certagent import __version__, durable
from certagent.directories import reach
from certagent.errors import ConfigError, KeystoreError
from certagent.policy import Condition
from certagent.status.crls import CrlStatus
from certagent.status.snapshot import Snapshot

Samples = list[tuple[dict[str, str], float]]
Family = tuple[str, str, Samples]


def prometheus_text(snapshots: Iterable[Snapshot], now: datetime, crls: Sequence[CrlStatus] = ()) -> str:
    """Keystores and CRLs in Prometheus' text format, for node-exporter's textfile collector. `now`: the run's end."""
    every = list(snapshots)
    families: list[Family] = [
        *_certificate_families(every),
        *_rollover_families(every, now),
        *(_crl_families(crls) if crls else ()),
        ("certagent_build_info", "1; the version that wrote this.", [({"version": __version__}, 1)]),
        ("certagent_last_run_seconds", "When the newest run of a worker ended, Unix time.", [({}, now.timestamp())]),
    ]
    return "".join(_family(name, about, samples) for name, about, samples in families)


def _certificate_families(every: Sequence[Snapshot]) -> list[Family]:
    held = [({"keystore": each.name}, each.certificate.lifetime) for each in every if each.certificate]
    return [
        (
            "certagent_certificate_not_after_seconds",
            "When the certificate in place expires, Unix time.",
            [(name, lifetime.not_after.timestamp()) for name, lifetime in held],
        ),
        (
            "certagent_certificate_not_before_seconds",
            "When the certificate in place becomes valid, Unix time.",
            [(name, lifetime.not_before.timestamp()) for name, lifetime in held],
        ),
        (
            "certagent_keystore_state",
            "1 for the state the keystore is in, 0 for the others.",
            [
                ({"keystore": each.name, "state": word}, each.assessment.condition == word)
                for each in every
                for word in Condition
            ],
        ),
        (
            "certagent_keystore_failures",
            "Failed attempts in a row.",
            [({"keystore": each.name}, each.situation.failures) for each in every],
        ),
        (
            "certagent_keystore_last_success_seconds",
            "When certagent put the certificate in place, Unix time.",
            [({"keystore": each.name}, it.at.timestamp()) for each in every if (it := each.situation.arrival)],
        ),
        (
            "certagent_keystore_next_action_seconds",
            "When the keystore needs attention next, Unix time.",
            [
                ({"keystore": each.name}, each.assessment.at.timestamp())
                for each in every
                if each.assessment.action and each.assessment.at
            ],
        ),
    ]


def _rollover_families(every: Sequence[Snapshot], now: datetime) -> list[Family]:
    known = [({"keystore": each.name}, each.rollover) for each in every if each.rollover]
    return [
        (
            "certagent_ca_not_after_seconds",
            "When the CA of the certificate in place expires, Unix time.",
            [(name, it.ca.lifetime.not_after.timestamp()) for name, it in known if it.ca],
        ),
        (
            "certagent_rollover_switch_seconds",
            "When the staged shadow takes over, Unix time; absent while nothing is staged.",
            [(name, it.switch_at.timestamp()) for name, it in known if it.switch_at],
        ),
        (
            "certagent_rollover_late",
            "1 if the CA expires soon and no next CA is trusted yet.",
            [(name, it.late(now)) for name, it in known],
        ),
        (
            "certagent_rollover_refused",
            "1 if a next CA was not trusted, or refused the shadow.",
            [(name, it.refused) for name, it in known],
        ),
    ]


def _crl_families(crls: Sequence[CrlStatus]) -> list[Family]:
    return [
        (
            "certagent_crl_next_update_seconds",
            "When the first of an authority's CRLs runs out, Unix time.",
            [({"authority": each.authority}, each.ends.timestamp()) for each in crls if each.ends],
        ),
        (
            "certagent_crl_fetched_seconds",
            "When they were last fetched, Unix time.",
            [
                ({"authority": each.authority}, each.known.fetched_at.timestamp())
                for each in crls
                if each.known.fetched_at
            ],
        ),
        (
            "certagent_crl_failures",
            "Attempts at them that failed in a row, hooks included.",
            [({"authority": each.authority}, each.known.failures) for each in crls],
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
    """Replace the metrics file, readable for everybody: node-exporter runs as another user. Raises ConfigError."""
    try:
        with reach(path, last="itself") as place:
            fd = place.directory.descriptor
            durable.write(Path(place.name), text.encode(), durable.Ownership(0o644), dir_fd=fd)
    except KeystoreError as error:
        raise ConfigError(f"metrics_file cannot be written: {error}", error.hint) from None
    except OSError as error:
        raise ConfigError(
            f"metrics_file {path} cannot be written: {error.strerror or error}",
            "create its directory, free some space, or correct metrics_file",
        ) from None
