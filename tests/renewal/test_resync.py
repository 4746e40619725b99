"""A transaction survives whatever happens between client and CA: draft-nourse-scep-11 appendix E, case by case.

Every `run` reads its transaction from the disk, as a client that was started again does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certagent import certificate as facts
from certagent.errors import RejectedError
from certagent.lab import Answer, Settings
from certagent.lab.checks import is_self_signed
from certagent.scep import Request, csr_challenge
from certagent.transaction.journal import Phase
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.line import CERT_POLL, PKCS_REQ, RENEWAL_REQ, BadLine, approve, line, restart
from tests.renewal.site import DAY, Site, Sites

LATER = timedelta(hours=7)  # longer than any pause after a failure in these tests
MANUAL = Settings(lifetime=90 * DAY, manual=True)


@pytest.fixture
def automatic(make_site: Sites) -> Iterator[Site]:
    yield from _site(make_site(ca=BadLine))


@pytest.fixture
def manual(make_site: Sites) -> Iterator[Site]:
    """A site whose requests wait for a person."""
    yield from _site(make_site(MANUAL, ca=BadLine))


def _site(site: Site) -> Iterator[Site]:
    site.write(authority="timeout: 3s")
    yield site
    line(site).given_up.set()
    site.server.stop()  # which may be a restarted one


def again(site: Site) -> Result:
    """The next attempt, when its time has come."""
    site.clock.advance(LATER)
    return site.run().result


def one_transaction(site: Site) -> None:
    """Installed, after all; in one transaction, and with one certificate."""
    assert site.pair_matches()
    assert site.transaction is None
    assert len({request.transaction_id for request in line(site).asked}) == 1
    (record,) = site.ca.issued()
    assert record.certificate == site.leaf()


def same_request(site: Site, times: int) -> None:
    """Sent so often, each time with the same CSR, key and transaction ID; signed afresh, with a nonce of its own."""
    asked = line(site).asked
    assert len(asked) == len({request.sender_nonce for request in asked}) == times
    assert len({(request.transaction_id, request.content, request.message_type) for request in asked}) == 1
    assert len({request.signer for request in asked}) == 1


# --- the cases of appendix E ----------------------------------------------------------------------


def test_case_1_issued_at_once(automatic: Site) -> None:
    assert automatic.run().result is Result.ENROLLED
    assert line(automatic).types() == [PKCS_REQ]
    one_transaction(automatic)


def test_case_10_polled_until_a_person_approved(manual: Site) -> None:
    assert [manual.run().result, again(manual), again(manual)] == [Result.PENDING] * 3
    approve(manual)
    assert again(manual) is Result.ENROLLED
    assert line(manual).types() == [PKCS_REQ, CERT_POLL, CERT_POLL, CERT_POLL]
    one_transaction(manual)


def test_case_3_the_certrep_to_a_poll_is_lost(manual: Site) -> None:
    manual.run()
    again(manual)
    approve(manual)
    line(manual).lost = 1
    assert again(manual) is Result.FAILED
    assert len(manual.ca.issued()) == 1
    assert again(manual) is Result.ENROLLED
    one_transaction(manual)


def test_case_3_the_certrep_to_pkcsreq_is_lost(automatic: Site) -> None:
    line(automatic).lost = 1
    assert automatic.run().result is Result.FAILED
    assert len(automatic.ca.issued()) == 1
    assert again(automatic) is Result.ENROLLED
    same_request(automatic, times=2)
    one_transaction(automatic)


def test_the_pending_answer_to_pkcsreq_is_lost(manual: Site) -> None:
    line(manual).lost = 1
    assert manual.run().result is Result.FAILED
    assert again(manual) is Result.PENDING
    approve(manual)
    assert again(manual) is Result.ENROLLED
    assert line(manual).types() == [PKCS_REQ, PKCS_REQ, CERT_POLL]
    one_transaction(manual)


def test_case_4_whatever_the_client_had_is_lost(automatic: Site) -> None:
    """A CA that enforced unique names would want a person to revoke the first; the lab does not."""
    automatic.run()
    automatic.key.unlink()
    automatic.certificate.unlink()
    assert again(automatic) is Result.ENROLLED
    first, second = automatic.ca.issued()
    assert first.transaction_id != second.transaction_id
    assert automatic.leaf() == second.certificate
    assert automatic.pair_matches()


def test_case_6_a_retry_is_never_another_pkcs10_in_the_same_transaction(automatic: Site) -> None:
    """Not even when the configuration changed meanwhile: that is asked for in a transaction of its own."""
    line(automatic).lost = 2
    automatic.run()
    again(automatic)
    text = automatic.config.read_text()
    automatic.config.write_text(text.replace("san: [dns:web.example.net]", "san: [dns:other.example.net]"))
    assert again(automatic) is Result.ENROLLED
    first, second, third = line(automatic).asked
    assert (first.transaction_id, first.content) == (second.transaction_id, second.content)
    assert third.transaction_id != second.transaction_id
    assert facts.alternative_names(automatic.leaf()) == {"dns:other.example.net"}


@pytest.mark.parametrize("meanwhile", [pytest.param(False, id="still pending"), pytest.param(True, id="signed")])
def test_case_13_a_slow_server_while_pending(manual: Site, meanwhile: bool) -> None:
    manual.run()
    line(manual).late = 1
    manual.clock.advance(LATER)
    outcome = manual.run()
    assert (outcome.result, "did not answer within 3 seconds" in str(outcome.message)) == (Result.FAILED, True)
    assert manual.transaction is not None
    assert manual.transaction.phase is Phase.PENDING
    if not meanwhile:
        assert again(manual) is Result.PENDING
    approve(manual)
    assert again(manual) is Result.ENROLLED
    one_transaction(manual)


# --- and beyond them ------------------------------------------------------------------------------


def test_an_answer_after_our_time_limit_is_fetched_by_the_next_try(automatic: Site) -> None:
    line(automatic).late = 1
    assert automatic.run().result is Result.FAILED
    assert again(automatic) is Result.ENROLLED
    one_transaction(automatic)


def test_a_request_sent_three_times_gets_one_certificate(automatic: Site) -> None:
    line(automatic).lost = 2
    assert [automatic.run().result, again(automatic), again(automatic)] == [
        Result.FAILED,
        Result.FAILED,
        Result.ENROLLED,
    ]
    same_request(automatic, times=3)
    one_transaction(automatic)


def test_a_lost_answer_to_a_renewal_costs_no_second_certificate(automatic: Site) -> None:
    automatic.run()
    automatic.clock.advance(60 * DAY)
    line(automatic).lost = 1
    assert automatic.run().result is Result.FAILED
    assert again(automatic) is Result.RENEWED
    assert line(automatic).types() == [PKCS_REQ, RENEWAL_REQ, RENEWAL_REQ]
    assert [record.kind for record in automatic.ca.issued()] == ["enrollment", "renewal"]


@pytest.mark.parametrize("sent", [pytest.param(False, id="before it was sent"), pytest.param(True, id="after")])
def test_the_client_is_started_again_with_its_request_kept(automatic: Site, sent: bool) -> None:
    steps = iter((False, True))
    line(automatic).lost = int(sent)
    outcome = automatic.run() if sent else automatic.run(stopping=lambda: next(steps))
    assert outcome.result is (Result.FAILED if sent else Result.STOPPED)
    kept = automatic.transaction
    assert kept is not None
    assert kept.phase is Phase.REQUESTED
    assert again(automatic) is Result.ENROLLED
    same_request(automatic, times=1 + int(sent))
    assert line(automatic).asked[0].transaction_id == kept.transaction_id
    one_transaction(automatic)


@pytest.mark.parametrize(
    "approved", [pytest.param(False, id="approved after"), pytest.param(True, id="approved before")]
)
def test_both_sides_are_started_again_while_pending(manual: Site, approved: bool) -> None:
    manual.run()
    if approved:
        approve(manual)
    restart(manual)
    if not approved:
        assert again(manual) is Result.PENDING
        approve(manual)
    assert again(manual) is Result.ENROLLED
    one_transaction(manual)


def test_both_sides_are_started_again_after_the_ca_issued(automatic: Site) -> None:
    line(automatic).lost = 1
    automatic.run()
    restart(automatic)
    assert again(automatic) is Result.ENROLLED
    one_transaction(automatic)


def test_the_client_is_a_new_process_while_pending(make_site: Sites) -> None:
    site = make_site(MANUAL, ca=BadLine, real_time=True)
    site.write(authority="poll_interval: 1s")
    assert site.command("renew").returncode == 3
    approve(site)
    done = site.command("renew")
    assert done.returncode == 0, done.stderr
    assert line(site).types() == [PKCS_REQ, CERT_POLL]
    one_transaction(site)


def test_a_ca_that_forgot_the_transaction_takes_the_same_request_again(manual: Site) -> None:
    manual.run()
    restart(manual, forgetting=True)
    assert again(manual) is Result.PENDING
    assert line(manual).types() == [CERT_POLL, PKCS_REQ]
    assert any("badCertId (no such transaction)" in told for told in manual.log)
    assert manual.events() == ["pending"]
    approve(manual)
    assert again(manual) is Result.ENROLLED
    one_transaction(manual)


def test_a_ca_that_forgot_what_it_never_answered_takes_the_request_as_new(manual: Site) -> None:
    line(manual).lost = 1
    manual.run()
    kept = manual.transaction
    restart(manual, forgetting=True)
    assert again(manual) is Result.PENDING
    assert kept is not None
    (asked,) = line(manual).asked
    assert asked.transaction_id == kept.transaction_id


class PollsInTheDark(BadLine):
    """Knows no transaction when it is polled, however often it has just taken one."""

    def decide(self, request: Request) -> Answer:
        if request.message_type is CERT_POLL:
            self.asked.append(request)
            raise RejectedError("no such transaction", fail_info="badCertId")
        return super().decide(request)


def test_a_wrong_poll_is_no_loop(make_site: Sites) -> None:
    site = make_site(MANUAL, ca=PollsInTheDark)
    site.write()
    site.run()
    for _ in range(3):
        assert again(site) is Result.PENDING
    assert line(site).types() == [PKCS_REQ, CERT_POLL, PKCS_REQ, PKCS_REQ, PKCS_REQ]


# --- one-time challenges --------------------------------------------------------------------------


class OneTime(BadLine):
    """Every challenge password in the file `handed-out` opens one transaction; none opens two."""

    def __init__(self, directory: Path, clock: Callable[[], datetime], settings: Settings | None = None) -> None:
        super().__init__(directory, clock, settings)
        self.used: set[str] = set()

    def authenticate(self, request: Request, csr: x509.CertificateSigningRequest) -> str:
        if is_self_signed(request.signer):
            challenge = csr_challenge(request.content) or ""
            handed_out = (self.store.directory.parent / "handed-out").read_text().split()
            if challenge not in handed_out or challenge in self.used:
                raise RejectedError("the challenge password was used before", fail_info="badRequest")
            self.used.add(challenge)
            self.challenge = challenge
        return super().authenticate(request, csr)


@pytest.fixture
def one_time(make_site: Sites, tmp_path: Path) -> Callable[[Settings], Site]:
    """A site whose challenge command hands out a fresh password each time it is called."""

    def make(settings: Settings) -> Site:
        site = make_site(settings, ca=OneTime)
        command = tmp_path / "challenge.sh"
        command.write_text(f"#!/bin/sh\necho once-$(date +%N)-$$ | tee -a {tmp_path}/handed-out\n")
        command.chmod(0o755)
        site.write(authority=f"challenge: {{command: [{command}]}}")
        return site

    return make


def handed_out(site: Site) -> list[str]:
    return site.path("handed-out").read_text().split()


def test_a_retry_of_a_transaction_asks_for_no_other_challenge(one_time: Callable[[Settings], Site]) -> None:
    site = one_time(Settings(lifetime=90 * DAY))
    line(site).lost = 2
    assert [site.run().result, again(site), again(site)] == [Result.FAILED, Result.FAILED, Result.ENROLLED]
    same_request(site, times=3)
    assert len(handed_out(site)) == 1
    one_transaction(site)


def test_polls_ask_for_no_challenge(one_time: Callable[[Settings], Site]) -> None:
    site = one_time(MANUAL)
    assert [site.run().result, again(site)] == [Result.PENDING] * 2
    approve(site)
    assert again(site) is Result.ENROLLED
    assert len(handed_out(site)) == 1


def test_a_ca_that_forgot_and_takes_no_challenge_twice_is_asked_anew(one_time: Callable[[Settings], Site]) -> None:
    """Polled, asked again, and both refused: a new key and a new challenge, in the same run."""
    site = one_time(MANUAL)
    site.run()
    for waiting in site.ca.store.all_waiting():
        site.ca.store.remove_waiting(waiting.transaction_id)
    assert again(site) is Result.PENDING
    assert line(site).types() == [PKCS_REQ, CERT_POLL, PKCS_REQ, PKCS_REQ]
    assert len({request.transaction_id for request in line(site).asked}) == len(handed_out(site)) == 2
    assert site.events() == ["pending", "abandoned", "pending"]


def test_a_new_transaction_brings_a_challenge_of_its_own(one_time: Callable[[Settings], Site]) -> None:
    site = one_time(MANUAL)
    site.run()
    assert again(site) is Result.PENDING
    site.clock.advance(8 * DAY)  # beyond poll_limit
    assert site.run().result is Result.PENDING
    enrollments = [request for request in line(site).asked if request.message_type is PKCS_REQ]
    challenges = [csr_challenge(request.content) for request in enrollments]
    assert challenges == handed_out(site)
    assert len(set(challenges)) == len({request.transaction_id for request in enrollments}) == 2


def test_a_refused_challenge_is_not_sent_twice(one_time: Callable[[Settings], Site]) -> None:
    site = one_time(Settings(lifetime=90 * DAY))
    site.path("challenge.sh").write_text("#!/bin/sh\necho never-valid\n")
    site.path("handed-out").write_text("")
    assert site.run().result is Result.FAILED
    assert line(site).types() == [PKCS_REQ]
    site.path("challenge.sh").write_text(f"#!/bin/sh\necho valid-now | tee -a {site.path('handed-out')}\n")
    assert site.run(Wish.NOW).result is Result.ENROLLED
    assert len({request.transaction_id for request in line(site).asked}) == 2


def test_renewals_ask_for_no_challenge(one_time: Callable[[Settings], Site]) -> None:
    site = one_time(Settings(lifetime=90 * DAY))
    site.run()
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert len(handed_out(site)) == 1
