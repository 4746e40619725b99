"""`activate_in`: the renewal goes on; swap and hooks wait for their hour, unless the certificate would end first."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from certagent.lab import Settings
from certagent.policy import Action, Condition
from certagent.transaction.renewal import Wish, advance
from certagent.transaction.report import Outcome, Result
from tests.renewal.site import DAY, Site, Sites, ran, recording_hook

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
TUESDAY = datetime(2026, 12, 1, 12, tzinfo=UTC)  # when a site begins
SATURDAY = datetime(2026, 12, 5, 1, tzinfo=UTC)  # 02:00 in Berlin
WINDOW = "activate_in: [Sat-Sun 02:00-05:00]"
READY = "the successor is ready, and waits for Sat 5 Dec 02:00"
REMEDY = "`certagent renew --now web` does it at once"


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def at_once(site: Site, wish: Wish = Wish.NOW) -> Outcome:
    return advance(replace(site.context(), at_once=True), wish, lambda: False)


def test_the_renewal_goes_on_and_the_swap_waits(site: Site) -> None:
    post = recording_hook(site, "post")
    site.write(f"{WINDOW}\nhooks: {{post: [[{post}]]}}")
    assert site.run().result is Result.ENROLLED, "there is nothing that could serve until then"
    old = site.leaf()
    outcome = site.run(Wish.RENEW)
    assert (outcome.result, outcome.state, outcome.message, outcome.hint) == (
        Result.WAITING,
        Condition.READY,
        READY,
        REMEDY,
    )
    assert (outcome.next_action, outcome.next_action_at) == (Action.RESUME, SATURDAY)
    for moment, result in ((TUESDAY, Result.NOTHING), (SATURDAY - MINUTE, Result.NOTHING), (SATURDAY, Result.RENEWED)):
        assert site.leaf() == old
        site.clock.now = moment
        assert site.run().result is result
    assert site.leaf() != old
    assert len(ran(site, "post")) == 2
    assert len(site.ca.issued()) == 2


@pytest.mark.parametrize(
    ("wish", "result"),
    [
        pytest.param(Wish.NOW, Result.WAITING, id="renew"),
        pytest.param(Wish.RENEW, Result.WAITING, id="renew --force"),
        pytest.param(Wish.ENROLL, Result.WAITING, id="enroll --force"),
        pytest.param(Wish.COMPROMISED, Result.RENEWED, id="renew --compromised"),
    ],
)
def test_a_person_s_wish_waits_too_unless_others_know_the_key(site: Site, wish: Wish, result: Result) -> None:
    site.write(WINDOW)
    site.run()
    site.run(Wish.RENEW)
    assert site.run(wish).result is result


@pytest.mark.parametrize("wish", [Wish.NOW, Wish.RENEW, Wish.ENROLL])
def test_a_person_may_pass_it_over(site: Site, wish: Wish) -> None:
    site.write(WINDOW)
    site.run()
    site.run(Wish.RENEW)
    assert at_once(site, wish).result in (Result.RENEWED, Result.ENROLLED)
    assert len(site.ca.issued()) == 2


def test_what_a_person_passed_over_once_is_no_rule_for_the_next_try(site: Site) -> None:
    pre = recording_hook(site, "pre", exit_code="1")
    site.write(WINDOW)
    site.run()
    site.write(f"{WINDOW}\nhooks: {{pre: [[{pre}]]}}")
    assert at_once(site, Wish.RENEW).result is Result.FAILED
    assert site.state.next_action_at == SATURDAY
    site.clock.advance(HOUR)
    assert site.run().result is Result.NOTHING
    assert len(ran(site, "pre")) == 1


def test_a_lost_pair_does_not_wait(site: Site) -> None:
    site.write(WINDOW)
    site.run()
    site.run(Wish.RENEW)
    site.certificate.unlink()
    site.key.unlink()
    assert site.run().result is Result.ENROLLED


@pytest.mark.parametrize(
    ("at", "result"),
    [
        pytest.param(TUESDAY + 76 * DAY, Result.WAITING, id="valid"),
        pytest.param(TUESDAY + 91 * DAY, Result.ENROLLED, id="expired"),
    ],
)
def test_a_pair_that_somebody_restores_gets_a_successor_of_its_own(site: Site, at: datetime, result: Result) -> None:
    site.write(f"{WINDOW}\nrenew_at: 50%")
    site.run()
    copy = site.certificate.read_bytes(), site.key.read_bytes()
    site.clock.advance(30 * DAY)
    at_once(site, Wish.RENEW)
    site.clock.now = at
    assert site.run().result is Result.WAITING
    site.certificate.write_bytes(copy[0])
    site.key.write_bytes(copy[1])
    assert site.run().result is result
    assert "abandoned" in site.events()
    assert len(site.ca.issued()) == 4


@pytest.mark.parametrize(
    ("ends", "result"),
    [
        pytest.param(SATURDAY + HOUR + MINUTE, Result.WAITING, id="long enough behind the opening"),
        pytest.param(SATURDAY + HOUR - MINUTE, Result.RENEWED, id="just behind it"),
        pytest.param(SATURDAY - DAY, Result.RENEWED, id="before it"),
    ],
)
def test_the_end_of_the_certificate_in_place_comes_first(make_site: Sites, ends: datetime, result: Result) -> None:
    site = make_site(Settings(lifetime=ends - TUESDAY))
    site.write(WINDOW)
    site.run()
    site.ca.settings = replace(site.ca.settings, lifetime=90 * DAY)
    site.clock.advance(HOUR)
    assert site.run(Wish.RENEW).result is result
    assert ("out of hours" in site.events()) is (result is Result.RENEWED)
    assert any("activate_in is ignored" in line for line in site.log) is (result is Result.RENEWED)


def test_in_its_hour_it_is_not_told_as_passed_over(site: Site) -> None:
    site.write(WINDOW)
    site.run()
    site.clock.now = SATURDAY + HOUR
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert "out of hours" not in site.events()


def owing(site: Site) -> None:
    """Renewed in the window, its hook failing until the window is closed."""
    post = recording_hook(site, "post")
    site.write(f"{WINDOW}\nhooks: {{post: [[{post}]]}}")
    site.run()
    site.clock.now = SATURDAY
    site.path("post.exit").write_text("1")
    assert site.run(Wish.RENEW).result is Result.FAILED
    for _ in range(12):
        before, moment = len(ran(site, "post")), site.state.next_action_at
        assert moment is not None
        if moment >= SATURDAY + 3 * HOUR:
            break
        site.clock.now = moment
        assert site.run().result is Result.FAILED
        assert len(ran(site, "post")) == before + 1
    site.path("post.exit").write_text("0")


def test_owed_hooks_are_tried_until_the_window_closes_and_in_the_next(site: Site) -> None:
    owing(site)
    tried = len(ran(site, "post"))
    assert tried > 5
    assert site.state.next_action_at == SATURDAY + DAY
    site.clock.now = SATURDAY + 8 * HOUR
    assert site.run().result is Result.NOTHING
    outcome = site.run(Wish.NOW)
    assert (outcome.result, outcome.state) == (Result.WAITING, Condition.FAILED)
    assert (outcome.message, outcome.hint) == ("hooks have yet to run, and wait for Sun 6 Dec 02:00", REMEDY)
    site.clock.now = SATURDAY + DAY
    assert site.run().result is Result.RENEWED
    assert len(ran(site, "post")) == tried + 1


def test_owed_hooks_do_not_wait_if_a_person_says_so(site: Site) -> None:
    owing(site)
    site.clock.now = SATURDAY + 8 * HOUR
    assert at_once(site).result is Result.RENEWED


def test_owed_hooks_do_not_wait_for_longer_than_the_old_certificate_serves(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=SATURDAY + DAY - TUESDAY))  # which ends when the next window opens
    owing(site)
    assert site.state.next_action_at is not None
    assert site.state.next_action_at < SATURDAY + DAY
    site.clock.now = site.state.next_action_at
    assert site.run().result is Result.RENEWED


def test_the_hooks_of_a_first_certificate_do_not_wait(site: Site) -> None:
    post = recording_hook(site, "post", exit_code="1")
    site.write(f"{WINDOW}\nhooks: {{post: [[{post}]]}}")
    site.run()
    site.path("post.exit").write_text("0")
    site.clock.advance(HOUR)
    assert site.run().result is Result.ENROLLED


def test_what_is_trusted_is_there_at_once_and_its_hook_waits(site: Site) -> None:
    changed = recording_hook(site, "changed")
    site.write(WINDOW)
    site.run()
    site.write(f"{WINDOW}\nca_file: {site.path('files/ca.pem')}\nhooks: {{ca_changed: [[{changed}]]}}")
    site.run()
    assert site.path("files/ca.pem").exists()
    assert ran(site, "changed") == []
    assert (site.state.next_action, site.state.next_action_at) == (Action.HOOKS, SATURDAY)
    site.clock.now = SATURDAY
    assert site.run().result is Result.TRUSTED
    assert len(ran(site, "changed")) == 1


def test_the_switch_to_the_next_ca_waits(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY, overlap=30 * DAY))
    site.write(WINDOW)
    site.run()
    switch_at = None
    while site.state.next_action != Action.SWITCH:
        assert site.state.next_action_at is not None
        site.clock.now = site.state.next_action_at + timedelta(seconds=1)
        site.run()
        staged = site.context().configured.rollover.open()
        switch_at = staged.switch_at if staged else None
    opens = site.state.next_action_at
    assert switch_at is not None
    assert opens is not None
    assert (opens.astimezone().strftime("%a %H:%M"), opens > switch_at) == ("Sat 02:00", True)
    old = site.leaf()
    for moment in (switch_at + MINUTE, opens - MINUTE):
        site.clock.now = moment
        assert site.run().result is Result.NOTHING
        assert site.leaf() == old
    site.clock.now = opens
    assert site.run().result is Result.ROLLED_OVER


def test_windows_that_are_taken_out_of_the_configuration_are_waited_for_no_longer(site: Site) -> None:
    site.write(WINDOW)
    site.run()
    site.run(Wish.RENEW)
    site.write()
    assert site.run().result is Result.RENEWED


def test_the_command_says_what_it_waits_for_and_how_to_pass_it_over(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY), real_time=True)
    tomorrow = (datetime.now().astimezone() + DAY).strftime("%a")
    site.write(f"activate_in: [{tomorrow} 12:00-12:01]")
    site.command("enroll", "web")
    waits = site.command("renew", "--force", "web")
    assert waits.returncode == 3
    assert waits.stdout.startswith("web: waiting: the successor is ready, and waits for ")
    assert REMEDY in waits.stdout
    listed = site.command("status").stdout
    assert re.search(r"^web +ready .* activate in \d+ h", listed, re.MULTILINE)
    assert "web: the successor is ready, and waits for " in listed
    assert json.loads(site.command("status", "--json").stdout)["keystores"]["web"]["state"] == "ready"
    assert re.search(r"resume +in its window, \w+ \d+ \w+ 12:00: a successor", site.command("plan").stdout)
    checked = site.command("check", "--offline").stdout
    assert f"the successor is ready, and waits for {tomorrow}" in checked
    assert REMEDY in checked
    foreseen = site.command("renew", "--dry-run", "--now")
    assert foreseen.stdout.startswith("web: would resume now (--now)")
    done = site.command("renew", "--now", "web")
    assert (done.returncode, done.stdout.partition(",")[0]) == (0, "web: renewed")
