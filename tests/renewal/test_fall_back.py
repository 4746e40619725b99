"""RenewalReq (17) and CAs that advertise it without taking it: once more as PKCSReq (19), by the old identity."""

from __future__ import annotations

import pytest
from cryptography import x509

from certagent.errors import RejectedError
from certagent.lab import Answer, HttpAnswer, Settings
from certagent.lab.checks import is_self_signed
from certagent.scep import MessageType, Request, decode_request
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.line import CERT_POLL, PKCS_REQ, RENEWAL_REQ, BadLine, approve, line
from tests.renewal.site import DAY, Site, Sites


class LikeEjbca(BadLine):
    """Answers a RenewalReq with HTTP 400."""

    def pki_operation(self, message: bytes) -> HttpAnswer:
        request = decode_request(message, recipients=[self.generation.recipient])
        if request.message_type is RENEWAL_REQ:
            self.asked.append(request)
            return HttpAnswer(400, "text/plain", b"unsupported message type\n", "17 refused")
        return super().pki_operation(message)


class LikeOpenXpki(BadLine):
    """Answers a RenewalReq with a signed badRequest."""

    def decide(self, request: Request) -> Answer:
        if request.message_type is RENEWAL_REQ:
            self.asked.append(request)
            raise RejectedError("not implemented", fail_info="badRequest")
        return super().decide(request)


BOTH = pytest.mark.parametrize(
    "ca", [pytest.param(LikeEjbca, id="HTTP 400"), pytest.param(LikeOpenXpki, id="badRequest")]
)


def enrolled(make_site: Sites, ca: type[BadLine], settings: Settings | None = None, keystore: str = "") -> Site:
    site = make_site(settings, ca=ca)
    site.write(keystore)
    site.run()
    if settings is not None and settings.manual:
        approve(site)
        site.run(Wish.NOW)
    assert site.pair_matches()
    line(site).asked.clear()
    return site


@BOTH
@pytest.mark.parametrize("rekey", ["always", "never"])
def test_renewed_in_the_same_run_with_the_same_new_key(make_site: Sites, ca: type[BadLine], rekey: str) -> None:
    site = enrolled(make_site, ca, keystore=f"rekey: {rekey}")
    old = site.leaf()
    assert site.run(Wish.RENEW).result is Result.RENEWED
    seventeen, nineteen = line(site).asked
    assert (seventeen.message_type, nineteen.message_type) == (RENEWAL_REQ, PKCS_REQ)
    assert seventeen.signer == nineteen.signer == old
    assert seventeen.sender_nonce != nineteen.sender_nonce
    asked = [x509.load_der_x509_csr(request.content).public_key() for request in line(site).asked]
    assert asked[0] == asked[1] == site.leaf().public_key()
    assert site.pair_matches()
    assert [record.kind for record in site.ca.issued()] == ["enrollment", "renewal"]
    assert site.events() == ["enrolled", "renewed"]


@BOTH
def test_the_second_request_is_kept_before_it_is_sent_and_sent_again_as_it_was(
    make_site: Sites, ca: type[BadLine]
) -> None:
    site = enrolled(make_site, ca)
    stops = iter((False, False, True))  # begun, 17 sent and refused, and no further
    assert site.run(Wish.RENEW, lambda: next(stops)).result is Result.STOPPED
    kept = site.transaction
    assert kept is not None
    assert kept.message_type == PKCS_REQ
    assert line(site).types() == [RENEWAL_REQ]
    assert site.run(Wish.NOW).result is Result.RENEWED
    assert line(site).heard[-1] == kept.request
    assert line(site).types() == [RENEWAL_REQ, PKCS_REQ]


@BOTH
def test_a_lost_answer_to_the_second_request_is_asked_for_with_the_second(make_site: Sites, ca: type[BadLine]) -> None:
    site = enrolled(make_site, ca)

    def lose_the_next() -> bool:
        line(site).lost = int(line(site).types() == [RENEWAL_REQ])
        return False

    assert site.run(Wish.RENEW, lose_the_next).result is Result.FAILED
    assert site.run(Wish.NOW).result is Result.RENEWED
    assert line(site).types() == [RENEWAL_REQ, PKCS_REQ, PKCS_REQ]
    assert len(site.ca.issued()) == 2


@BOTH
def test_what_is_pending_then_is_polled(make_site: Sites, ca: type[BadLine]) -> None:
    site = enrolled(make_site, ca, Settings(lifetime=90 * DAY, manual=True))
    assert site.run(Wish.RENEW).result is Result.PENDING
    approve(site)
    assert site.run(Wish.NOW).result is Result.RENEWED
    assert line(site).types() == [RENEWAL_REQ, PKCS_REQ, CERT_POLL]


class Refusing(BadLine):
    """Renews nobody, for the reason given."""

    fail_info = "badRequest"

    def authenticate(self, request: Request, csr: x509.CertificateSigningRequest) -> str:
        if not is_self_signed(request.signer):
            raise RejectedError("policy says no", fail_info=self.fail_info)
        return super().authenticate(request, csr)


class RefusingItsAlgorithms(Refusing):
    fail_info = "badAlg"


@pytest.mark.parametrize(
    ("ca", "heard"),
    [
        pytest.param(Refusing, [RENEWAL_REQ, PKCS_REQ], id="badRequest: twice"),
        pytest.param(RefusingItsAlgorithms, [RENEWAL_REQ], id="badAlg: another message type would not help"),
    ],
)
def test_an_honest_refusal_is_heard_and_waited_for(
    make_site: Sites, ca: type[Refusing], heard: list[MessageType]
) -> None:
    site = enrolled(make_site, ca)
    site.clock.advance(60 * DAY)
    outcome = site.run()
    assert (outcome.result, line(site).types()) == (Result.FAILED, heard)
    assert f"the CA refused the request: {ca.fail_info} (policy says no)" in str(outcome.message)
    assert site.state.last_error is not None
    assert site.state.last_error.kind == "rejected"
    assert site.run().result is Result.NOTHING  # not before its time
    assert line(site).types() == heard
    assert site.pair_matches()


def test_a_refused_enrollment_is_not_asked_for_twice(make_site: Sites) -> None:
    site = make_site(ca=BadLine)
    site.write()
    site.path("challenge").write_text("wrong\n")
    assert site.run().result is Result.FAILED
    assert line(site).types() == [PKCS_REQ]


class OutOfOrder(BadLine):
    def pki_operation(self, message: bytes) -> HttpAnswer:
        super().pki_operation(message)
        return HttpAnswer(500, "text/plain", b"database is down\n", "out of order")


def test_a_server_out_of_order_is_no_refusal(make_site: Sites) -> None:
    """What it makes of the request is not known; the same request goes again."""
    site = make_site(ca=OutOfOrder)
    site.write()
    assert site.run().result is Result.FAILED
    assert site.run(Wish.NOW).result is Result.FAILED
    assert len(set(line(site).heard)) == 1
