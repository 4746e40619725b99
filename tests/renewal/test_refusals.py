"""A CA says no, in whatever clothes: what the user sees, how it ends, how many certificates and messages it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from certagent.errors import RejectedError
from certagent.lab import Answer, HttpAnswer, Settings
from certagent.lab.checks import is_self_signed
from certagent.scep import MessageType, Request, decode_request
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.line import CERT_POLL, PKCS_REQ, RENEWAL_REQ, BadLine, approve, line
from tests.renewal.site import DAY, Site, Sites

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
LIFE = Settings(lifetime=90 * DAY)
MANUAL = Settings(lifetime=90 * DAY, manual=True)
NOT_YET = b"renewal is not permitted until 2027-02-01"

# The clothes of a table differ in little; of each one or two rows run every time.
SLOW = [pytest.mark.slow]
Clothes = Callable[[], HttpAnswer]


def http(status: int, body: bytes = b"no\n", kind: str = "text/plain") -> Clothes:
    return lambda: HttpAnswer(status, kind, body, f"dressed as {status}")


def signed(word: str = "badRequest") -> Clothes:
    def refuse() -> HttpAnswer:
        raise RejectedError("policy says no", fail_info=word)

    return refuse


def cut() -> HttpAnswer:
    raise ConnectionAbortedError("the engine died")


PAGE = http(200, b"<html><body>The request is not allowed.</body></html>", "text/html")


class Dressed(BadLine):
    """Refuses, in these clothes, the requests that `refuses` says; all else is answered honestly."""

    def __init__(self, directory: Path, clock: Callable[[], datetime], settings: Settings | None = None) -> None:
        super().__init__(directory, clock, settings)
        self.clothes: Clothes = http(400)
        self.refuses: Callable[[Request], bool] = lambda _: False

    def pki_operation(self, message: bytes) -> HttpAnswer:
        request = decode_request(message, recipients=[self.generation.recipient])
        if self.refuses(request):
            try:
                answer = self.clothes()
            except RejectedError:
                return super().pki_operation(message)
            except OSError:
                self._note(message, request)
                raise
            self._note(message, request)
            return answer
        return super().pki_operation(message)

    def _note(self, message: bytes, request: Request) -> None:
        self.heard.append(message)
        self.asked.append(request)

    def decide(self, request: Request) -> Answer:
        if self.refuses(request):
            self.asked.append(request)
            self.clothes()
        return super().decide(request)


def dressed(site: Site) -> Dressed:
    assert isinstance(site.ca, Dressed)
    return site.ca


def renewals(request: Request) -> bool:
    return not is_self_signed(request.signer)


def seventeen(request: Request) -> bool:
    return request.message_type is RENEWAL_REQ


def polls(request: Request) -> bool:
    return request.message_type is CERT_POLL


def anything(_: Request) -> bool:
    return True


@pytest.fixture
def site(make_site: Sites) -> Site:
    """With a certificate in place."""
    made = make_site(LIFE, ca=Dressed)
    made.write()
    made.run()
    line(made).asked.clear()
    line(made).heard.clear()
    return made


@dataclass
class Course:
    """What came of it: the attempts that were made, and how long it took."""

    results: list[Result]
    took: timedelta


def run_until(site: Site, result: Result, within: timedelta) -> Course:
    """Run whenever the worker said so, until this comes of it, or the time is over."""
    start, results = site.clock(), []
    while site.clock() - start < within:
        outcome = site.run()
        results.append(outcome.result)
        if outcome.result is result:
            break
        assert outcome.next_action_at is not None
        site.clock.now = max(outcome.next_action_at, site.clock() + SECOND)
    return Course(results, site.clock() - start)


# --- an expired certificate ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clothes", "asked"),
    [
        pytest.param(signed(), [RENEWAL_REQ, PKCS_REQ, PKCS_REQ], id="signed", marks=SLOW),
        pytest.param(signed("badCertId"), [RENEWAL_REQ, PKCS_REQ], id="signed, in other words", marks=SLOW),
        pytest.param(http(400), [RENEWAL_REQ, PKCS_REQ, PKCS_REQ], id="HTTP 400: EJBCA", marks=SLOW),
        pytest.param(http(403), [RENEWAL_REQ, PKCS_REQ, PKCS_REQ], id="HTTP 403: a proxy"),
        pytest.param(
            http(500), [RENEWAL_REQ, RENEWAL_REQ, PKCS_REQ, PKCS_REQ], id="HTTP 500: step-ca, micromdm", marks=SLOW
        ),
        pytest.param(cut, [RENEWAL_REQ, RENEWAL_REQ, PKCS_REQ, PKCS_REQ], id="dropped"),
        pytest.param(PAGE, [RENEWAL_REQ, RENEWAL_REQ, PKCS_REQ, PKCS_REQ], id="a page", marks=SLOW),
    ],
)
def test_an_expired_certificate_is_enrolled_again(site: Site, clothes: Clothes, asked: list[MessageType]) -> None:
    """Within a minute, for one certificate."""
    dressed(site).clothes, dressed(site).refuses = clothes, renewals
    site.clock.advance(91 * DAY)
    course = run_until(site, Result.ENROLLED, HOUR)
    assert course.results[-1] is Result.ENROLLED
    assert course.took <= MINUTE
    assert line(site).types() == asked
    assert [record.kind for record in site.ca.issued()] == ["enrollment", "enrollment"]
    assert site.pair_matches()


@pytest.mark.slow
@pytest.mark.parametrize("clothes", [signed(), http(403), http(500), cut, PAGE])
def test_without_a_challenge_it_is_asked_rarely(make_site: Sites, clothes: Clothes) -> None:
    site = make_site(LIFE, ca=Dressed)
    site.write()
    site.run()
    text = site.config.read_text()
    site.config.write_text("".join(each for each in text.splitlines(keepends=True) if "challenge:" not in each))
    site.clock.advance(91 * DAY)
    line(site).asked.clear()
    dressed(site).clothes, dressed(site).refuses = clothes, renewals
    course = run_until(site, Result.RENEWED, 2 * DAY)
    assert Result.RENEWED not in course.results
    assert len(line(site).asked) <= 40
    assert len(site.ca.issued()) == 1


# --- RenewalReq ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clothes", "asked"),
    [
        pytest.param(signed(), [RENEWAL_REQ, PKCS_REQ], id="signed", marks=SLOW),
        pytest.param(http(400), [RENEWAL_REQ, PKCS_REQ], id="HTTP 400", marks=SLOW),
        pytest.param(http(403), [RENEWAL_REQ, PKCS_REQ], id="HTTP 403", marks=SLOW),
        pytest.param(http(500), [RENEWAL_REQ, RENEWAL_REQ, PKCS_REQ], id="HTTP 500"),
        pytest.param(http(502), [RENEWAL_REQ, RENEWAL_REQ, PKCS_REQ], id="HTTP 502", marks=SLOW),
        pytest.param(cut, [RENEWAL_REQ, RENEWAL_REQ, PKCS_REQ], id="dropped: libscep"),
        pytest.param(PAGE, [RENEWAL_REQ, RENEWAL_REQ, PKCS_REQ], id="a page", marks=SLOW),
    ],
)
def test_an_engine_that_dies_of_17_is_asked_by_19(site: Site, clothes: Clothes, asked: list[MessageType]) -> None:
    dressed(site).clothes, dressed(site).refuses = clothes, seventeen
    site.clock.advance(60 * DAY)
    course = run_until(site, Result.RENEWED, HOUR)
    assert course.results[-1] is Result.RENEWED
    assert course.took <= MINUTE
    assert line(site).types() == asked
    assert len({request.transaction_id for request in line(site).asked}) == 1
    assert any("trying once more with PKCSReq" in told for told in site.log)
    assert len(site.ca.issued()) == 2


# --- polls --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clothes",
    [
        pytest.param(signed(), id="signed"),
        pytest.param(signed("badCertId"), id="signed, forgotten", marks=SLOW),
        pytest.param(http(400), id="HTTP 400"),
        pytest.param(http(500), id="HTTP 500", marks=SLOW),
        pytest.param(http(501), id="HTTP 501", marks=SLOW),
        pytest.param(cut, id="dropped"),
        pytest.param(PAGE, id="a page", marks=SLOW),
    ],
)
def test_a_ca_that_knows_no_polls_is_sent_the_request_again(make_site: Sites, clothes: Clothes) -> None:
    """In the same transaction, with the same key: it answers that with the certificate."""
    site = make_site(MANUAL, ca=Dressed)
    site.write()
    dressed(site).clothes, dressed(site).refuses = clothes, polls
    assert site.run().result is Result.PENDING
    run_until(site, Result.PENDING, HOUR)
    approve(site)
    course = run_until(site, Result.ENROLLED, HOUR)
    assert course.results[-1] is Result.ENROLLED
    requests = [each for each in line(site).asked if each.message_type is PKCS_REQ]
    assert len({(each.transaction_id, each.content) for each in requests}) == 1
    assert (len(site.ca.issued()), site.events()[-1]) == (1, "enrolled")
    assert "abandoned" not in site.events()
    assert any("sending the request again" in told for told in site.log)


def test_it_is_polled_no_more(make_site: Sites) -> None:
    site = make_site(MANUAL, ca=Dressed)
    site.write()
    dressed(site).refuses = polls
    site.run()
    for _ in range(3):
        site.clock.advance(6 * MINUTE)
        assert site.run().result is Result.PENDING
    assert line(site).types() == [PKCS_REQ, CERT_POLL, PKCS_REQ, PKCS_REQ, PKCS_REQ]


def test_a_proxy_that_refuses_once_does_not_cost_the_approval(make_site: Sites) -> None:
    site = make_site(MANUAL, ca=Dressed)
    site.write()
    site.run()
    dressed(site).clothes, dressed(site).refuses = http(404), anything
    site.clock.advance(6 * MINUTE)
    assert site.run().result is Result.FAILED
    dressed(site).refuses = lambda _: False
    approve(site)
    assert run_until(site, Result.ENROLLED, HOUR).results[-1] is Result.ENROLLED
    assert (len(site.ca.issued()), "rejected" in site.events()) == (1, False)


def test_a_person_s_refusal_is_one(make_site: Sites) -> None:
    site = make_site(MANUAL, ca=Dressed)
    site.write()
    site.run()
    for waiting in site.ca.store.all_waiting():
        site.ca.store.decide(waiting, "rejected")
    site.clock.advance(6 * MINUTE)
    outcome = site.run()
    assert "the request was rejected by hand" in str(outcome.message)
    assert (line(site).types(), site.transaction) == ([PKCS_REQ, CERT_POLL, PKCS_REQ], None)


# --- pace ---------------------------------------------------------------------------------------------


def test_not_permitted_until_is_not_asked_at_once_again(site: Site) -> None:
    dressed(site).clothes, dressed(site).refuses = http(400, NOT_YET), renewals
    site.clock.advance(60 * DAY)
    outcome = site.run()
    assert NOT_YET.decode() in str(outcome.message)
    assert site.state.last_error is not None
    assert site.state.last_error.kind == "rejected"
    assert outcome.next_action_at is not None
    assert outcome.next_action_at - site.clock() == 15 * MINUTE
    run_until(site, Result.RENEWED, DAY / 2)
    assert len(line(site).asked) <= 2 * 7
    assert len(site.ca.issued()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("passed", [pytest.param(60, id="due"), pytest.param(91, id="expired")])
@pytest.mark.parametrize("clothes", [signed(), signed("badAlg"), http(400), http(404), http(500), http(503), cut, PAGE])
def test_no_refusal_leads_to_a_fast_loop(site: Site, clothes: Clothes, passed: int) -> None:
    """Of whatever is asked, whoever signs it."""
    dressed(site).clothes, dressed(site).refuses = clothes, anything
    site.clock.advance(passed * DAY)
    run_until(site, Result.RENEWED, DAY)
    assert len(line(site).asked) <= 30
    assert len(site.ca.issued()) == 1


# --- the words ----------------------------------------------------------------------------------------


def test_a_refused_enrollment_takes_another_challenge(make_site: Sites) -> None:
    """HTTP 403 is a refusal too: what is corrected is read for the next request."""
    site = make_site(LIFE, ca=Dressed)
    site.write()
    dressed(site).clothes, dressed(site).refuses = http(403, b"wrong challenge"), anything
    assert site.run().result is Result.FAILED
    assert site.transaction is None
    assert site.events() == ["rejected", "failed"]
    dressed(site).refuses = lambda _: False
    assert site.run(Wish.NOW).result is Result.ENROLLED
