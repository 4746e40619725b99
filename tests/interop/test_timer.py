"""No resident process: `certagent renew --due`, started now and then, is a complete installation."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from certagent.lab import Settings
from tests.interop.commands import Done, certagent
from tests.renewal.site import DAY, Site, Sites, ran, recording_hook

SHORT = timedelta(seconds=120)
"""A lifetime whose 24th part, the longest pause after an attempt that failed for the network, is five seconds."""


def due(site: Site) -> Done:
    return certagent(site.config, "renew", "--due")


def wait_until(moment: datetime | None) -> None:
    assert moment is not None
    left = (moment - datetime.now(UTC)).total_seconds()
    assert left < 20
    time.sleep(max(0.0, left) + 0.05)


def test_from_the_first_certificate_to_its_renewal(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=timedelta(seconds=150)), real_time=True)
    site.write(f"renew_at: 2%\nhooks: {{post: [[{recording_hook(site, 'post')}]]}}")
    assert due(site).returncode == 0
    first = site.leaf()
    assert (site.state.condition, site.state.next_action) == ("valid", "renew")
    wait_until(site.state.next_action_at)
    assert due(site).returncode == 0
    assert site.leaf().serial_number != first.serial_number
    assert site.pair_matches()
    assert [record.kind for record in site.ca.issued()] == ["enrollment", "renewal"]
    assert len(ran(site, "post")) == 2


def test_before_the_threshold_a_run_does_nothing(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY), real_time=True)
    site.write()
    due(site)
    before = site.certificate.read_bytes()
    done = due(site)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("web: nothing, next renew at ")
    assert site.certificate.read_bytes() == before


def test_a_request_that_waits_for_a_person_is_polled_from_run_to_run(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, manual=True), real_time=True)
    site.write(authority="poll_interval: 1s")
    assert due(site).returncode == 3
    asked = site.transaction
    assert asked is not None
    assert due(site).returncode == 3  # too early to ask again
    assert site.state.condition == "pending"
    wait_until(asked.poll_at)
    assert due(site).returncode == 3  # asked again; nobody has decided
    for waiting in site.ca.store.all_waiting():
        site.ca.store.decide(waiting, "approved")
    now = site.transaction
    assert now is not None
    assert now.transaction_id == asked.transaction_id
    wait_until(now.poll_at)
    assert due(site).returncode == 0
    assert site.pair_matches()
    assert len(site.ca.issued()) == 1


def test_a_ca_that_is_down_is_left_alone_for_a_while(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=SHORT), real_time=True)
    site.write("renew_at: 1%", authority="timeout: 2s")
    assert due(site).returncode == 0
    wait_until(site.state.next_action_at)
    site.server.stop()
    down = due(site)
    assert down.returncode == 1
    assert "web: " in down.stderr
    failed = site.state
    assert failed.failures == 1
    assert due(site).returncode == 0  # its pause is not over: nothing was tried
    assert site.state.failures == 1
    wait_until(failed.retry_at)
    assert due(site).returncode == 1
    assert site.state.failures == 2
    assert site.pair_matches()


def test_one_keystore_that_fails_does_not_stop_the_others(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY), real_time=True)
    site.write()
    files = site.path("files")
    with site.config.open("a") as config:
        config.write(
            f"  abandoned:\n    type: pem\n    authority: lab\n    subject: CN=abandoned\n"
            f"    key_file: {files}/abandoned.key\n    certificate_file: {files}/abandoned.pem\n"
            "    hooks: {pre: [[/bin/false]]}\n"
            f"  zebra:\n    type: pem\n    authority: lab\n    subject: CN=zebra\n"
            f"    key_file: {files}/zebra.key\n    certificate_file: {files}/zebra.pem\n"
        )
    done = due(site)
    assert done.returncode == 1
    assert "abandoned: " in done.stderr
    assert sorted(each.name for each in files.iterdir()) == ["web.key", "web.pem", "zebra.key", "zebra.pem"]
