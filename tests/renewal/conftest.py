from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent.lab import LabCA, Settings
from tests.renewal.dating import Dates, DatingCA, date_by
from tests.renewal.site import DAY, Clock, Site, Sites, start_lab


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Sites]:
    """Makes sites: `make_site(settings, ca=MisbehavingCA, real_time=True)`."""
    with ExitStack() as stack:

        def make(settings: Settings | None = None, *, ca: type[LabCA] = LabCA, real_time: bool = False) -> Site:
            clock = Clock(datetime.now(UTC)) if real_time else Clock()
            source = (lambda: datetime.now(UTC)) if real_time else clock
            lab = start_lab(tmp_path / "lab", source, settings or Settings(lifetime=90 * DAY), ca)
            return Site(tmp_path, clock, stack.enter_context(lab))

        yield make


@pytest.fixture
def dated(make_site: Sites) -> Callable[[Dates], Site]:
    """A site whose CA dates its certificates so; renewals keep the key, which costs less."""

    def make(dates: Dates) -> Site:
        site = make_site(Settings(lifetime=90 * DAY), ca=DatingCA)
        date_by(site, dates)
        site.write("rekey: never")
        return site

    return make


@pytest.fixture
def site(make_site: Sites) -> Site:
    made = make_site()
    made.write()
    return made
