"""When an open transaction can no longer be carried on; the same for a renewal and a rollover."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.transaction.walk import why_not

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HERE, ELSEWHERE = "http://ca.example/scep", "http://other.example/scep"
URL, LIMIT, EXPIRED = (
    "the authority's URL changed since it was begun",
    "the CA did not answer within poll_limit",
    "the successor expired before it could be put in place",
)


@pytest.mark.parametrize("kind", [Kind.RENEWAL, Kind.ROLLOVER])
@pytest.mark.parametrize(
    ("phase", "fields", "expected"),
    [
        pytest.param(Phase.STARTED, {}, "", id="just begun"),
        pytest.param(Phase.PENDING, {"started_at": NOW - 7 * DAY}, "", id="pending, to the last moment of poll_limit"),
        pytest.param(Phase.PENDING, {"started_at": NOW - 8 * DAY}, LIMIT, id="pending for longer"),
        pytest.param(Phase.REQUESTED, {"started_at": NOW - 8 * DAY}, LIMIT, id="no answer for longer"),
        pytest.param(Phase.REQUESTED, {"endpoint": ELSEWHERE}, URL, id="asked elsewhere"),
        pytest.param(Phase.STARTED, {"endpoint": ELSEWHERE}, URL, id="begun for elsewhere"),
        pytest.param(Phase.ISSUED, {"endpoint": ELSEWHERE, "started_at": NOW - 99 * DAY}, "", id="issued, wherever"),
        pytest.param(Phase.ISSUED, {"not_after": NOW}, EXPIRED, id="issued, and expired since"),
        pytest.param(Phase.ACTIVATED, {"not_after": NOW}, "", id="in place: hooks are owed"),
    ],
)
def test_what_cannot_be_carried_on(kind: Kind, phase: Phase, fields: dict[str, Any], expected: str) -> None:
    given = {"id": "t1", "authority": "lab", "started_at": NOW, "endpoint": HERE, **fields}
    assert why_not(Transaction(kind=kind, phase=phase, **given), HERE, 7 * DAY, NOW) == expected
