"""Sites with a CA, as renewals have them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent.lab import LabServer, Settings
from tests.renewal.conftest import make_site
from tests.renewal.site import DAY, Clock, Site, start_lab

from .gateway import HOUR, Gateway, Publish

__all__ = ["make_site"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """One for all: making its keys is what costs."""
    settings = Settings(lifetime=90 * DAY, crl_lifetime=10 * HOUR)
    with start_lab(tmp_path_factory.mktemp("crl") / "lab", Clock(), settings) as running:
        yield running


@pytest.fixture(scope="module")
def enrolled(lab: LabServer, tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(tmp_path_factory.mktemp("enrolled"), Clock(), lab)
    made.write()
    made.run()
    return made


@pytest.fixture
def gateway(enrolled: Site, lab: LabServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """A device of its own each time, with a copy of the one certificate."""
    clock = Clock()
    monkeypatch.setattr(lab.ca, "clock", clock)
    for serial in (lab.ca.store.directory / "revoked").iterdir():
        serial.unlink()
    for name in ("state", "files"):
        shutil.copytree(enrolled.path(name), tmp_path / name)
    made = Gateway(Site(tmp_path, clock, lab))
    made.write()
    return made


@pytest.fixture
def publish(lab: LabServer, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Have the CA go on publishing this list."""
    return lambda revocations: monkeypatch.setattr(lab.ca, "crl", lambda _name="": revocations)
