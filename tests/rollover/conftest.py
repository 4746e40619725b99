from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from certagent.lab import Settings
from tests.renewal.site import Clock, start_lab
from tests.rollover.device import Device, RollingCA

Devices = Callable[..., Device]


@pytest.fixture
def make_device(tmp_path: Path) -> Iterator[Devices]:
    """Makes devices: `make_device(settings, ca=MisbehavingCA, keystore=…, authority=…)`."""
    with ExitStack() as stack:

        def make(
            settings: Settings, *, ca: type[RollingCA] = RollingCA, keystore: str = "", authority: str = ""
        ) -> Device:
            clock = Clock()
            lab = stack.enter_context(start_lab(tmp_path / "lab", clock, settings, ca))
            return Device(tmp_path, clock, lab, further=(keystore, authority))

        yield make
