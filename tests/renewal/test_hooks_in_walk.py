"""Hooks along the walk: the veto, the retry over restarts, the way back when the consumer does not follow."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.policy import Action, Condition
from certagent.transaction.journal import Phase
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site, ran, recording_hook


def test_pre_sees_the_successor_before_the_swap_and_post_runs_after_it(site: Site) -> None:
    pre, post = recording_hook(site, "pre"), recording_hook(site, "post")
    site.write(f"hooks: {{pre: [[{pre}]], post: [[{post}]]}}")
    site.run()
    serial = f"{site.leaf().serial_number:X}".rjust(40, "0")
    assert [line.split()[:3] for line in ran(site, "pre")] == [["pre", "web", "enrollment"]]
    assert [line.split()[:3] for line in ran(site, "post")] == [["post", "web", "enrollment"]]
    assert ran(site, "pre")[0].split()[3].rjust(40, "0") == serial
    assert "pre.sh: said by pre" in site.log


def test_a_veto_keeps_the_old_pair_and_the_successor(site: Site) -> None:
    site.run()
    old = site.certificate.read_bytes()
    pre = recording_hook(site, "pre", exit_code="7")
    site.write(f"hooks: {{pre: [[{pre}]]}}")
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert outcome.message == f"vetoed: hook {pre} exited with 7: said by pre"
    assert site.certificate.read_bytes() == old
    assert site.leftovers() == []
    site.path("pre.exit").write_text("0")
    assert site.run(Wish.NOW).result is Result.RENEWED
    assert len(site.ca.issued()) == 2  # the successor that was vetoed, not another one


def test_a_pair_that_somebody_puts_there_during_a_pre_hook_is_kept(site: Site) -> None:
    site.run()
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=web"]
    theirs = {site.key: site.path("own.key"), site.certificate: site.path("own.pem")}
    files = ["-keyout", str(theirs[site.key]), "-out", str(theirs[site.certificate])]
    subprocess.run([*argv, *files], check=True, capture_output=True)
    script = site.path("pre.sh")
    script.write_text("#!/bin/sh\n" + "".join(f"mv {own} {place}\n" for place, own in theirs.items()))
    script.chmod(0o755)
    contents = [own.read_bytes() for own in theirs.values()]
    site.write(f"hooks: {{pre: [[{script}]]}}")
    site.clock.advance(70 * DAY)
    site.run()
    assert [place.read_bytes() for place in theirs] == contents
    assert "renewal given up: another program replaced the certificate in the meantime" in site.log
    assert site.leftovers() == []


def test_a_certificate_that_cannot_be_read_for_a_while_costs_no_other(site: Site) -> None:
    site.run()
    pre = recording_hook(site, "pre", exit_code="7")
    site.write(f"hooks: {{pre: [[{pre}]]}}")
    site.run(Wish.RENEW)
    site.path("pre.exit").write_text("0")
    aside = site.certificate.rename(site.path("aside"))
    site.certificate.mkdir()
    assert site.run(Wish.NOW).result is Result.FAILED
    site.certificate.rmdir()
    aside.rename(site.certificate)
    assert site.run(Wish.NOW).result is Result.RENEWED
    assert len(site.ca.issued()) == 2


def test_a_failing_post_hook_is_retried_with_backoff_until_it_succeeds(site: Site) -> None:
    post = recording_hook(site, "post", exit_code="1")
    site.write(f"hooks: {{post: [[/bin/true], [{post}]]}}")
    outcome = site.run()
    assert (outcome.result, outcome.next_action) == (Result.FAILED, Action.HOOKS)
    assert site.pair_matches()
    assert site.run().result is Result.NOTHING  # within the backoff
    assert len(ran(site, "post")) == 1
    for _ in range(2):
        site.clock.advance(timedelta(minutes=5))
        assert site.run().result is Result.FAILED
    site.path("post.exit").write_text("0")
    site.clock.advance(timedelta(hours=1))
    outcome = site.run()
    assert (outcome.result, outcome.state) == (Result.ENROLLED, Condition.VALID)
    assert len(ran(site, "post")) == 4
    assert len(site.ca.issued()) == 1
    assert site.state.failures == 0


def test_a_renewal_is_not_held_up_by_a_post_hook_that_never_succeeds(site: Site) -> None:
    post = recording_hook(site, "post", exit_code="1")
    site.write(f"hooks: {{post: [[{post}]]}}")
    site.run()
    site.clock.advance(60 * DAY)
    site.run()
    assert len(site.ca.issued()) == 2
    assert "superseded" in site.events()


def test_failed_hooks_run_at_each_failure_and_expiring_hooks_near_the_end(site: Site) -> None:
    site.run()
    failed, expiring = recording_hook(site, "failed"), recording_hook(site, "expiring")
    site.write(f"hooks: {{failed: [[{failed}]], expiring: [[{expiring}]]}}")
    site.server.stop()
    site.clock.advance(60 * DAY)
    assert site.run().result is Result.FAILED
    assert (len(ran(site, "failed")), len(ran(site, "expiring"))) == (1, 0)
    site.clock.advance(25 * DAY)
    assert site.run().result is Result.FAILED
    assert (len(ran(site, "failed")), len(ran(site, "expiring"))) == (2, 1)
    site.clock.advance(timedelta(hours=6))
    site.run()
    assert len(ran(site, "expiring")) == 1


def test_a_hanging_hook_is_ended_and_said_so(site: Site) -> None:
    site.write("hooks: {post: [{run: [sleep, '60'], timeout: 1s}]}")
    outcome = site.run()
    assert str(outcome.message).endswith(": hook sleep did not end within 1 s and was killed")
    assert site.pair_matches()


@contextmanager
def tls_server(certificate: Path, key: Path) -> Iterator[int]:
    """A consumer that read its files once and never reloads."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    with connection, context.wrap_socket(connection, server_side=True) as tls:
                        tls.recv(1)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def test_a_consumer_that_does_not_follow_gets_the_old_pair_back(site: Site) -> None:
    site.run()
    old = site.certificate.read_bytes(), site.key.read_bytes()
    post = recording_hook(site, "post")
    with tls_server(site.certificate, site.key) as port:
        site.write(f"hooks: {{post: [[{post}]]}}\nprobe: {{tls: '127.0.0.1:{port}', timeout: 1s}}")
        outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert "still serves another certificate" in str(outcome.message)
    assert (site.certificate.read_bytes(), site.key.read_bytes()) == old
    assert len(ran(site, "post")) == 2  # for the new pair, and for the old one again
    assert site.transaction is None
    assert "rolled back" in site.events()
    assert site.leftovers() == []


def test_without_an_old_pair_the_probe_keeps_the_new_one_and_the_hooks_stay_owed(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    site.write(f"probe: {{tls: '127.0.0.1:{port}', timeout: 1s}}")
    assert site.run().result is Result.FAILED
    assert site.pair_matches()
    assert site.transaction is not None
    assert site.transaction.phase is Phase.ACTIVATED


@pytest.mark.parametrize("sees", [True, False])
def test_a_command_sees_whether_the_consumer_follows(site: Site, *, sees: bool) -> None:
    site.run()
    old = site.leaf()
    probe = recording_hook(site, "probe", exit_code="0" if sees else "1")
    site.write(f"probe: {{run: [{probe}], timeout: 0.1s}}")
    outcome = site.run(Wish.RENEW)
    assert outcome.result is (Result.RENEWED if sees else Result.FAILED)
    assert (site.leaf() == old) != sees
    event, name, kind, serial = ran(site, "probe")[-1].split()
    assert (event, name, kind) == ("probe", "web", "renewal")
    assert int(serial, 16) == site.ca.issued()[-1].serial
    assert sees or "the consumer does not have the new certificate (probe " in str(outcome.message)
