from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent.lab import LabCA, Settings
from tests.introductions.maker import HearingCA, Maker
from tests.renewal.site import DAY, Clock, Site, start_lab

Sites = Callable[..., Site]


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "factory")


@pytest.fixture
def make_site(tmp_path: Path, maker: Maker) -> Iterator[Sites]:
    """`make_site(manual=True, ca=…)`: a device, and a lab that lets the maker's certificates introduce."""
    with ExitStack() as stack:

        def make(*, ca: type[LabCA] = HearingCA, real_time: bool = False, **settings: object) -> Site:
            clock = Clock(datetime.now(UTC)) if real_time else Clock()
            source = (lambda: datetime.now(UTC)) if real_time else clock
            given = {"lifetime": 90 * DAY, "makers": (maker.root.certificate,), **settings}
            lab = start_lab(tmp_path / "lab", source, Settings(**given), ca)  # type: ignore[arg-type]  # a test's own words
            return Site(tmp_path, clock, stack.enter_context(lab))

        yield make


@pytest.fixture
def site(make_site: Sites) -> Site:
    return make_site()
