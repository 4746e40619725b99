"""One look by a clock that ran away costs nothing: the next one, by the right clock, goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from certagent.lab import Settings
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site, Sites, ran, recording_hook
from tests.rollover.conftest import Devices
from tests.rollover.conftest import make_device as make_device  # noqa: PLC0414 -- a fixture, used by its name
from tests.rollover.device import Device, RollingCA

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
# A dead battery before NTP, and what firmware makes of it.
WRONG = [pytest.param(days * DAY, id=f"{days:+} d") for days in (366, 730, 10 * 365, 900 * 365)]


@pytest.fixture
def site(make_site: Sites) -> Site:
    """Enrolled; it has no NTP."""
    site = make_site(Settings(lifetime=90 * DAY, ca_lifetime=30 * 365 * DAY))
    site.keeps_time = False
    site.write()
    assert site.run().result is Result.ENROLLED
    return site


def look_wrongly(site: Site, ahead: timedelta) -> None:
    """One look by a clock that is so much ahead; nothing is done, and it says until when."""
    site.clock.advance(ahead)
    waiting = site.run()
    assert (waiting.result, waiting.next_action_at) == (Result.WAITING, site.clock.now + HOUR)
    assert "after the last look" in (waiting.message or "")
    site.clock.advance(-ahead)


@pytest.mark.parametrize("ahead", WRONG)
def test_a_renewal_comes_at_its_time(site: Site, ahead: timedelta) -> None:
    look_wrongly(site, ahead)
    at = site.run().next_action_at
    assert at is not None
    site.clock.now = at
    assert site.run().result is Result.RENEWED


@pytest.mark.parametrize("ahead", WRONG)
def test_a_pending_request_is_polled_and_not_given_up(make_site: Sites, ahead: timedelta) -> None:
    site = make_site(Settings(lifetime=90 * DAY, manual=True))
    site.keeps_time = False
    site.write(authority="poll_limit: 7d")
    assert site.run().result is Result.PENDING
    asked = site.transaction
    look_wrongly(site, ahead)
    for waiting in site.ca.store.all_waiting():
        site.ca.store.decide(waiting, "approved")
    site.clock.advance(5 * MINUTE)
    assert site.run().result is Result.ENROLLED
    assert asked is not None
    assert len(site.ca.issued()) == 1


@pytest.mark.parametrize("ahead", WRONG)
def test_owed_hooks_run(make_site: Sites, ahead: timedelta) -> None:
    site = make_site()
    site.keeps_time = False
    hook = recording_hook(site, "post", exit_code="1")
    site.write(f"hooks: {{post: [[{hook}]]}}")
    assert site.run().result is Result.FAILED
    look_wrongly(site, ahead)
    site.path("post.exit").write_text("0")
    site.clock.advance(MINUTE)
    assert site.run().result is Result.ENROLLED
    assert len(ran(site, "post")) == 2


@pytest.mark.parametrize("ahead", WRONG)
def test_a_staged_shadow_waits_for_its_own_time(make_device: Devices, ahead: timedelta) -> None:
    device: Device = make_device(Settings(lifetime=90 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY))
    device.live(device.day(310))
    device.keeps_time = False
    before = device.look()
    assert before.startswith("identity 1, shadow 2, ca_file 1+2")
    look_wrongly(device, ahead)
    device.run()
    assert device.look() == before
    device.keeps_time = True
    device.live(device.day(366))
    assert device.look() == "identity 2, shadow none, ca_file 2, valid"


# Where nothing warned: the very first look was by a wrong clock, or the wrong clock went on for so long that it was
# believed. Then things failed by it, and what was remembered of that is not obeyed.


def test_a_pause_set_by_a_wrong_clock_is_over_with_the_right_one(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, ca_lifetime=30 * 365 * DAY), ca=RollingCA)
    assert isinstance(site.ca, RollingCA)
    site.write("renew_at: 50%")
    site.run()
    site.ca.down = True
    site.clock.advance(60 * DAY + 730 * DAY)
    failed = site.run()
    assert failed.result is Result.FAILED
    assert failed.next_action_at is not None
    assert failed.next_action_at > site.clock.now
    site.clock.advance(-730 * DAY)
    site.ca.down = False
    assert site.run().result is Result.RENEWED


def test_a_request_begun_in_the_future_has_its_limit_from_now_on(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, ca_lifetime=30 * 365 * DAY, manual=True))
    site.write(authority="poll_limit: 7d\npoll_interval: 1h")
    site.clock.advance(730 * DAY)
    assert site.run().result is Result.PENDING
    site.clock.advance(-730 * DAY)
    begun = site.clock.now
    assert site.run().result is Result.PENDING
    assert site.transaction is not None
    assert site.transaction.started_at == begun
    assert site.transaction.poll_at == begun + HOUR


def test_what_goes_on_for_an_hour_is_believed(site: Site) -> None:
    site.clock.advance(730 * DAY)
    results = []
    for _ in range(7):
        results.append(site.run().result)
        site.clock.advance(10 * MINUTE)
    assert results == [Result.WAITING] * 6 + [Result.ENROLLED]


def test_a_person_believes_it_at_once(site: Site) -> None:
    site.clock.advance(730 * DAY)
    assert site.run().result is Result.WAITING
    assert site.run(Wish.NOW).result is Result.ENROLLED
    assert site.run().result is Result.NOTHING


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda file: file.unlink(), id="lost"),
        pytest.param(lambda file: file.write_bytes(b""), id="empty"),
        pytest.param(lambda file: file.write_bytes(b"\x00" * 64), id="damaged"),
        pytest.param(lambda file: (file.unlink(), file.mkdir()), id="a directory"),
    ],
)
def test_without_its_memory_the_clock_is_believed(site: Site, spoil: Callable[[object], object]) -> None:
    spoil(site.path("state/clock.json"))
    site.clock.advance(730 * DAY)
    assert site.run().result is Result.ENROLLED


COMMANDS = [
    pytest.param(("renew", "--due"), 3, "web: waiting: the clock says", id="renew --due"),
    pytest.param(("renew", "--dry-run"), 0, "web: nothing: the clock says", id="renew --dry-run"),
    pytest.param(("status",), 0, "after the last look: certagent trusts it from", id="status"),
    pytest.param(("check", "--offline"), 1, "after the last look: certagent trusts it from", id="check"),
    pytest.param(("health",), 3, "UNKNOWN - the clock says", id="health"),
]


@pytest.mark.parametrize(("words", "code", "told"), COMMANDS)
def test_every_command_says_so(make_site: Sites, words: tuple[str, ...], code: int, told: str) -> None:
    """The commands run on the real clock; the last look was two years before it."""
    site = make_site(Settings(lifetime=90 * DAY, ca_lifetime=30 * 365 * DAY), real_time=True)
    site.write()
    assert site.command("renew", "--due").returncode == 0
    memory = site.path("state/clock.json")
    year = str(site.clock.now.year)
    memory.write_text(memory.read_text().replace(f'"looked_at":"{year}', f'"looked_at":"{int(year) - 2}'))
    done = site.command(*words)
    assert told in done.stdout + done.stderr
    assert done.returncode == code
