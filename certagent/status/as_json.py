"""Snapshots as `status --json` prints them (docs/commands.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from certagent.policy import Lifetime
from certagent.state import Ca, LastError
from certagent.status.rollover import RolloverStatus
from certagent.status.snapshot import Snapshot
from certagent.text import iso


def as_json(snapshots: Iterable[Snapshot]) -> dict[str, Any]:
    """What `status --json` prints (docs/commands.md): null for what is not known, times in UTC."""
    return {"keystores": {each.name: _entry(each) for each in snapshots}}


def _entry(it: Snapshot) -> dict[str, Any]:
    found, certificate, transaction = it.assessment, it.certificate, it.transaction
    return {
        "state": found.condition.value,
        "subject": certificate.subject if certificate else None,
        "issuer": certificate.issuer if certificate else None,
        "serial": certificate.serial if certificate else None,
        "key": certificate.key if certificate else None,
        "not_before": iso(certificate.lifetime.not_before) if certificate else None,
        "not_after": iso(certificate.lifetime.not_after) if certificate else None,
        "next_action": found.action.value if found.action else None,
        "next_action_at": iso(found.at) if found.action and found.at else None,
        "reason": found.reason,
        "failures": it.situation.failures,
        "transaction": {"kind": transaction.kind.value, "phase": transaction.phase.value} if transaction else None,
        "last_error": _error(it.last_error),
        "ways": [rung.value for rung in it.ways],
        "rollover": _rollover(it.rollover) if it.rollover else None,
    }


def _error(error: LastError | None) -> dict[str, str] | None:
    return {"message": error.message, "hint": error.hint, "at": iso(error.at)} if error else None


def _rollover(it: RolloverStatus) -> dict[str, Any]:
    return {
        "ca_not_after": iso(it.ca.lifetime.not_after) if it.ca else None,
        "begins_at": iso(it.begins_at) if it.begins_at else None,
        "phase": it.phase.value if it.phase else None,
        "next_ca": _ca(it.next_ca) if it.next_ca else None,
        "shadow": {"serial": it.shadow.serial, **_span(it.shadow.lifetime)} if it.shadow else None,
        "switch_at": iso(it.switch_at) if it.switch_at else None,
        "last_error": _error(it.last_error),
    }


def _ca(ca: Ca) -> dict[str, str]:
    return {"fingerprint": ca.fingerprint, "subject": ca.subject, "proof": ca.proof, **_span(ca.lifetime)}


def _span(lifetime: Lifetime) -> dict[str, str]:
    return {"not_before": iso(lifetime.not_before), "not_after": iso(lifetime.not_after)}
