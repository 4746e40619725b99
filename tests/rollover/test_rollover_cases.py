"""What becomes of a device when its CA changes: cases by name, what happens in each, and how things stand after it.

The CA of these cases lives 365 days, announces the next one 70 days before its end, and gives certificates of
90 days. The agent asks for the next CA from day 292 on (`rollover_at: 80%`). `shadow none` after a switch: it has
become the identity.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from certagent.lab import Settings
from tests.rollover.conftest import Devices
from tests.rollover.device import DAY, Device, Wish

YEARLY = Settings(lifetime=90 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY)
OVERLAPPING = replace(YEARLY, overlap=20 * DAY)
SILENT = replace(YEARLY, rollover=None)

Step = Callable[[Device], object]
Story = list[tuple[Step, str]]


def live(day: float) -> Step:
    """The device is on until then."""
    return lambda device: device.live(device.day(day))


def off(day: float) -> Step:
    """The device is off until then, and boots."""

    def boot(device: Device) -> None:
        device.off(device.day(day))
        device.recover()
        device.run()

    return boot


def operator(act: Callable[[Device], object], day: float) -> Step:
    """The CA's operator does something, and the device lives on until then."""

    def step(device: Device) -> None:
        act(device)
        device.live(device.day(day))

    return step


def say(word: str, value: bool) -> Callable[[Device], object]:
    return lambda device: setattr(device.ca, word, value)


def staged_serial(device: Device) -> int:
    assert device.staged is not None
    return int(device.staged.serial, 16)


