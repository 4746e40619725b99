"""Pulling the plug during a rollover: the worker is killed ahead of each call by which it changes
anything, at the staging and at the switch, and then carried on. The end is right every time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from certagent.lab import Settings
from certagent.transaction.journal import Phase
from certagent.transaction.renewal import Wish
from tests.renewal.test_kill import killed
from tests.rollover.conftest import Devices
from tests.rollover.device import DAY, Device

SETTINGS = Settings(lifetime=90 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY)
STAGED = "identity 1, shadow 2, ca_file 1+2, staged"
SWITCHED = "identity 2, shadow none, ca_file 2, valid"


class Rewound:
    """The device's files and its CA's as they are now, to be had again any number of times."""

    def __init__(self, device: Device, kept: Path) -> None:
        self.device, self.kept = device, kept
        for name in ("state", "files", "live"):
            if device.path(name).exists():
                shutil.copytree(device.path(name), kept / name, symlinks=True)

    def restore(self) -> None:
        for name in ("state", "files", "live"):
            shutil.rmtree(self.device.path(name), ignore_errors=True)
            if (self.kept / name).exists():
                shutil.copytree(self.kept / name, self.device.path(name), symlinks=True)
        self.device.path("hooks.ran").write_text("")


def carry_on(device: Device) -> None:
    """As after a power cut: recover at boot, then what the agent would do now."""
    for recovered in device.recover():
        assert recovered.error is None
    assert device.pair_matches()  # what a consumer finds that starts now
    device.run(Wish.NOW)
    device.run(Wish.NOW)


def right(device: Device, looks: str) -> None:
    assert device.look() == looks
    assert device.pair_matches()
    assert device.leftovers() == []
    assert device.transaction is None
    kept = {device.staged.id} if device.staged else set()
    assert {each.stem for each in device.path("state/keystores/web/shadow").glob("*.pem")} == kept


def device_at(make_device: Devices, day: int, **options: str) -> Device:
    """Renewed as ever until its CA was 290 days old, and then not looked at until that day."""
    device = make_device(SETTINGS, **options)
    device.off(device.day(290))
    device.run()
    device.off(device.day(day))
    return device


@pytest.mark.slow
def test_killed_anywhere_on_the_way_to_a_shadow(make_device: Devices, tmp_path: Path) -> None:
    device = device_at(make_device, 300)
    before = Rewound(device, tmp_path / "before")
    step, phases, alive = 0, set(), True
    while alive:
        step += 1
        before.restore()
        issued = len(device.ca.issued())
        alive = killed(step, device.run)
        phases.add(device.staged.phase if device.staged else None)
        carry_on(device)
        right(device, STAGED)
        assert len(device.ca.issued()) == issued + 1, step  # no second certificate was asked for
        assert device.hooks("staged") >= 1, step
        assert device.hooks("ca_changed") >= 1, step
    assert phases == {None, Phase.STARTED, Phase.REQUESTED, Phase.ISSUED}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["rename", "symlink"])
def test_killed_anywhere_in_the_switch(make_device: Devices, tmp_path: Path, way: str) -> None:
    device = device_at(make_device, 300, keystore=f"swap: {way}")
    device.run()
    device.off(device.day(365))
    before, issued = Rewound(device, tmp_path / "before"), len(device.ca.issued())
    step, alive = 0, True
    while alive:
        step += 1
        before.restore()
        alive = killed(step, device.run)
        carry_on(device)
        right(device, SWITCHED)
        assert device.hooks("post") >= 1, step
        assert device.hooks("ca_changed") >= 1, step
        assert device.hooks("failed") == 0, step
        assert device.events()[-1] == "rolled over", step
    assert step > 20
    assert len(device.ca.issued()) == issued
