"""One's own certificate on the list: told, replaced where that is configured; a successor on it takes no place."""

from __future__ import annotations

from certagent.certificate import serial_hex
from certagent.policy import Action, Condition
from certagent.state import read_history
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, ran, recording_hook

from .gateway import HOUR, Gateway


def revoke(gateway: Gateway, serial: int | None = None) -> None:
    """Have the CA revoke the certificate in place, or another, and fetch its list."""
    gateway.site.ca.store.revoke(serial or gateway.site.leaf().serial_number, gateway.clock())
    gateway.clock.advance(HOUR)
    gateway.refresh(at_once=True)


def test_it_is_found_and_told_with_what_to_do(gateway: Gateway) -> None:
    gateway.site.run()
    serial = serial_hex(gateway.site.leaf())
    revoke(gateway)
    assert [(each.keystore, each.serial) for each in gateway.refresh(at_once=True).memory.revoked] == [("web", serial)]
    done = gateway.site.run()
    assert (done.result, done.state) == (Result.FAILED, Condition.REVOKED)
    assert str(done.message).startswith(f"the certificate {serial} is revoked since 2026-12-01T12:00:00Z")
    assert "certagent enroll --force web" in str(done.hint)
    assert read_history(gateway.site.keystore_directory)[-1].event == "revoked"


def test_it_is_told_again_after_a_pause_and_stays_what_it_is(gateway: Gateway) -> None:
    gateway.write(keystore=f"hooks: {{failed: [[{recording_hook(gateway.site, 'failed')}]]}}")
    gateway.site.run()
    revoke(gateway)
    gateway.site.run()
    gateway.clock.advance(HOUR / 2)
    quiet = gateway.site.run()
    assert (quiet.result, quiet.state) == (Result.NOTHING, Condition.REVOKED)
    assert len(ran(gateway.site, "failed")) == 1
    gateway.clock.advance(HOUR)
    assert gateway.site.run().result is Result.FAILED
    assert len(ran(gateway.site, "failed")) == 2


def test_a_new_one_is_enrolled_where_that_is_configured(gateway: Gateway) -> None:
    gateway.write(keystore="when_revoked: enroll\nrekey: never")
    gateway.site.run()
    old, key = gateway.site.leaf(), gateway.site.key.read_bytes()
    revoke(gateway)
    done = gateway.site.run()
    assert (done.result, done.state) == (Result.ENROLLED, Condition.VALID)
    assert gateway.site.leaf().serial_number != old.serial_number
    assert gateway.site.key.read_bytes() != key
    assert gateway.site.pair_matches()
    gateway.clock.advance(HOUR)
    assert gateway.refresh(at_once=True).memory.revoked == ()


def test_by_hand_there_is_a_new_one_too(gateway: Gateway) -> None:
    gateway.site.run()
    revoke(gateway)
    done = gateway.site.run(Wish.ENROLL_ANEW)
    assert (done.result, done.state) == (Result.ENROLLED, Condition.VALID)


def test_what_cannot_be_enrolled_is_an_alarm(gateway: Gateway) -> None:
    """Its CA is away: tried again and again, and told as what it is."""
    gateway.write(keystore="when_revoked: enroll")
    gateway.site.run()
    revoke(gateway)
    gateway.site.write(
        "when_revoked: enroll",
        f"crl_file: {gateway.file}\nurl: http://127.0.0.1:9/scep",
    )
    done = gateway.site.run()
    assert (done.result, done.state) == (Result.FAILED, Condition.REVOKED)
    assert done.next_action is Action.RESUME


def test_a_successor_that_is_revoked_takes_no_place(gateway: Gateway) -> None:
    hook = recording_hook(gateway.site, "pre", exit_code="1")
    gateway.write(keystore=f"hooks: {{pre: [[{hook}]]}}")
    gateway.site.run()
    gateway.clock.advance(70 * DAY)
    gateway.site.run()
    transaction, in_place = gateway.site.transaction, gateway.site.leaf()
    assert transaction is not None
    revoked = int(transaction.serial, 16)
    revoke(gateway, revoked)
    gateway.site.path("pre.exit").write_text("0")
    done = gateway.site.run(Wish.NOW)
    assert done.result is Result.RENEWED
    assert gateway.site.leaf().serial_number not in (revoked, in_place.serial_number)
    told = [(each.event, each.message) for each in read_history(gateway.site.keystore_directory)]
    assert any(event == "abandoned" and f"{transaction.serial} is revoked since" in why for event, why in told)
