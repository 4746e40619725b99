"""The CRLs of a real CA: fetched, kept, put where consumers read them; and everything that may go wrong on the way."""

from __future__ import annotations

import os
import shutil
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.lab import LabServer, Settings
from certagent.trust import crl
from tests.renewal.site import DAY, Sites

from .gateway import HOUR, Gateway, Publish

SECOND = timedelta(seconds=1)


def test_a_fresh_list_is_put_where_the_consumer_reads_it(gateway: Gateway) -> None:
    done = gateway.refresh()
    [found] = gateway.lists()
    assert found.issuer == gateway.site.ca.generation.issuer.certificate.subject
    assert (gateway.file.stat().st_mode & 0o777, done.changed) == (0o644, (str(gateway.file),))
    assert (gateway.error(done), gateway.next(done.memory)) == ("", 5 * HOUR)


def test_it_is_fetched_again_in_time_and_not_before(gateway: Gateway) -> None:
    gateway.refresh()
    before = gateway.file.read_bytes()
    gateway.clock.advance(4.9 * HOUR)
    assert (gateway.refresh().fetched, gateway.file.read_bytes()) == (False, before)
    gateway.clock.advance(0.2 * HOUR)
    assert (gateway.refresh().fetched, gateway.file.read_bytes() != before) == (True, True)


def test_who_is_revoked_stands_in_it(gateway: Gateway) -> None:
    gateway.site.ca.store.revoke(7, gateway.clock())
    gateway.refresh()
    assert gateway.lists()[0].get_revoked_certificate_by_serial_number(7) is not None


def test_a_list_that_ran_out_stays_and_is_told(gateway: Gateway) -> None:
    gateway.refresh()
    before = gateway.file.read_bytes()
    gateway.write("crl_url: http://127.0.0.1:9/crl")
    gateway.clock.advance(20 * HOUR)
    done = gateway.refresh()
    assert gateway.file.read_bytes() == before
    assert "cannot be reached" in gateway.error(done)
    assert 12 * SECOND <= gateway.next(done.memory) <= 30 * SECOND
    assert done.memory.ends is not None
    assert done.memory.ends < gateway.clock()


def test_one_that_is_fetched_and_ran_out_is_told_too(gateway: Gateway, publish: Publish) -> None:
    """Its CA is up and publishes nothing new."""
    gateway.refresh()
    publish(gateway.site.ca.crl())
    gateway.clock.advance(11 * HOUR)
    assert "expired 60 min ago" in gateway.error(gateway.refresh())


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        pytest.param("older", "is older than the one we have", id="an older one"),
        pytest.param("stranger", "is not signed by the pinned CA", id="a stranger's"),
        pytest.param("future", "the future", id="one from the future"),
        pytest.param("rubbish", "not a CRL", id="something else"),
        pytest.param("large", "more than", id="without end"),
    ],
)
def test_what_is_refused_changes_nothing(
    gateway: Gateway, publish: Publish, forge: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = gateway.site.ca
    old = ca.crl()
    gateway.clock.advance(HOUR)
    gateway.refresh()
    before = gateway.file.read_bytes()
    if forge == "older":
        publish(old)
    elif forge == "future":
        monkeypatch.setattr(ca, "clock", lambda: gateway.clock() + HOUR)
    elif forge == "large":
        monkeypatch.setattr(crl, "MAX_SIZE", 100)
    elif forge == "stranger":
        other = type(ca)(gateway.site.path("other"), gateway.clock, ca.settings)
        publish(other.crl())
    else:
        gateway.write(f"crl_url: {gateway.site.server.url}?operation=GetCACert")
    done = gateway.refresh(at_once=True)
    assert told in gateway.error(done)
    assert gateway.file.read_bytes() == before


class Busy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/hours" else 429)
        self.send_header("Retry-After", "7200" if self.path == "/hours" else "soon")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("paths", "least", "most"),
    [
        pytest.param("hours", 2 * HOUR, 2.5 * HOUR, id="as long as it asked, or a quarter longer"),
        pytest.param("soon", 12 * SECOND, 30 * SECOND, id="nothing readable: the first pause"),
        pytest.param("hours soon", 2 * HOUR, 2.5 * HOUR, id="one of two addresses asked for it"),
    ],
)
def test_a_server_of_lists_asks_to_be_left_alone(
    gateway: Gateway, paths: str, least: timedelta, most: timedelta
) -> None:
    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        urls = ", ".join(f"'http://127.0.0.1:{server.server_port}/{path}'" for path in paths.split())
        gateway.write(f"crl_url: [{urls}]")
        done = gateway.refresh()
        server.shutdown()
    assert least <= gateway.next(done.memory) <= most


