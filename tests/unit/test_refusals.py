"""What comes of an answer without a certificate, in whatever clothes it came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certagent.errors import CertagentError, HttpError, RejectedError, TransientError
from certagent.scep import MessageType
from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.transaction.refusals import Way, way

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CUT, PAGE = TransientError("cut its answer off"), TransientError("no SCEP message")


def http(status: int) -> HttpError:
    return HttpError(f"HTTP {status}", "", status)


def signed(word: str) -> RejectedError:
    return RejectedError("refused", "", word)


def transaction(message: MessageType, phase: Phase = Phase.REQUESTED, **fields: Any) -> Transaction:
    given = {"id": "t1", "authority": "lab", "started_at": NOW, "endpoint": "http://ca", **fields}
    return Transaction(kind=Kind.RENEWAL, phase=phase, message_type=int(message), **given)


RENEWAL, PLAIN = transaction(MessageType.RENEWAL_REQ), transaction(MessageType.PKCS_REQ)
POLLED = transaction(MessageType.PKCS_REQ, Phase.PENDING)
IN_VAIN = transaction(MessageType.RENEWAL_REQ, Phase.PENDING, polls_in_vain=True)
STILL_IN_VAIN = transaction(MessageType.RENEWAL_REQ, Phase.PENDING, polls_in_vain=True, unheard=1)


def row(name: str, it: Transaction, error: CertagentError, expected: Way, *, expired: bool = False) -> object:
    return pytest.param(it, error, expired, expected, id=name)


@pytest.mark.parametrize(
    ("it", "error", "expired", "expected"),
    [
        # RenewalReq
        row("17, badRequest", RENEWAL, signed("badRequest"), Way.PLAIN),
        row("17, badMessageCheck", RENEWAL, signed("badMessageCheck"), Way.PLAIN),
        row("17, badAlg", RENEWAL, signed("badAlg"), Way.END),
        row("17, HTTP 400", RENEWAL, http(400), Way.PLAIN),
        row("17, HTTP 403", RENEWAL, http(403), Way.PLAIN),
        row("17, HTTP 501", RENEWAL, http(501), Way.PLAIN),
        row("17, HTTP 500 once: the database may be down", RENEWAL, http(500), Way.LATER),
        row("17, HTTP 500 twice", transaction(MessageType.RENEWAL_REQ, unheard=1), http(500), Way.PLAIN),
        row("17, cut off once", RENEWAL, CUT, Way.LATER),
        row("17, cut off twice", transaction(MessageType.RENEWAL_REQ, unheard=1), CUT, Way.PLAIN),
        row("17, a page twice", transaction(MessageType.RENEWAL_REQ, unheard=1), PAGE, Way.PLAIN),
        row("17, HTTP 503 twice", transaction(MessageType.RENEWAL_REQ, unheard=1), http(503), Way.PLAIN),
        # PKCSReq
        row("19, badRequest", PLAIN, signed("badRequest"), Way.END),
        row("19, HTTP 400: not permitted until …", PLAIN, http(400), Way.END),
        row("19, HTTP 429", PLAIN, http(429), Way.LATER),
        row("19, HTTP 500 for ever", transaction(MessageType.PKCS_REQ, unheard=9), http(500), Way.LATER),
        row("19, cut off for ever", transaction(MessageType.PKCS_REQ, unheard=9), CUT, Way.LATER),
        # the same, and the certificate has expired
        row("expired, badRequest", PLAIN, signed("badRequest"), Way.END, expired=True),
        # Anybody on the path can say so, and the next rung may cost a challenge.
        row("expired, HTTP 403 once", PLAIN, http(403), Way.LATER, expired=True),
        row("expired, HTTP 403 twice", transaction(MessageType.PKCS_REQ, unheard=1), http(403), Way.END, expired=True),
        row("expired, HTTP 500 once", PLAIN, http(500), Way.LATER, expired=True),
        row("expired, HTTP 500 twice", transaction(MessageType.PKCS_REQ, unheard=1), http(500), Way.END, expired=True),
        row("expired, cut off twice", transaction(MessageType.PKCS_REQ, unheard=1), CUT, Way.END, expired=True),
        row("expired, 17 first", transaction(MessageType.RENEWAL_REQ, unheard=1), CUT, Way.PLAIN, expired=True),
        # polls
        row("poll, badRequest", POLLED, signed("badRequest"), Way.REQUEST),
        row("poll, badCertId", POLLED, signed("badCertId"), Way.REQUEST),
        row("poll, HTTP 400", POLLED, http(400), Way.REQUEST),
        row("poll, HTTP 500", POLLED, http(500), Way.REQUEST),
        row("poll, HTTP 503", POLLED, http(503), Way.LATER),
        row("poll, cut off once", POLLED, CUT, Way.LATER),
        row("poll, cut off twice", transaction(MessageType.PKCS_REQ, Phase.PENDING, unheard=1), CUT, Way.REQUEST),
        row("the request instead, badRequest", IN_VAIN, signed("badRequest"), Way.END),
        row("the request instead, HTTP 400 once: a proxy's", IN_VAIN, http(400), Way.LATER),
        row("the request instead, HTTP 400 twice", STILL_IN_VAIN, http(400), Way.END),
        row("the request instead, HTTP 500", IN_VAIN, http(500), Way.LATER),
    ],
)
def test_way(it: Transaction, error: CertagentError, expired: bool, expected: Way) -> None:
    assert way(it, error, may_enroll=expired) is expected
