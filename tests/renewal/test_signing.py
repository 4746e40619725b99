"""The time that a request says it was signed: believable or not said, and of now however long the request was kept."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509

from certagent.errors import RejectedError
from certagent.lab import Answer, Settings
from certagent.lab.checks import is_self_signed
from certagent.scep import Request
from certagent.transaction import signing
from certagent.transaction.journal import Phase
from certagent.transaction.report import Result
from tests.journals import of_release_0_2
from tests.keystore.faults import synced
from tests.renewal.line import CERT_POLL, PKCS_REQ, RENEWAL_REQ, BadLine, approve, line
from tests.renewal.site import DAY, Clock, Site, Sites

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
NOW = Clock().now


class LikeXiPki(BadLine):
    """Refuses, with a signed badTime, what says no time, or one that is five minutes off its own clock.

    `ahead`: how far that clock is from everybody else's.
    """

    ahead = timedelta(0)

    def decide(self, request: Request) -> Answer:
        said = request.signing_time
        if said is None or abs(self.clock() + self.ahead - said) > 5 * MINUTE:
            self.asked.append(request)
            raise RejectedError("signing time", fail_info="badTime")
        return super().decide(request)


class Graceful(BadLine):
    """Renews what has expired."""

    def authenticate(self, request: Request, csr: x509.CertificateSigningRequest) -> str:
        return super().authenticate(request, csr) if is_self_signed(request.signer) else "renewal"


class GracefulToTheTime(Graceful, LikeXiPki):
    """Renews what has expired, where the time is said."""


@pytest.fixture
def site(make_site: Sites) -> Site:
    made = make_site(Settings(lifetime=90 * DAY), ca=LikeXiPki)
    made.write()
    return made


def said(site: Site) -> list[datetime | None]:
    return [request.signing_time for request in line(site).asked]


def one_request(site: Site) -> bool:
    """Whether all that was asked is one CSR in one transaction."""
    return len({(request.transaction_id, request.content) for request in line(site).asked}) == 1


@pytest.mark.parametrize(
    ("signed_at", "now", "fresh"),
    [
        pytest.param(None, NOW, False, id="no time"),
        pytest.param(NOW, NOW, True, id="now"),
        pytest.param(NOW, NOW + 2 * MINUTE, True, id="two minutes ago"),
        pytest.param(NOW, NOW + 2 * MINUTE + SECOND, False, id="longer ago"),
        pytest.param(NOW, NOW - SECOND, False, id="in the future: the clock was ahead"),
    ],
)
def test_a_request_is_fresh(signed_at: datetime | None, now: datetime, fresh: bool) -> None:
    assert signing.is_fresh(signed_at, now) is fresh


def test_a_ca_that_minds_the_time_enrolls_and_renews(site: Site) -> None:
    assert site.run().result is Result.ENROLLED
    site.clock.advance(60 * DAY)
    assert site.run().result is Result.RENEWED
    assert line(site).types() == [PKCS_REQ, RENEWAL_REQ]
    assert said(site) == [NOW, NOW + 60 * DAY]


def test_a_repeat_is_the_same_request_signed_afresh(site: Site) -> None:
    line(site).lost = 1
    assert site.run().result is Result.FAILED
    site.clock.advance(7 * HOUR)
    assert site.run().result is Result.ENROLLED
    assert said(site) == [NOW, NOW + 7 * HOUR]
    assert one_request(site)
    assert len(site.ca.issued()) == 1


def test_a_request_found_is_durable_before_it_is_sent_again(site: Site) -> None:
    """The run that wrote it may have died before it reached the disk."""
    line(site).lost = 1
    assert site.run().result is Result.FAILED
    made = synced(site.run)
    assert made[:3] == ["transaction.json", "transaction", "web"]


def test_a_request_kept_by_a_release_that_signed_no_time_is_signed_afresh(site: Site) -> None:
    """Its journal says nothing of a time, and what it holds of the request is enough."""
    line(site).lost = 1
    assert site.run().result is Result.FAILED
    file = site.keystore_directory / "transaction/transaction.json"
    told = site.transaction
    assert told is not None
    file.write_bytes(of_release_0_2(told, signed_at=None))
    old = site.transaction
    assert old is not None
    assert (old.signed_at, old.request) == (None, told.request)
    site.clock.advance(7 * HOUR)
    assert site.run().result is Result.ENROLLED
    assert one_request(site)


def test_polls_say_when_they_were_signed(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, manual=True), ca=LikeXiPki)
    site.write()
    assert site.run().result is Result.PENDING
    site.clock.advance(7 * HOUR)
    approve(site)
    assert site.run().result is Result.ENROLLED
    assert line(site).types() == [PKCS_REQ, CERT_POLL]
    assert said(site) == [NOW, NOW + 7 * HOUR]


# --- a clock that is not believed, and a signer that is not valid by it ------------------------------


def test_a_clock_that_was_set_back_is_not_said(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY), ca=BadLine)
    site.write()
    site.run()
    site.clock.advance(65 * DAY)
    steps = iter((False, True))
    assert site.run(stopping=lambda: next(steps)).result is Result.STOPPED
    assert site.transaction is not None
    assert site.transaction.signed_at == NOW + 65 * DAY
    site.keeps_time = False
    site.clock.advance(-2 * DAY)
    assert site.run().result is Result.RENEWED
    assert said(site) == [NOW, None]


def test_an_expired_certificate_is_renewed_without_a_time(make_site: Sites) -> None:
    """What is signed after its signer's end is refused by some CAs for that alone."""
    site = make_site(Settings(lifetime=90 * DAY), ca=Graceful)
    site.write()
    site.run()
    site.clock.advance(91 * DAY)
    assert site.run().result is Result.RENEWED
    assert said(site) == [NOW, None]


# --- badTime ----------------------------------------------------------------------------------------


def test_a_ca_that_wants_a_time_from_an_expired_certificate_is_told_it(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY), ca=GracefulToTheTime)
    site.write()
    site.run()
    line(site).asked.clear()
    site.clock.advance(91 * DAY)
    assert site.run().result is Result.RENEWED
    assert said(site) == [None, NOW + 91 * DAY]
    assert one_request(site)


def test_where_the_clocks_differ_the_request_is_kept_until_they_agree(site: Site) -> None:
    ca = line(site)
    assert isinstance(ca, LikeXiPki)
    ca.ahead = HOUR
    failed = site.run()
    assert (failed.result, "badTime (signing time)" in str(failed.message)) == (Result.FAILED, True)
    assert "this host's clock says 2026-12-01T12:00:00Z" in str(failed.hint)
    assert site.transaction is not None
    assert site.transaction.phase is Phase.REQUESTED
    ca.ahead = timedelta(0)
    site.clock.advance(7 * HOUR)
    assert site.run().result is Result.ENROLLED
    assert said(site) == [NOW, NOW + 7 * HOUR]
    assert one_request(site)
    assert len(site.ca.issued()) == 1


def test_a_poll_refused_for_its_time_is_sent_again_another_time(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, manual=True), ca=LikeXiPki)
    site.write()
    assert site.run().result is Result.PENDING
    ca = line(site)
    assert isinstance(ca, LikeXiPki)
    ca.ahead = HOUR
    site.clock.advance(7 * HOUR)
    assert "badTime" in str(site.run().message)
    assert site.transaction is not None
    assert site.transaction.phase is Phase.PENDING
    ca.ahead = timedelta(0)
    site.clock.advance(7 * HOUR)
    approve(site)
    assert site.run().result is Result.ENROLLED
    assert len(site.ca.issued()) == 1