def test_an_older_one_is_refused_though_the_memory_was_lost(gateway: Gateway, publish: Publish) -> None:
    old = gateway.site.ca.crl()
    gateway.clock.advance(HOUR)
    gateway.refresh()
    gateway.site.path("state/authorities/lab/crl.json").unlink()
    publish(old)
    done = gateway.refresh()
    assert "older than the one we have" in gateway.error(done)
    shutil.rmtree(gateway.site.path("state/authorities/lab/crl"))  # a person's word
    gateway.file.unlink()
    assert gateway.error(gateway.refresh(at_once=True)) == ""


def test_a_damaged_memory_is_set_aside(gateway: Gateway) -> None:
    gateway.refresh()
    gateway.site.path("state/authorities/lab/crl.json").write_text("{")
    assert gateway.error(gateway.refresh()) == ""
    assert gateway.site.path("state/authorities/lab/crl.json.damaged").exists()


@pytest.mark.parametrize(
    ("content", "replaced"),
    [
        pytest.param(b"", True, id="empty"),
        pytest.param(b"-----BEGIN X509 CRL-----\nMII", True, id="half a list"),
        pytest.param(b"hello", False, id="something else"),
        pytest.param(b"-----BEGIN PRIVATE KEY-----\n", False, id="a key"),
    ],
)
def test_only_lists_are_replaced(gateway: Gateway, content: bytes, replaced: bool) -> None:
    gateway.file.write_bytes(content)
    done = gateway.refresh()
    assert (gateway.file.read_bytes() != content) is replaced
    assert ("holds something other than CRLs" in gateway.error(done)) is not replaced


def test_a_newer_list_that_somebody_put_there_stays(gateway: Gateway) -> None:
    gateway.refresh()
    gateway.clock.advance(HOUR)
    newer = gateway.site.ca.crl()
    gateway.file.write_bytes(newer.public_bytes(Encoding.PEM))
    assert gateway.refresh().fetched is False
    assert gateway.numbers() == [crl.number(newer)]


def test_a_list_that_was_removed_or_put_back_comes_again(gateway: Gateway) -> None:
    old = gateway.site.ca.crl()
    gateway.clock.advance(HOUR)
    gateway.refresh()
    numbers = gateway.numbers()
    gateway.file.unlink()
    gateway.refresh()
    assert gateway.numbers() == numbers
    gateway.file.write_bytes(old.public_bytes(Encoding.PEM))
    gateway.refresh()
    assert gateway.numbers() == numbers


def test_a_keystore_s_own_file_has_its_owner_and_hooks(gateway: Gateway) -> None:
    own = gateway.site.path("files/own.crl")
    gateway.write(keystore=f"crl_file: {own}\ngroup: '{os.getgid()}'\nhooks: {{crl_changed: [[{gateway.hook()}]]}}")
    gateway.refresh()
    assert own.read_bytes() == gateway.file.read_bytes()
    assert gateway.ran() == [str(own)]


HOOKS = "hooks: {crl_changed: [[%s]]}"


def test_hooks_are_run_for_a_change_and_for_nothing_else(gateway: Gateway) -> None:
    gateway.write(HOOKS % gateway.hook())
    gateway.refresh()
    gateway.refresh()
    assert len(gateway.ran()) == 1
    gateway.clock.advance(6 * HOUR)
    gateway.refresh()
    assert len(gateway.ran()) == 2
    told = gateway.site.path("reload.ran").read_text()
    assert f"CERTAGENT_CRL_DIRECTORY=\nCERTAGENT_CRL_FILE={gateway.file}\nCERTAGENT_EVENT=crl_changed\n" in told
    assert "CERTAGENT_AUTHORITY=lab\n" in told


