"""What a real worker leaves, as the agent sees it in its sweep: left alone where all is well, else another worker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent.agent import schedule
from certagent.agent.sights import Sights
from certagent.config.load import load_for_agent
from certagent.lab import Settings
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site, Sites, recording_hook


def left_alone(site: Site) -> bool:
    served = load_for_agent(site.config)
    sights = Sights(Path(served.state_dir))
    sights.begin(served.authorities)
    look = sights.of("web", served.keystores["web"])
    return look is not None and schedule.is_quiet(look, datetime.now(UTC))


@pytest.fixture
def site(make_site: Sites) -> Site:
    site = make_site(Settings(lifetime=90 * DAY), real_time=True)
    site.write()
    return site


def test_before_the_first_look_nothing_is_known(site: Site) -> None:
    assert not left_alone(site)


def test_after_an_enrollment_a_renewal_and_a_look_it_is_left_alone(site: Site) -> None:
    for wish, result in ((Wish.DUE, Result.ENROLLED), (Wish.RENEW, Result.RENEWED), (Wish.DUE, Result.NOTHING)):
        assert site.run(wish).result is result
        assert left_alone(site), wish


def key_removed(site: Site) -> None:
    site.key.unlink()


def defined_otherwise(site: Site) -> None:
    site.write("renew_at: 50%")


def authority_defined_otherwise(site: Site) -> None:
    site.write(authority="poll_interval: 7m")


def renewal_fails(site: Site) -> None:
    site.server.stop()
    assert site.run(Wish.RENEW).result is Result.FAILED


def hooks_owed(site: Site) -> None:
    site.write(f"hooks: {{post: [[{recording_hook(site, 'post', exit_code='1')}]]}}")
    site.run(Wish.RENEW)


@pytest.mark.parametrize(
    "happen", [key_removed, defined_otherwise, authority_defined_otherwise, renewal_fails, hooks_owed]
)
def test_when_something_happened_it_is_not(site: Site, happen: Callable[[Site], None]) -> None:
    site.run()
    happen(site)
    assert not left_alone(site)
