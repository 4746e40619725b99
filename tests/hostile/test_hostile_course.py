"""What goes beyond one bad answer: polls, a CA that comes to its senses, what is put up with, what is not told."""

from __future__ import annotations

from datetime import timedelta
from socket import socket

import pytest
from asn1crypto import cms, core

from certagent.lab import Settings
from certagent.scep import PkiStatus
from certagent.scep.signed import CONTENT_TYPE
from certagent.transaction.journal import Phase
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.cost import cost
from tests.hostile import answers as web
from tests.hostile import certificates as made
from tests.hostile import replies as forged
from tests.hostile.conftest import Enrolled, hostile
from tests.hostile.lab import (
    CA_CERTIFICATES,
    CAPABILITIES,
    REPLY,
    Fault,
    Forge,
    Forger,
    Hostile,
    offering,
    raw,
    replying,
)
from tests.renewal.site import DAY, Site

MANUAL = Settings(lifetime=90 * DAY, manual=True)


def approve(site: Site) -> None:
    for waiting in site.ca.store.all_waiting():
        site.ca.store.decide(waiting, "approved")


def nonce_of_the_request(forger: Forger) -> bytes:
    """The nonce of the first request, where the poll has one of its own."""
    return forger.reply(recipient_nonce=forger.ca.heard[0].sender_nonce)


def pending_by_a_stranger(forger: Forger) -> bytes:
    return forger.reply(PkiStatus.PENDING, signer=forged.stranger(forger))


def answer_of_before(forger: Forger) -> bytes:
    """PENDING, as it was said to the first request."""
    return forger.ca.sent[0]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param(
            made.sending(made.for_another_key), "no certificate for our key", id="another transaction's certificate"
        ),
        pytest.param(
            replying(forged.transaction(lambda _: "0" * 64)), "to another transaction", id="another transaction"
        ),
        pytest.param(replying(nonce_of_the_request), "does not repeat the request's nonce", id="the request's nonce"),
        pytest.param(replying(answer_of_before), "does not repeat the request's nonce", id="PENDING of before"),
        pytest.param(replying(pending_by_a_stranger), "signed by an unknown party", id="PENDING by a stranger"),
        pytest.param(
            replying(forged.edited(forged.unsigned, PkiStatus.FAILURE)), "0 signatures", id="FAILURE nobody signed"
        ),
        pytest.param(made.from_(forged.namesake), "not issued by the pinned CA", id="certificate of another CA"),
    ],
)
def test_a_poll_is_answered_badly(enrolled: Enrolled, fault: Fault, message: str) -> None:
    site = enrolled(MANUAL)
    assert site.run(Wish.RENEW).result is Result.PENDING
    approve(site)
    before = site.certificate.read_bytes(), site.key.read_bytes()
    fault(hostile(site))
    site.clock.advance(timedelta(minutes=6))
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert message in str(outcome.message)
    assert outcome.hint
    assert (site.certificate.read_bytes(), site.key.read_bytes()) == before
    transaction = site.transaction
    assert transaction is not None
    assert transaction.phase is Phase.PENDING
    hostile(site).behave()
    assert site.run(Wish.NOW).result is Result.RENEWED


def test_pending_for_ever_ends_at_poll_limit(enrolled: Enrolled) -> None:
    site = enrolled(MANUAL)
    site.write(authority="poll_limit: 1d")
    site.run(Wish.RENEW)
    first = site.transaction
    assert first is not None
    for _ in range(5):
        site.clock.advance(timedelta(hours=7))
        assert site.run(Wish.NOW).result is Result.PENDING
    assert "abandoned" in site.events()
    second = site.transaction
    assert second is not None
    assert second.id != first.id
    assert site.pair_matches()


def with_retry_after(status: int, said: str, operation: str = REPLY) -> Fault:
    """Under an honest body, or none."""

    def write(connection: socket, body: bytes, _: Hostile) -> None:
        sent = body if status == 200 else b""
        head = f"HTTP/1.1 {status} so\r\nRetry-After: {said}\r\nContent-Length: {len(sent)}\r\n\r\n"
        connection.sendall(head.encode() + sent)

    return raw(write, operation)


@pytest.mark.parametrize("operation", [CAPABILITIES, CA_CERTIFICATES, REPLY])
@pytest.mark.parametrize("status", [429, 503])
def test_a_ca_that_asks_to_be_left_alone_is_sent_nothing_else(enrolled: Enrolled, status: int, operation: str) -> None:
    site = enrolled()
    with_retry_after(status, "7200", operation)(hostile(site))
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert outcome.next_action_at == site.clock() + timedelta(hours=2)
    assert hostile(site).asked[-1] == operation


