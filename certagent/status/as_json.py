"""Snapshots as `status --json` prints them (docs/commands.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from certagent.policy import Lifetime
from certagent.state import LastError
from certagent.status.rollover import Ca, RolloverStatus
from certagent.status.snapshot import Snapshot
from certagent.text import iso


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


def _rollover(way: RolloverStatus) -> dict[str, Any]:
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
