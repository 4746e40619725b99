"""How often a CA is asked whose certificates leave no room for `renew_at`: at a rhythm that fits their lives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise

from certagent.cli.health import Level, judged
from certagent.status.snapshot import Snapshot, take_snapshot
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.dating import Dates, date_by
from tests.renewal.site import DAY, Site

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def live(site: Site, length: timedelta) -> list[timedelta]:
    """Run whenever the worker said so; when certificates came, counted from the start."""
    start, came = site.clock(), []
    while site.clock() - start < length:
        outcome = site.run()
        if outcome.result in (Result.ENROLLED, Result.RENEWED):
            came.append(site.clock() - start)
        assert outcome.next_action_at is not None
        site.clock.now = max(outcome.next_action_at, site.clock() + SECOND)
    return came


def seen(site: Site) -> Snapshot:
    context = site.context()
    return take_snapshot(context.configured, lambda: context.authorities, site.clock())


def test_a_certificate_that_is_old_when_it_comes_is_renewed_in_what_is_left_of_its_life(
    dated: Callable[[Dates], Site],
) -> None:
    site = dated(lambda now: (now - DAY, now + 8 * HOUR))
    came = live(site, 3 * DAY)
    assert len(came) == 14
    assert {round((later - one) / MINUTE) for one, later in pairwise(came)} == {317}  # 66% of 8 h
    [note] = seen(site).pace_notes
    assert note.startswith(
        "renew_at had already passed when the certificate was issued: it applies to the remaining 8 h"
    )
    assert note in site.log


def test_what_somebody_else_put_there_late_is_renewed_at_once(dated: Callable[[Dates], Site]) -> None:
    site = dated(lambda now: (now - DAY, now + 8 * HOUR))
    site.run()
    (site.keystore_directory / "state.json").unlink()  # nobody remembers where it is from
    assert site.run().result is Result.RENEWED
    assert site.run().result is Result.NOTHING


def test_a_person_does_not_wait(dated: Callable[[Dates], Site]) -> None:
    site = dated(lambda now: (now - DAY, now + 8 * HOUR))
    site.run()
    assert site.run(Wish.NOW).result is Result.NOTHING
    assert site.run(Wish.RENEW).result is Result.RENEWED


def test_a_clock_set_back_is_no_reason_to_wait_longer(dated: Callable[[Dates], Site]) -> None:
    site = dated(lambda now: (now - 10 * DAY, now + 90 * DAY))
    site.clock.advance(2000 * DAY)
    site.run()
    site.clock.advance(-1 * DAY)
    assert seen(site).situation.arrival is None


def test_a_ca_whose_certificates_all_end_at_one_moment_is_asked_evenly(dated: Callable[[Dates], Site]) -> None:
    end = datetime.fromisoformat("2027-03-01T12:00:00Z")
    site = dated(lambda now: (now, end))  # 90 days
    came = live(site, 84 * DAY)
    pauses = [later - one for one, later in pairwise(came)]
    assert len(came) <= 7
    assert min(pauses) > 5 * DAY
    [note] = seen(site).pace_notes
    assert note.startswith(
        "renewing does not help: the new certificate expires no later than the one before, 2027-03-01;"
    )
    assert note in site.log
    site.clock.advance(-HOUR)  # it had come to the end
    level, text = judged([seen(site)], site.clock(), timedelta(hours=2))
    assert (level, "renewing does not help" in text) == (Level.WARNING, True)
    assert seen(site).assessment.reason == "the last renewal did not extend the certificate's life"


def test_once_renewals_gain_again_all_is_as_ever(dated: Callable[[Dates], Site]) -> None:
    end = datetime.fromisoformat("2027-03-01T12:00:00Z")
    site = dated(lambda now: (now, end))
    live(site, 80 * DAY)
    date_by(site, lambda now: (now, now + 90 * DAY))
    [*_, last] = live(site, 10 * DAY)
    assert last < 10 * DAY
    assert seen(site).pace_notes == ()
    assert seen(site).certificate is not None
    outcome = site.run()
    assert outcome.next_action_at is not None
    assert outcome.next_action_at - site.leaf().not_valid_before_utc == 90 * DAY * 0.66


def test_a_minute_is_a_life(dated: Callable[[Dates], Site]) -> None:
    site = dated(lambda now: (now, now + MINUTE))
    assert 13 <= len(live(site, 10 * MINUTE)) <= 17
    assert seen(site).pace_notes == ()


def test_hooks_that_fail_do_not_start_a_loop(dated: Callable[[Dates], Site]) -> None:
    site = dated(lambda now: (now - DAY, now + 8 * HOUR))
    site.write("rekey: never\nhooks: {post: [['false']]}")
    for _ in range(20):
        site.run()
        site.clock.advance(10 * MINUTE)
    assert len(site.ca.issued()) == 1