CASES = [
    pytest.param(
        YEARLY,
        [
            (live(291), "identity 1, shadow none, ca_file 1, valid"),
            (live(294), "identity 1, shadow none, ca_file 1, valid"),
            (live(297), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(364.9), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(365), "identity 2, shadow none, ca_file 2, valid"),
            (live(600), "identity 2, shadow none, ca_file 2, valid"),
        ],
        id="on during the whole",
    ),
    pytest.param(
        YEARLY,
        [
            (live(310), "identity 1, shadow 2, ca_file 1+2, staged"),
            (off(380), "identity 2, shadow none, ca_file 2, valid"),
        ],
        id="off at the switch: the staged shadow is put in place at boot",
    ),
    pytest.param(
        YEARLY,
        [
            (live(310), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(675), "identity 2, shadow 3, ca_file 2+3, staged"),
            (live(730), "identity 3, shadow none, ca_file 3, valid"),
            (live(1100), "identity 4, shadow none, ca_file 4, valid"),
        ],
        id="twice and once more",
    ),
    pytest.param(
        replace(YEARLY, rollover=5 * DAY),
        [
            (off(325), "identity 1, shadow none, ca_file 1, valid"),
            (off(331), "identity 1, shadow none, ca_file 1, failed"),
            (off(361), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(365), "identity 2, shadow none, ca_file 2, valid"),
        ],
        id="announced late: an alarm, and all is well again when it comes",
    ),
    pytest.param(
        SILENT,
        [
            (live(296), "identity 1, shadow none, ca_file 1, valid"),
            (off(350), "identity 1, shadow none, ca_file 1, failed"),
            (off(366), "identity 1, shadow none, ca_file 1, expired"),
        ],
        id="never: alarms until the end",
    ),
    pytest.param(
        OVERLAPPING,
        [
            (live(310), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(344.9), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(345), "identity 2, shadow none, ca_file 1+2, valid"),
            (live(364), "identity 2, shadow none, ca_file 1+2, valid"),
            (live(366), "identity 2, shadow none, ca_file 2, valid"),
        ],
        id="both CAs alive together: the old one stays trusted until its end",
    ),
    pytest.param(
        YEARLY,
        [
            (live(310), "identity 1, shadow 2, ca_file 1+2, staged"),
            (operator(lambda device: device.ca.replace_next(), 320), "identity 1, shadow 2b, ca_file 1+2b, staged"),
            (live(365), "identity 2b, shadow none, ca_file 2b, valid"),
        ],
        id="the next CA is replaced after staging: the shadow is given up for one under the new",
    ),
    pytest.param(
        YEARLY,
        [
            (live(310), "identity 1, shadow 2, ca_file 1+2, staged"),
            (operator(say("withdrawn", True), 330), "identity 1, shadow 2, ca_file 1+2, staged"),
            (operator(say("withdrawn", False), 331), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(365), "identity 2, shadow none, ca_file 2, valid"),
        ],
        id="no longer announced for a while: what was authenticated stays",
    ),
    pytest.param(
        YEARLY,
        [
            (operator(say("refusing", True), 298), "identity 1, shadow none, ca_file 1+2, failed"),
            (off(340), "identity 1, shadow none, ca_file 1+2, failed"),
            (operator(say("refusing", False), 342), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(365), "identity 2, shadow none, ca_file 2, valid"),
        ],
        id="the shadow is refused for weeks: asked for again",
    ),
    pytest.param(
        replace(YEARLY, lifetime=50 * DAY),
        [
            (operator(say("wants_a_person", True), 298), "identity 1, shadow pending, ca_file 1+2, valid"),
            (live(340), "identity 1, shadow pending, ca_file 1+2, valid"),
            (operator(lambda device: device.ca.approve(), 346), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(365), "identity 2, shadow none, ca_file 2, valid"),
        ],
        id="the shadow is pending for weeks: renewals under the current CA go on",
    ),
    pytest.param(
        OVERLAPPING,
        [
            (operator(say("wants_a_person", True), 310), "identity 1, shadow pending, ca_file 1+2, valid"),
            (live(346), "identity 2, shadow pending, ca_file 2+1, valid"),
            (operator(lambda device: device.ca.approve(), 352), "identity 2, shadow none, ca_file 2+1, valid"),
        ],
        id="pending when the CA changes: renewed under the next",
    ),
    pytest.param(
        YEARLY,
        [
            (live(310), "identity 1, shadow 2, ca_file 1+2, staged"),
            (lambda device: device.run(Wish.RENEW), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(364), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(365), "identity 2, shadow none, ca_file 2, valid"),
        ],
        id="renewed between staging and switch",
    ),
    pytest.param(
        replace(YEARLY, lifetime=1000 * DAY),
        [
            (live(290), "identity 1, shadow none, ca_file 1, valid"),
            (live(310), "identity 1, shadow 2, ca_file 1+2, staged"),
            (live(365), "identity 2, shadow none, ca_file 2, valid"),
            (live(730), "identity 3, shadow none, ca_file 3, valid"),
        ],
        id="certificates that end with the CA: no renewal, only rollovers",
    ),
    pytest.param(
        YEARLY,
        [
            (live(310), "identity 1, shadow 2, ca_file 1+2, staged"),
            (operator(say("down", True), 366), "identity 2, shadow none, ca_file 2, valid"),
            (operator(say("down", False), 380), "identity 2, shadow none, ca_file 2, valid"),
        ],
        id="the CA cannot be reached at the switch: nobody needs it",
    ),
    pytest.param(
        YEARLY,
        [
            (live(310), "identity 1, shadow 2, ca_file 1+2, staged"),
            (off(360), "identity 1, shadow 2, ca_file 1+2, staged"),
            (off(363), "identity 1, shadow 2, ca_file 1+2, staged"),
            (off(365), "identity 2, shadow none, ca_file 2, valid"),
        ],
        id="on now and then",
    ),
    pytest.param(
        replace(YEARLY, ra=True, intermediate=True),
        [
            (live(310), "identity 1, shadow 2, ca_file 1+root1+2+root2, staged"),
            (live(365), "identity 2, shadow none, ca_file root1+2+root2, valid"),
            (live(440), "identity 2, shadow none, ca_file 2+root2+root1, valid"),
            # The pin is the first root's fingerprint; what leads back to it has expired.
            (live(520), "identity 2, shadow none, ca_file 2+root2+root1, valid"),
            (live(600), "identity 2, shadow none, ca_file 2+root2+root1, valid"),
        ],
        id="an intermediate CA with an RA, and so is the next: new root, new RA",
    ),
    pytest.param(
        YEARLY,
        [
            (live(310), "identity 1, shadow 2, ca_file 1+2, staged"),
            (
                operator(lambda device: device.ca.store.revoke(staged_serial(device), device.clock()), 365),
                "identity 2, shadow none, ca_file 2, valid",
            ),
            (off(440), "identity 2, shadow none, ca_file 2, failed"),
            (off(470), "identity 2, shadow none, ca_file 2, valid"),
        ],
        id="the shadow is revoked while it waits: its renewals are refused, and it is enrolled anew at its end",
    ),
]


@pytest.mark.parametrize(("settings", "story"), CASES)
def test_case(make_device: Devices, settings: Settings, story: Story) -> None:
    device = make_device(settings, authority="poll_interval: 5d\npoll_limit: 90d")
    found = []
    for step, _ in story:
        step(device)
        found.append(device.look())
    assert found == [expected for _, expected in story]
    assert device.pair_matches()
    assert device.leftovers() == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_ca_that_is_busy_has_not_said_that_it_has_no_next_one(make_device: Devices, status: int) -> None:
    device = make_device(YEARLY)
    device.ca.busy = status
    device.live(device.day(292.2))
    error = device.state.rollover.last_error
    assert error is not None
    assert f"HTTP {status}" in error.message
    device.ca.busy = 0
    device.live(device.day(296))
    assert device.look() == "identity 1, shadow 2, ca_file 1+2, staged"
