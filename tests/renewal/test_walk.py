"""The walk of one keystore: enrollment, renewal, pending, refusal, abandonment."""

from __future__ import annotations

from datetime import timedelta

from certagent.lab import Settings
from certagent.policy import Action, Condition
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site, Sites, ran, recording_hook


def test_a_missing_identity_with_a_subject_is_enrolled_without_being_asked(site: Site) -> None:
    outcome = site.run()
    assert (outcome.result, outcome.state, outcome.next_action) == (Result.ENROLLED, Condition.VALID, Action.RENEW)
    assert site.pair_matches()
    assert site.leaf().subject.rfc4514_string() == "CN=web.example.net,O=Example"
    assert site.key.stat().st_mode & 0o777 == 0o600
    assert site.transaction is None
    assert site.leftovers() == []


def test_nothing_happens_before_the_threshold(site: Site) -> None:
    site.run()
    site.clock.advance(50 * DAY)
    before = site.certificate.read_bytes()
    assert site.run().result is Result.NOTHING
    assert site.certificate.read_bytes() == before
    assert len(site.ca.issued()) == 1


def test_a_due_certificate_is_renewed_with_a_new_key_and_signed_by_the_old_one(site: Site) -> None:
    site.run()
    old = site.leaf()
    site.clock.advance(60 * DAY)
    outcome = site.run()
    assert outcome.result is Result.RENEWED
    assert site.pair_matches()
    assert site.leaf().serial_number != old.serial_number
    assert site.leaf().public_key() != old.public_key()
    assert site.leaf().subject == old.subject
    assert [record.kind for record in site.ca.issued()] == ["enrollment", "renewal"]
    assert site.events() == ["enrolled", "renewed"]
    assert site.path("state/keystores/web/previous/key.pem").exists()


def test_an_expired_certificate_that_the_ca_no_longer_renews_is_enrolled_again(site: Site) -> None:
    site.run()
    site.clock.advance(91 * DAY)
    outcome = site.run()
    assert outcome.result is Result.ENROLLED
    assert [record.kind for record in site.ca.issued()] == ["enrollment", "enrollment"]
    assert site.pair_matches()


def test_a_keystore_without_certificate_and_subject_says_so(make_site: Sites) -> None:
    site = make_site()
    site.write(subject=False)
    outcome = site.run()
    assert (outcome.result, outcome.state) == (Result.NOTHING, Condition.MISSING)
    assert outcome.message == "there is no certificate, and no subject or san to request one with"


def test_pending_is_polled_over_several_runs_and_ends_installed(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, manual=True))
    site.write(f"hooks: {{pending: [[{recording_hook(site, 'pending')}]]}}")
    recording_hook(site, "pending")
    assert site.run().result is Result.PENDING
    assert site.run().result is Result.PENDING  # before poll_interval: nothing is asked
    first = site.transaction
    site.clock.advance(timedelta(minutes=6))
    outcome = site.run()
    assert (outcome.result, outcome.state, outcome.next_action) == (Result.PENDING, Condition.PENDING, Action.POLL)
    for waiting in site.ca.store.all_waiting():
        site.ca.store.decide(waiting, "approved")
    second = site.transaction
    assert first is not None
    assert second is not None
    assert first.transaction_id == second.transaction_id
    assert f"somebody at the CA has to approve request {first.transaction_id}" in site.log
    site.clock.advance(timedelta(minutes=6))
    assert site.run().result is Result.ENROLLED
    assert site.pair_matches()
    assert len(site.ca.issued()) == 1
    assert len(ran(site, "pending")) == 1


def test_a_request_refused_by_a_person_is_an_error_in_words(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, manual=True))
    site.write()
    site.run()
    for waiting in site.ca.store.all_waiting():
        site.ca.store.decide(waiting, "rejected")
    site.clock.advance(timedelta(minutes=6))
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "the CA refused the request: badRequest" in str(outcome.message)
    assert site.transaction is None


def test_force_renews_what_is_not_due(site: Site) -> None:
    site.run()
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert site.run(Wish.NOW).result is Result.NOTHING


def test_rekey_never_keeps_the_key_and_uses_a_new_transaction_id(make_site: Sites) -> None:
    site = make_site()
    site.write("rekey: never")
    site.run()
    key = site.leaf().public_key()
    site.clock.advance(60 * DAY)
    assert site.run().result is Result.RENEWED
    assert site.leaf().public_key() == key
    assert len({record.transaction_id for record in site.ca.issued()}) == 2
