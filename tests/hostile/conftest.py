"""Devices with a certificate in place, each with a CA of its own that is about to turn bad."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from certagent.lab import Settings
from certagent.transaction.report import Result
from tests.hostile.lab import Hostile, start_hostile
from tests.hostile.takeover import devices
from tests.renewal.site import DAY, Clock, Site, start_lab

pytest.register_assert_rewrite("tests.hostile.case")
Enrolled = Callable[..., Site]


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """An enrolled device and its CA, without and with an RA; made once, because keys take their time."""
    made = {}
    for ra in (False, True):
        made[ra] = tmp_path_factory.mktemp("enrolled")
        with start_lab(made[ra] / "lab", Clock(), Settings(lifetime=90 * DAY, ra=ra)) as server:
            site = Site(made[ra], Clock(), server)
            site.write()
            assert site.run().result is Result.ENROLLED
    return made


@pytest.fixture
def enrolled(tmp_path: Path, templates: dict[bool, Path]) -> Iterator[Enrolled]:
    """Makes such a device: `enrolled(settings, ra=True)`; its CA is `Hostile`."""
    with ExitStack() as stack:

        def make(settings: Settings | None = None, *, ra: bool = False) -> Site:
            shutil.copytree(templates[ra], tmp_path, dirs_exist_ok=True)
            clock = Clock()
            server = stack.enter_context(
                start_hostile(tmp_path / "lab", clock, settings or Settings(lifetime=90 * DAY))
            )
            site = Site(tmp_path, clock, server)
            ca = hostile(site)
            stack.callback(ca.released.set)
            site.write()
            return site

        yield make


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """A device on the real clock that has seen its CA: `device("fingerprint")`, `device("anchor")`."""
    with devices(tmp_path) as make:
        yield make


def hostile(site: Site) -> Hostile:
    assert isinstance(site.ca, Hostile)
    return site.ca