@pytest.mark.parametrize(
    ("status", "said", "pause"),
    [
        pytest.param(503, "7200", timedelta(hours=2), id="out of order for two hours"),
        pytest.param(429, "99999999", timedelta(hours=6), id="too many requests, for years"),
        pytest.param(503, "1", timedelta(seconds=30), id="for a second"),
        pytest.param(200, "3600", timedelta(hours=1), id="pending, for an hour"),
    ],
)
def test_a_ca_asks_to_be_left_alone(enrolled: Enrolled, status: int, said: str, pause: timedelta) -> None:
    site = enrolled(MANUAL)
    with_retry_after(status, said)(hostile(site))
    outcome = site.run(Wish.RENEW)
    assert outcome.result is (Result.PENDING if status == 200 else Result.FAILED)
    assert outcome.next_action_at == site.clock() + pause
    site.clock.advance(pause - timedelta(seconds=1))
    assert site.run().next_action_at == outcome.next_action_at
    hostile(site).behave()
    site.clock.advance(timedelta(seconds=1))
    assert site.run().result is Result.PENDING
    assert site.state.wait is None


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(replying(forged.transaction(lambda _: "0" * 64)), id="another transaction"),
        pytest.param(replying(forged.for_the_sibling), id="enveloped to another device"),
        pytest.param(made.sending(made.for_another_key), id="certificate for another key"),
        pytest.param(forged.status(PkiStatus.FAILURE), id="FAILURE"),
        pytest.param(offering(web.another_ca), id="another CA"),
        pytest.param(web.http(200, b"<html>", CA_CERTIFICATES), id="a web page"),
        pytest.param(raw(web.reset), id="connection reset"),
    ],
)
def test_an_honest_answer_afterwards_is_taken(enrolled: Enrolled, fault: Fault) -> None:
    site = enrolled()
    fault(hostile(site))
    assert site.run(Wish.RENEW).result is Result.FAILED
    hostile(site).behave()
    old = site.leaf()
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert site.leaf() != old
    assert site.pair_matches()
    assert site.leftovers() == []


def with_all_certificates(forger: Forger) -> bytes:
    """The CA's certificate and a stranger's beside ours, ours last."""
    others = [forger.ca.issuer.certificate, forged.stranger(forger).certificate]
    return forger.reply(certificates=[*others, forger.issued])


def without_embedded(forger: Forger) -> bytes:
    """No certificate in the message itself (EJBCA)."""
    info = cms.ContentInfo.load(forger.reply())
    del info["content"]["certificates"]
    return bytes(info.dump(force=True))


def utf8_strings(forger: Forger) -> bytes:
    texts: dict[str, core.Asn1Value | None] = {
        oid: core.UTF8String(value.native)
        for oid, value in forger.attributes().items()
        if isinstance(value, core.PrintableString)
    }
    return forger.signed(texts)


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(forged.unordered, id="attributes in no order"),
        pytest.param(forged.without(CONTENT_TYPE), id="no content type"),
        pytest.param(forged.extra("1.2.3.4", core.Null()), id="an attribute of its own"),
        pytest.param(with_all_certificates, id="other certificates beside ours"),
        pytest.param(without_embedded, id="no certificate of the signer"),
        pytest.param(utf8_strings, id="other string types"),
        pytest.param(forged.sent_unordered, id="attributes in no order, signed in order"),
        pytest.param(forged.typed_as_envelope, id="content that says it is an envelope"),
        pytest.param(forged.by_our_key, id="recipient by key identifier"),
        pytest.param(forged.in_gcm, id="AES-GCM"),
    ],
)
def test_what_honest_cas_do_is_put_up_with(enrolled: Enrolled, forge: Forge) -> None:
    site = enrolled()
    replying(forge)(hostile(site))
    outcome = site.run(Wish.RENEW)
    assert (outcome.result, outcome.message) == (Result.RENEWED, None)
    assert site.pair_matches()


ORACLE = [
    forged.enveloping(forged.wrong_padding),
    forged.enveloping(forged.half_a_block),
    forged.enveloping(forged.no_ciphertext),
    forged.enveloping(forged.garbled_key),
    forged.enveloping(forged.short_key),
    forged.enveloping(forged.key_of_another_cipher),
    forged.enveloping(forged.short_vector),
    forged.under_our_name,
]


def test_every_failure_to_decrypt_reads_the_same(enrolled: Enrolled) -> None:
    """Told apart, they would answer an attacker's questions about the key (Bleichenbacher, Vaudenay)."""
    site = enrolled()
    told = set()
    for forge in ORACLE:
        replying(forge)(hostile(site))
        outcome = site.run(Wish.RENEW)
        assert outcome.result is Result.FAILED
        told.add((outcome.message, outcome.hint, outcome.state))
    assert len(told) == 1


def test_hundreds_of_cas_are_looked_through_in_no_time(enrolled: Enrolled) -> None:
    """Under the limits on size; each claims that the pinned CA issued it."""
    site = enrolled()
    web.thousands(500)(hostile(site))
    told = []
    assert cost(lambda: told.append(str(site.run(Wish.RENEW).message))) < 200
    assert "holds 500 certificates" in told[0]
