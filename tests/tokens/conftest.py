from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent.lab import LabCA, Settings
from tests.renewal.site import DAY, Clock, start_lab
from tests.tokens.site import Place, TokenSite, forget_modules, make_softhsm, make_tpm, the_bus

Sites = Callable[..., TokenSite]


@pytest.fixture
def softhsm(tmp_path: Path) -> Iterator[Place]:
    yield from _lent(make_softhsm(tmp_path / "token"))


@pytest.fixture
def on_tpm(tmp_path: Path) -> Iterator[Place]:
    yield from _lent(make_tpm(tmp_path / "token", the_bus()))


@pytest.fixture(
    params=[
        pytest.param("softhsm", marks=pytest.mark.needs("softhsm")),
        pytest.param("on_tpm", marks=[pytest.mark.needs("tpm"), pytest.mark.slow], id="tpm"),
    ]
)
def place(request: pytest.FixtureRequest) -> Place:
    """Each of the tokens there are, in turn."""
    made = request.getfixturevalue(request.param)
    assert isinstance(made, Place)
    return made


def _lent(place: Place) -> Iterator[Place]:
    place.lend()
    yield place
    forget_modules()


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Sites]:
    """Makes devices: `make_site(place, Settings(…), real_time=True)`."""
    with ExitStack() as stack:

        def make(
            place: Place, settings: Settings | None = None, *, ca: type[LabCA] = LabCA, real_time: bool = False
        ) -> TokenSite:
            clock = Clock(datetime.now(UTC)) if real_time else Clock()
            source = (lambda: datetime.now(UTC)) if real_time else clock
            lab = start_lab(tmp_path / "lab", source, settings or Settings(lifetime=90 * DAY), ca)
            return TokenSite(tmp_path, clock, stack.enter_context(lab), place=place)

        yield make
