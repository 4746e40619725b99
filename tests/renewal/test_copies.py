"""A state directory that comes to another host: what was begun is given up, what is in place stays and is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta

import pytest

from certagent import certificate as facts
from certagent import keys
from certagent.host import Host
from certagent.lab import Settings
from certagent.transaction.journal import Journal
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site, Sites, ran, recording_hook
from tests.rollover.conftest import Devices
from tests.rollover.conftest import make_device as make_device  # noqa: PLC0414 -- a fixture, used by its name

MINUTE = timedelta(minutes=1)
ORIGINAL = Host(product="product", addresses=("eth0", "eth1"), machine_id="image")
CLONE = Host(product="other", addresses=("eth7",), machine_id="image")
STILL_ITSELF = [
    pytest.param(ORIGINAL, id="a backup restored"),
    pytest.param(Host(product="product", addresses=("eth9",), machine_id="image"), id="another network card"),
    pytest.param(Host(product="product", addresses=("eth0",), machine_id="reset"), id="its machine ID reset"),
    pytest.param(Host(addresses=("eth1",), machine_id="image"), id="seen by a user"),
    pytest.param(Host(), id="nothing to be seen"),
]
GIVEN_UP = "given up: it was started on another host"


def told(site: Site, words: str) -> list[str]:
    return [line for line in site.log if words in line]


def approve_all(site: Site) -> None:
    for waiting in site.ca.store.all_waiting():
        site.ca.store.decide(waiting, "approved")


@pytest.fixture
def pending(make_site: Sites) -> Site:
    """An image taken while the first request waits for a person."""
    site = make_site(Settings(lifetime=90 * DAY, manual=True))
    site.host = ORIGINAL
    site.write()
    assert site.run().result is Result.PENDING
    return site


def restored(site: Site) -> None:
    """The state directory is lost and comes back from a backup: other inodes, other times."""
    shutil.copytree(site.path("state"), site.path("backup"))
    shutil.rmtree(site.path("state"))
    shutil.copytree(site.path("backup"), site.path("state"), copy_function=shutil.copyfile)


def test_a_clone_asks_for_a_key_of_its_own(pending: Site) -> None:
    asked = pending.transaction
    pending.host = CLONE
    pending.clock.advance(10 * MINUTE)
    assert pending.run().result is Result.PENDING
    assert asked is not None
    assert pending.transaction is not None
    assert pending.transaction.id != asked.id
    assert pending.transaction.transaction_id != asked.transaction_id
    assert [each.stem for each in (pending.keystore_directory / "shadow").iterdir()] == [pending.transaction.id]
    assert told(pending, GIVEN_UP)
    assert "abandoned" in pending.events()


@pytest.mark.parametrize("host", STILL_ITSELF)
def test_the_host_itself_goes_on(pending: Site, host: Host) -> None:
    restored(pending)
    pending.host = host
    approve_all(pending)
    pending.clock.advance(10 * MINUTE)
    assert pending.run().result is Result.ENROLLED
    assert len(pending.ca.issued()) == 1
    assert not told(pending, "another host")


def test_a_journal_without_a_host_is_believed(pending: Site) -> None:
    assert pending.transaction is not None
    older = pending.transaction.at(pending.transaction.phase, host=None)
    Journal(pending.keystore_directory).write(older)
    pending.host = CLONE
    approve_all(pending)
    pending.clock.advance(10 * MINUTE)
    assert pending.run().result is Result.ENROLLED


def test_a_staged_shadow_is_not_put_in_place_by_a_clone(make_device: Devices) -> None:
    device = make_device(Settings(lifetime=90 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY))
    device.host = ORIGINAL
    device.live(device.day(310))
    staged = Journal(device.keystore_directory, "rollover").open()
    assert staged is not None
    device.host = CLONE
    device.live(device.day(311))
    another = Journal(device.keystore_directory, "rollover").open()
    assert another is not None
    assert another.id != staged.id
    assert another.serial != staged.serial
    assert told(device, f"rollover {GIVEN_UP}")
    device.live(device.day(366))
    assert device.look() == "identity 2, shadow none, ca_file 2, valid"


def test_nor_at_the_hour_of_the_switch(make_device: Devices) -> None:
    device = make_device(Settings(lifetime=90 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY))
    device.host = ORIGINAL
    device.live(device.day(310))
    staged = Journal(device.keystore_directory, "rollover").open()
    assert staged is not None
    device.host = CLONE
    device.clock.now = device.day(366)
    device.run()
    assert facts.serial_hex(device.leaf()) != staged.serial
    assert told(device, f"rollover {GIVEN_UP}")


@pytest.fixture
def owed(make_site: Sites) -> Site:
    """An image taken when the pair was in place and its hook had failed."""
    site = make_site()
    site.host = ORIGINAL
    hook = recording_hook(site, "post", exit_code="1")
    site.write(f"hooks: {{post: [[{hook}]]}}")
    assert site.run().result is Result.FAILED
    site.path("post.exit").write_text("0")
    site.host = CLONE
    site.clock.advance(10 * MINUTE)
    return site


def test_owed_hooks_are_for_the_services_of_the_clone(owed: Site) -> None:
    before = owed.leaf()
    assert owed.run().result is Result.ENROLLED
    assert len(ran(owed, "post")) == 2
    assert owed.leaf() == before
    assert len(owed.ca.issued()) == 1


def shares(site: Site) -> bool:
    done = site.command("check", "--offline")
    return "that host may use it too" in " ".join(done.stdout.split())


def test_that_the_key_in_place_may_be_shared_is_told_until_it_is_replaced(owed: Site) -> None:
    owed.run()
    owed.run()
    [line] = told(owed, "that host may use it too")
    assert "certagent renew --force web" in line
    assert owed.events().count("copied") == 1
    assert shares(owed)
    before = keys.public_bytes(owed.leaf().public_key())
    assert owed.run(Wish.RENEW).result is Result.RENEWED
    assert keys.public_bytes(owed.leaf().public_key()) != before
    assert not shares(owed)


def test_a_key_that_is_kept_for_ever_stays_shared(make_site: Sites) -> None:
    site = make_site()
    site.host = ORIGINAL
    site.write("rekey: never")
    assert site.run().result is Result.ENROLLED
    site.host = CLONE
    assert site.run(Wish.RENEW).result is Result.RENEWED
    [line] = told(site, "that host may use it too")
    assert "certagent enroll --force web" in line
    assert shares(site)


LOST: dict[str, Callable[[Site], None]] = {
    "state.json": lambda site: (site.keystore_directory / "state.json").unlink(),
    "all of it, as on a tmpfs": lambda site: shutil.rmtree(site.path("state")),
}


@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
def test_without_memory_what_is_in_place_is_adopted(make_site: Sites, lose: Callable[[Site], None]) -> None:
    site = make_site()
    site.host = ORIGINAL
    site.write()
    assert site.run().result is Result.ENROLLED
    lose(site)
    site.log.clear()
    assert site.run().result is Result.NOTHING
    assert len(site.ca.issued()) == 1
    assert not told(site, "another host")