def test_a_hook_that_fails_is_owed_and_tried_again_alone(gateway: Gateway) -> None:
    one, two = gateway.hook("one"), gateway.hook("two")
    gateway.write(f"hooks: {{crl_changed: [[{one}], [{two}]]}}")
    gateway.site.path("one.fails").touch()
    done = gateway.refresh()
    assert gateway.error(done).startswith("in place; the crl_changed hook failed and will be retried: hook")
    assert 12 * SECOND <= gateway.next(done.memory) <= 30 * SECOND
    gateway.refresh()  # before its time
    assert (len(gateway.ran("one")), len(gateway.ran("two"))) == (1, 1)
    gateway.site.path("one.fails").unlink()
    gateway.clock.advance(timedelta(seconds=30))
    assert gateway.error(gateway.refresh()) == ""
    assert (len(gateway.ran("one")), len(gateway.ran("two"))) == (2, 1)


def test_what_was_cut_short_after_the_file_changed_is_told_of(gateway: Gateway) -> None:
    """The file is new, the memory is as before: a power cut in between."""
    gateway.write(HOOKS % gateway.hook())
    gateway.refresh()
    memory = gateway.site.path("state/authorities/lab/crl.json")
    before = memory.read_bytes()
    gateway.clock.advance(6 * HOUR)
    gateway.refresh()
    memory.write_bytes(before)
    gateway.refresh()
    assert len(gateway.ran()) == 3


def test_one_run_for_several_files(gateway: Gateway) -> None:
    own, script = gateway.site.path("files/own.crl"), gateway.hook()
    hook = f"hooks: {{crl_changed: [{{run: [{script}], once: true}}]}}"
    gateway.write(hook, f"crl_file: {own}\n{hook}")
    gateway.refresh()
    assert len(gateway.ran()) == 1


def test_written_into_the_file_where_its_readers_hold_it(gateway: Gateway) -> None:
    own = gateway.site.path("files/own.crl")
    own.touch()
    inode = own.stat().st_ino
    gateway.write(keystore=f"crl_file: {own}\nswap: in-place")
    gateway.refresh()
    assert (own.stat().st_ino, len(gateway.lists(own))) == (inode, 1)


def test_before_the_first_contact_the_authority_is_asked_who_it_is(gateway: Gateway) -> None:
    fresh = gateway
    shutil.rmtree(fresh.site.path("state"))
    fresh.write(f"crl_url: {fresh.site.server.url.replace('/scep', '/crl')}")
    assert fresh.error(fresh.refresh()) == ""
    assert len(fresh.lists()) == 1


def test_where_nothing_says_where_it_lies(gateway: Gateway, lab: LabServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.ca, "crl_url", None)
    gateway.site.path("files/web.pem").unlink()
    gateway.site.path("files/web.key").unlink()
    gateway.site.run()
    assert "no address is known for the CRL of lab" in gateway.error(gateway.refresh())


def test_over_scep(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """GetCRL, with the keystore's key; no distribution point is asked."""
    gateway.write("crl_from: scep")
    monkeypatch.setattr("certagent.trust.crl.fetch", None)
    assert gateway.error(gateway.refresh()) == ""
    assert len(gateway.lists()) == 1
    gateway.site.path("files/web.key").unlink()
    assert "GetCRL needs a keystore with an RSA key" in gateway.error(gateway.refresh(at_once=True))


@pytest.fixture
def crossing(make_site: Sites) -> Gateway:
    """In the midst of a rollover: a shadow under the next CA waits for it."""
    settings = Settings(
        lifetime=20 * DAY, ca_lifetime=100 * DAY, rollover=40 * DAY, overlap=5 * DAY, crl_lifetime=10 * HOUR
    )
    made = Gateway(make_site(settings))
    made.write(authority="rollover_at: 60%")
    made.site.run()
    made.refresh()
    while made.site.state.next_action != "switch":
        made.clock.now = max(made.site.state.next_action_at or made.clock.now, made.clock.now) + HOUR
        made.site.run()
    return made


@pytest.mark.slow
def test_the_lists_of_both_cas_during_a_rollover(crossing: Gateway) -> None:
    crossing.refresh()
    current, following = crossing.site.ca.generation, crossing.site.ca.following
    assert following is not None
    signers = [current.issuer.certificate, following.issuer.certificate]
    assert [crl.check(each, signers, (), crossing.clock()) for each in crossing.lists()] == signers
    switch = crossing.site.state.next_action_at
    assert switch is not None
    crossing.clock.now = switch + HOUR
    crossing.site.run()
    assert "rolled over" in crossing.site.events()
    crossing.refresh()
    ours = [crl.check(each, signers, (), crossing.clock()) for each in crossing.lists()]
    assert sorted(map(signers.index, ours)) == [0, 1]  # the old one's, while its certificates live
