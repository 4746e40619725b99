"""Bad input by name: one clear line, a hint, the service's files untouched, no second certificate asked for."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from msgspec.structs import replace

from certagent import keys
from certagent.config.key_types import KeyType
from certagent.lab import Answer, Call, HttpAnswer, LabCA, Settings
from certagent.policy import Condition
from certagent.scep import Request
from certagent.transaction.journal import Phase
from certagent.transaction.renewal import Wish, advance
from certagent.transaction.report import Result
from tests.keystore.faults import failing
from tests.renewal.site import DAY, Site, Sites
from tests.waiting import PATIENCE


class Misbehaving(LabCA):
    """A lab that a test can turn bad; well-behaved until a fault is set."""

    def __init__(self, directory: Path, clock: Callable[[], datetime], settings: Settings | None = None) -> None:
        super().__init__(directory, clock, settings)
        self.http: Callable[[Call], HttpAnswer] = super().respond_http
        self.replying: Callable[[Request, Answer], bytes] = super().reply
        self.issuing: Callable[[x509.CertificateSigningRequest], x509.Certificate] = super().issue

    def respond_http(self, call: Call) -> HttpAnswer:
        return self.http(call) if call.operation == "PKIOperation" else super().respond_http(call)

    def reply(self, request: Request, answer: Answer) -> bytes:
        return self.replying(request, answer)

    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        return self.issuing(csr)


def misbehaving(site: Site) -> Misbehaving:
    assert isinstance(site.ca, Misbehaving)
    return site.ca


@dataclass(frozen=True)
class Case:
    """What the CA does, what is said about it, and what the hint tells."""

    fault: Callable[[Misbehaving], None]
    message: str
    hint: str


def http(status: int, body: bytes, content_type: str = "text/plain") -> Callable[[Misbehaving], None]:
    def set_fault(ca: Misbehaving) -> None:
        ca.http = lambda _call: HttpAnswer(status, content_type, body, "fault")

    return set_fault


def truncated(ca: Misbehaving) -> None:
    def answer(call: Call) -> HttpAnswer:
        whole = LabCA.respond_http(ca, call)
        return replace(whole, body=whole.body[: len(whole.body) // 2])

    ca.http = answer


def other_transaction(ca: Misbehaving) -> None:
    def reply(request: Request, answer: Answer) -> bytes:
        return LabCA.reply(ca, replace(request, transaction_id="0" * 64), answer)

    ca.replying = reply


def other_key(ca: Misbehaving) -> None:
    stranger = keys.generate(KeyType.RSA_2048)

    def issue(csr: x509.CertificateSigningRequest) -> x509.Certificate:
        other = x509.CertificateSigningRequestBuilder().subject_name(csr.subject).sign(stranger, hashes.SHA256())
        return LabCA.issue(ca, other)

    ca.issuing = issue


CASES = [
    pytest.param(Case(http(500, b"database is down"), "HTTP 500", ""), id="HTTP 500 with text"),
    pytest.param(Case(http(200, b"<html>It works!</html>", "text/html"), "", ""), id="HTML with 200"),
    pytest.param(Case(truncated, "", ""), id="truncated reply"),
    pytest.param(Case(http(200, b"\x30" * (10 << 20)), "", ""), id="10 MB reply"),
    pytest.param(Case(other_transaction, "transaction", ""), id="reply belongs to another transaction"),
    pytest.param(
        Case(other_key, "the CA's answer holds no certificate for our key", "nothing was installed"), id="another key"
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_a_bad_answer_costs_one_attempt_and_nothing_else(make_site: Sites, case: Case) -> None:
    site = make_site(ca=Misbehaving)
    site.write()
    site.run()
    files = site.certificate.read_bytes(), site.key.read_bytes()
    case.fault(misbehaving(site))
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert outcome.message
    assert "\n" not in outcome.message
    assert len(outcome.message) < 300
    assert case.message in outcome.message
    assert outcome.hint
    assert case.hint in outcome.hint
    assert (site.certificate.read_bytes(), site.key.read_bytes()) == files
    assert site.leftovers() == []
    assert outcome.next_action_at is not None
    assert outcome.next_action_at > site.clock()


def test_an_unreachable_ca_is_retried_with_growing_pauses(site: Site) -> None:
    site.server.stop()
    pauses = []
    for _ in range(4):
        outcome = site.run()
        assert outcome.result is Result.FAILED
        assert "127.0.0.1" in str(outcome.message)
        assert outcome.next_action_at is not None
        pauses.append(outcome.next_action_at - site.clock())
        site.clock.now = outcome.next_action_at
    assert pauses == sorted(set(pauses))


def test_a_lost_reply_costs_no_second_certificate(make_site: Sites) -> None:
    site = make_site(ca=Misbehaving)
    site.write()
    ca = misbehaving(site)

    def lose(call: Call) -> HttpAnswer:
        LabCA.respond_http(ca, call)
        return HttpAnswer(502, "text/plain", b"gateway lost it", "lost")

    well = ca.http
    ca.http = lose
    assert site.run().result is Result.FAILED
    assert site.transaction is not None
    assert site.transaction.phase is Phase.REQUESTED
    ca.http = well
    assert site.run(Wish.NOW).result is Result.ENROLLED
    assert len(site.ca.issued()) == 1


def test_a_wrong_fingerprint_sends_nothing_and_makes_no_key(make_site: Sites) -> None:
    calls: list[str] = []

    class Listening(LabCA):
        def respond_http(self, call: Call) -> HttpAnswer:
            calls.append(call.operation)
            return super().respond_http(call)

    site = make_site(ca=Listening)
    site.write(authority=f"fingerprint: sha256:{'00' * 32}")
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "the authority's CA is not the configured one" in str(outcome.message)
    assert "PKIOperation" not in calls
    assert not site.path("state/keystores/web/shadow").exists()


def test_a_wrong_challenge_is_refused_in_words_and_not_shown(site: Site) -> None:
    site.path("challenge").write_text("not-the-challenge\n")
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "badRequest" in str(outcome.message)
    everything = "\n".join(
        path.read_text(errors="replace") for path in site.path("state").rglob("*") if path.is_file()
    ) + "\n".join(site.log)
    assert "not-the-challenge" not in everything


def test_a_pair_that_does_not_match_is_left_alone(site: Site) -> None:
    site.run()
    other = keys.to_pem(keys.generate(KeyType.RSA_2048))
    site.key.write_bytes(other)
    outcome = site.run()
    assert (outcome.result, outcome.state) == (Result.FAILED, Condition.FAILED)
    assert str(site.key) in str(outcome.message) or str(site.certificate) in str(outcome.message)
    assert outcome.hint
    assert site.key.read_bytes() == other
    assert site.run(Wish.ENROLL).result is Result.ENROLLED  # the way out by hand
    assert site.pair_matches()


def test_a_certificate_without_its_key_is_not_enrolled_over(site: Site) -> None:
    site.run()
    site.key.unlink()
    assert site.run().result is Result.FAILED
    assert not site.key.exists()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_while_staging_leaves_the_old_pair_and_keeps_the_successor(site: Site, error: int) -> None:
    site.run()
    old = site.certificate.read_bytes(), site.key.read_bytes()
    failures = 0
    for step in range(1, 400):
        context, wish = site.context(), Wish.NOW if site.transaction else Wish.RENEW
        with failing(step, error):
            outcome = advance(context, wish, lambda: False)
        assert site.pair_matches()
        if site.certificate.read_bytes() != old[0]:
            break
        assert outcome.result is Result.FAILED
        assert outcome.message
        assert site.key.read_bytes() == old[1]
        failures += 1
    assert failures > 2
    assert site.run(Wish.NOW).result in (Result.RENEWED, Result.NOTHING)
    assert site.pair_matches()
    assert site.leftovers() == []


def test_a_state_file_from_a_newer_version_is_never_overwritten(site: Site) -> None:
    site.run()
    file = site.path("state/keystores/web/state.json")
    file.write_text('{"version": 99, "future": true}')
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert "newer certagent (version 99" in str(outcome.message)
    assert file.read_text() == '{"version": 99, "future": true}'
    assert len(site.ca.issued()) == 1


def test_a_damaged_journal_is_never_started_afresh_over(site: Site) -> None:
    site.run()
    site.path("state/keystores/web/transaction").mkdir(exist_ok=True)
    file = site.path("state/keystores/web/transaction/transaction.json")
    file.write_text("?")
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert str(file) in str(outcome.message)
    assert file.read_text() == "?"


def test_a_clock_of_1970_does_nothing(site: Site) -> None:
    site.clock.now = site.clock.now.replace(year=1970)
    outcome = site.run()
    assert outcome.result is Result.WAITING
    assert not site.path("state/keystores").exists()


def test_a_changed_url_begins_the_transaction_anew(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, manual=True))
    site.write()
    site.run()
    first = site.transaction
    site.write(authority="ca_identifier: other")
    site.clock.advance(timedelta(minutes=6))
    site.run()
    second = site.transaction
    assert first is not None
    assert second is not None
    assert first.id != second.id


def test_a_request_pending_beyond_the_limit_is_given_up(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, manual=True))
    site.write()
    site.run()
    site.clock.advance(8 * DAY)
    assert site.run().result is Result.PENDING  # a new request
    assert "abandoned" in site.events()


def test_somebody_elses_new_certificate_is_adopted_not_overwritten(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, manual=True))
    site.write()
    site.run()
    for waiting in site.ca.store.all_waiting():
        site.ca.store.decide(waiting, "approved")
    site.clock.advance(timedelta(minutes=6))
    site.run()
    site.run(Wish.RENEW)  # pending again
    key = keys.generate(KeyType.RSA_2048)
    theirs = put_by_another_tool(site, key)
    for waiting in site.ca.store.all_waiting():
        site.ca.store.decide(waiting, "approved")
    site.clock.advance(timedelta(minutes=6))
    site.run()
    assert site.leaf() == theirs
    assert site.pair_matches()


def put_by_another_tool(site: Site, key: keys.PrivateKey) -> x509.Certificate:
    csr = x509.CertificateSigningRequestBuilder().subject_name(site.leaf().subject).sign(key, hashes.SHA256())
    certificate = LabCA.issue(site.ca, csr)
    site.key.write_bytes(keys.to_pem(key))
    site.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate


def test_a_keystore_that_left_the_configuration_in_the_middle_is_named(make_site: Sites, tmp_path: Path) -> None:
    site = make_site(Settings(lifetime=timedelta(days=90), manual=True), real_time=True)
    site.write()
    assert site.command("renew", "--due").returncode == 3
    site.config.write_text(
        site.config.read_text().replace("  web:", "  other:").replace("web.key", "o.key").replace("web.pem", "o.pem")
    )
    done = site.command("renew", "--due")
    assert "web: is no longer configured, but a transaction is open" in done.stderr
    assert (tmp_path / "state/keystores/web/transaction/transaction.json").exists()


def test_one_keystores_failure_never_stops_the_next(make_site: Sites) -> None:
    site = make_site(real_time=True)
    site.write()
    text = site.config.read_text()
    block = text[text.index("  web:") :]
    broken = block.replace("  web:", "  broken:").replace("web.key", "broken.key").replace("web.pem", "broken.pem")
    site.config.write_text(text[: text.index("  web:")] + broken + block)
    site.path("files/broken.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    done = site.command("renew")
    assert done.returncode == 1
    assert "web: enrolled" in done.stdout
    assert "broken" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.needs("setpriv")
def test_a_key_nobody_can_read(make_site: Sites) -> None:
    site = make_site(real_time=True)
    site.write()
    assert site.command("renew").returncode == 0
    os.chown(site.key, 65534, 65534)
    argv = [sys.executable, "-m", "certagent", "-c", str(site.config), "renew", "--force"]
    without_rights = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *argv]
    done = subprocess.run(without_rights, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    assert f"web: failed: cannot read {site.key}: Permission denied; " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_silent_ca_is_left_behind_at_the_time_limit(make_site: Sites) -> None:
    site = make_site(ca=Misbehaving)
    site.write(authority="timeout: 1s")
    ca = misbehaving(site)

    given_up = threading.Event()

    def sleepy(call: Call) -> HttpAnswer:
        given_up.wait(PATIENCE)
        return LabCA.respond_http(ca, call)

    ca.http = sleepy
    outcome = site.run()
    given_up.set()
    assert outcome.result is Result.FAILED
    assert "did not answer within 1 seconds" in str(outcome.message)
