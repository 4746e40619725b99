"""What is in place and not valid: told, kept from coming about, and taken back where the pair before it is valid."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.cli.health import Level, judged
from certagent.policy import Action, Condition
from certagent.status.snapshot import Snapshot, take_snapshot
from certagent.transaction.journal import Kind, Phase
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.dating import Dates, date_by
from tests.renewal.site import DAY, Site, ran, recording_hook
from tests.renewal.test_kill import killed

MINUTE = timedelta(minutes=1)


def seen(site: Site) -> Snapshot:
    context = site.context()
    return take_snapshot(context.configured, lambda: context.authorities, site.clock())


def health(site: Site) -> tuple[Level, str]:
    return judged([seen(site)], site.clock(), timedelta(hours=2))


# A CA whose clock is ahead


def test_a_renewal_whose_successor_is_not_valid_yet_waits_for_it(dated: Callable[[Dates], Site]) -> None:
    site = dated(lambda now: (now, now + 90 * DAY))
    site.run()
    old = site.leaf()
    date_by(site, lambda now: (now + 3 * MINUTE, now + 90 * DAY))
    site.clock.advance(60 * DAY)
    outcome = site.run()
    assert (outcome.result, outcome.next_action) == (Result.WAITING, Action.RESUME)
    assert outcome.next_action_at == site.clock() + 3 * MINUTE
    assert site.leaf() == old
    assert site.run().result is Result.NOTHING
    site.clock.advance(3 * MINUTE)
    assert site.run().result is Result.RENEWED
    assert (site.pair_matches(), len(site.ca.issued())) == (True, 2)


def test_it_is_waited_for_no_longer_than_what_is_in_place_is_valid(dated: Callable[[Dates], Site]) -> None:
    site = dated(lambda now: (now, now + 90 * DAY))
    site.run()
    ends = site.leaf().not_valid_after_utc
    date_by(site, lambda now: (now + 3 * MINUTE, now + 90 * DAY))
    site.clock.now = ends - MINUTE
    assert site.run().next_action_at == ends
    site.clock.advance(MINUTE)
    assert site.run().result is Result.RENEWED


def test_a_first_certificate_is_put_in_place_and_told_to_be_early(dated: Callable[[Dates], Site]) -> None:
    site = dated(lambda now: (now + 3 * MINUTE, now + 90 * DAY))
    outcome = site.run()
    assert (outcome.result, outcome.state) == (Result.ENROLLED, Condition.NOT_YET_VALID)
    assert health(site) == (Level.CRITICAL, "web: not valid for another 3 min: is the clock right?")
    site.clock.advance(3 * MINUTE)
    assert health(site)[0] is Level.OK


# The way back


@pytest.fixture
def expired(dated: Callable[[Dates], Site]) -> Site:
    """What is in place, put there by hand and short, has expired; the pair before it has weeks to live; no CA."""
    site = dated(lambda now: (now, now + 90 * DAY))
    hook = recording_hook(site, "post")
    site.write(f"hooks: {{post: [[{hook}]]}}")
    return with_a_short_successor(site)


def with_a_short_successor(site: Site) -> Site:
    site.run()
    site.clock.advance(DAY)
    date_by(site, lambda now: (now, now + 7 * DAY))
    assert site.run(Wish.RENEW).result is Result.RENEWED
    site.clock.advance(8 * DAY)
    assert seen(site).assessment.condition is Condition.EXPIRED
    site.server.stop()
    return site


def first(site: Site) -> bool:
    """Whether the pair in place is the first one there was."""
    return site.pair_matches() and site.leaf().not_valid_after_utc - site.leaf().not_valid_before_utc > 80 * DAY


def test_a_pair_that_is_valid_comes_back_for_one_that_is_not(expired: Site) -> None:
    outcome = expired.run()
    assert (outcome.result, outcome.state, outcome.next_action) == (Result.PUT_BACK, Condition.VALID, Action.RENEW)
    assert first(expired)
    assert ran(expired, "post")[-1].split()[:2] == ["post", "web"]
    assert len(ran(expired, "post")) == 3
    assert expired.events()[-1] == "put back"
    assert (expired.transaction, expired.leftovers()) == (None, [])
    assert expired.run().result is Result.NOTHING


def test_a_request_that_is_open_gives_way(expired: Site) -> None:
    """As when the CA was down while the certificate expired: an attempt is under way since."""
    expired.clock.advance(-2 * DAY)
    assert expired.run().result is Result.FAILED
    expired.clock.advance(2 * DAY)
    assert expired.run().result is Result.PUT_BACK
    assert first(expired)


def test_hooks_that_fail_are_owed_and_come_before_the_next_renewal(expired: Site) -> None:
    expired.path("post.exit").write_text("1")
    assert expired.run().result is Result.FAILED
    assert first(expired)
    found = expired.transaction
    assert found is not None
    assert (found.kind, found.phase) == (Kind.PUT_BACK, Phase.ACTIVATED)
    expired.path("post.exit").write_text("0")
    expired.clock.advance(80 * DAY)  # due by now
    before = len(ran(expired, "post"))
    expired.run(Wish.NOW)
    assert len(ran(expired, "post")) == before + 1


def test_what_somebody_else_put_there_stays(expired: Site) -> None:
    (expired.keystore_directory / "state.json").unlink()
    expired.run()
    assert not first(expired)


def test_an_old_pair_that_is_not_valid_either_stays_away(expired: Site) -> None:
    expired.clock.advance(90 * DAY)
    expired.run()
    assert not first(expired)


def test_an_old_pair_that_cannot_be_read_is_told(expired: Site) -> None:
    kept = expired.keystore_directory / "previous" / "key.pem"
    kept.write_text("hello")
    expired.run()
    assert not first(expired)
    assert any("neither does the old one" in line for line in expired.log)


@pytest.mark.parametrize(
    ("synchronised", "back"),
    [
        pytest.param(True, True, id="kept right by NTP: it was wrong at the swap"),
        pytest.param(False, False, id="set by nobody knows whom: a device that lost its clock"),
    ],
)
def test_a_clock_that_went_back_is_believed_if_something_keeps_it_right(
    dated: Callable[[Dates], Site], synchronised: bool, back: bool
) -> None:
    site = dated(lambda now: (now - 10 * DAY, now + 90 * DAY))
    site.run()
    site.clock.advance(30 * DAY)
    date_by(site, lambda now: (now, now + 60 * DAY))
    site.run(Wish.RENEW)
    site.clock.advance(-29 * DAY)
    site.synchronised = synchronised
    assert seen(site).assessment.condition is Condition.NOT_YET_VALID
    assert site.run().result is (Result.PUT_BACK if back else Result.NOTHING)
    assert first(site) is back
    if not back:
        assert health(site) == (Level.CRITICAL, "web: not valid for another 29 d: is the clock right?")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["swap: rename", "swap: symlink"])
def test_a_way_back_killed_anywhere_is_gone_to_its_end(dated: Callable[[Dates], Site], way: str) -> None:
    site = dated(lambda now: (now, now + 90 * DAY))
    hook = recording_hook(site, "post")
    site.write(f"{way}\nrekey: never\nhooks: {{post: [[{hook}]]}}")
    with_a_short_successor(site)
    step, alive, phases = 0, True, set()
    start = snapshot_of(site)
    while alive:
        step += 1
        restore(site, start)
        alive = killed(step, site.run)
        found = site.transaction
        phases.add(found.phase if found else None)
        assert all(each.error is None for each in site.recover())
        assert site.pair_matches(), step
        site.run()
        assert first(site), step
        assert site.transaction is None, step
        assert site.leftovers() == [], step
    assert phases >= {None, Phase.ISSUED, Phase.STAGING, Phase.ACTIVATING, Phase.ACTIVATED}


def snapshot_of(site: Site) -> Path:
    kept = site.directory.with_name(f"{site.directory.name}-kept")
    for name in ("files", "state", "live"):
        if site.path(name).exists():
            shutil.copytree(site.path(name), kept / name, symlinks=True)
    return kept


def restore(site: Site, kept: Path) -> None:
    for name in ("files", "state", "live"):
        shutil.rmtree(site.path(name), ignore_errors=True)
        if (kept / name).exists():
            shutil.copytree(kept / name, site.path(name), symlinks=True)
