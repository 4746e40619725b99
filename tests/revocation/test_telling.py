"""What `status`, `health` and the metrics say of an authority's CRLs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from certagent.cli.health import Level, judged
from certagent.cli.status import crl_findings
from certagent.revocation.memory import Issue, Memory, Placed, Revoked
from certagent.state import LastError, Track
from certagent.status.crls import CrlStatus, as_json, events
from certagent.status.metrics import prometheus_text

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PATIENCE = HOUR


def failed(kind: str = "transient", message: str = "no route") -> Track:
    error = LastError(kind=kind, message=message, hint="mend it", at=NOW - HOUR)
    return Track(failures=2, retry_at=NOW + timedelta(seconds=40), last_error=error)


def known(
    left: float = 9,
    *,
    fetched: float = 1,
    attempts: Track | None = None,
    hook: Track | None = None,
    revoked: tuple[Revoked, ...] = (),
) -> CrlStatus:
    """A list of ten hours with so many left, fetched so many hours ago."""
    issue = Issue(issuer="CN=CA", this_update=NOW + (left - 10) * HOUR, next_update=NOW + left * HOUR, number="7")
    memory = Memory(
        fetched_at=NOW - fetched * HOUR,
        attempts=attempts or Track(),
        issues={"ca": issue},
        files={"/ca.crl": Placed(owes=hook is not None, attempts=hook or Track())},
        revoked=revoked,
    )
    return CrlStatus("corp", memory)


OWED = failed("owed", "in place; the crl_changed hook failed and will be retried: why")
FAULT = LastError(kind="state", message="crl.json is damaged", hint="", at=NOW)

CASES = [
    pytest.param(known(), Level.OK, "0 keystores", "✓ corp: CRL, fresh for 9 h; next fetch in 4 h", id="fresh"),
    pytest.param(CrlStatus("corp", None), Level.OK, "0 keystores", "! corp: no CRL was fetched yet", id="nothing yet"),
    pytest.param(
        known(5, attempts=failed()),
        Level.WARNING,
        "corp: its CRL is not kept fresh, 5 h left: no route",
        "✗ corp: no route; mend it",
        id="failing",
    ),
    pytest.param(
        known(0.9, attempts=failed()),
        Level.CRITICAL,
        "corp: its CRL is not kept fresh, 54 min left: no route",
        "✗ corp: no route; mend it",
        id="failing near the end",
    ),
    pytest.param(
        known(-3, attempts=failed()),
        Level.CRITICAL,
        "corp: its CRL expired 3 h ago: no route",
        "✗ corp: its CRL expired 3 h ago; next fetch in 40 s",
        id="run out",
    ),
    pytest.param(
        known(hook=OWED),
        Level.WARNING,
        "corp: its CRL is not kept fresh, 9 h left: in place; the crl_changed hook failed and will be retried: why",
        "✗ corp: in place; the crl_changed hook failed and will be retried: why; mend it",
        id="a hook is owed",
    ),
    pytest.param(
        known(2, fetched=7),
        Level.WARNING,
        "corp: its CRL was to be fetched 3 h ago: does the agent run?",
        "✓ corp: CRL, fresh for 2 h; next fetch now",
        id="nobody fetches",
    ),
    pytest.param(
        CrlStatus("corp", None, FAULT),
        Level.UNKNOWN,
        "corp: what is known of its CRL cannot be read: crl.json is damaged",
        "✗ corp: crl.json is damaged",
        id="unreadable",
    ),
]


@pytest.mark.parametrize(("status", "level", "told", "line"), CASES)
def test_health_and_status(status: CrlStatus, level: Level, told: str, line: str) -> None:
    assert judged([], NOW, PATIENCE, [status]) == (level, told)
    lines = [f"{each.mark} {'; '.join(filter(None, (each.text, each.hint)))}" for each in crl_findings([status], NOW)]
    assert line in lines


def test_plan() -> None:
    [event] = events([known()], NOW + 24 * HOUR, NOW)
    assert (event.keystore, event.at) == ("corp", NOW + 4 * HOUR)
    assert event.detail.startswith("fetches the authority's CRL; the one in hand ends 2030-01-01")
    assert events([known()], NOW + HOUR, NOW) == []


def test_metrics() -> None:
    text = prometheus_text([], NOW, [known(attempts=failed(), hook=OWED), CrlStatus("other", None)])
    lines = [line for line in text.splitlines() if line.startswith("certagent_crl")]
    assert lines == [
        f'certagent_crl_next_update_seconds{{authority="corp"}} {(NOW + 9 * HOUR).timestamp():.0f}',
        f'certagent_crl_fetched_seconds{{authority="corp"}} {(NOW - HOUR).timestamp():.0f}',
        'certagent_crl_failures{authority="corp"} 4',
        'certagent_crl_failures{authority="other"} 0',
    ]
    assert "certagent_crl" not in prometheus_text([], NOW)


def test_json() -> None:
    revoked = (Revoked(keystore="web", serial="7F", since=NOW),)
    found = as_json([known(revoked=revoked)], NOW)["corp"]
    assert found["next_update"] == "2030-01-01T21:00:00Z"
    assert found["lists"][0]["number"] == "7"
    assert found["revoked"] == [{"keystore": "web", "serial": "7F", "since": "2030-01-01T12:00:00Z"}]
    assert found["last_error"] is None
