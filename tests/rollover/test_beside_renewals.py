"""A rollover and a renewal open at the same time: neither costs the other anything, and one place says what is next."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from msgspec.structs import replace

from certagent.lab import Settings
from certagent.lab.transactions import ROLLOVER
from certagent.policy import Action
from certagent.scep import Request
from certagent.status import forecast
from certagent.status.snapshot import Snapshot, take_snapshot
from certagent.transaction.journal import Kind, Phase
from certagent.transaction.report import Result
from tests.rollover.conftest import Devices
from tests.rollover.device import DAY, Device, RollingCA, Wish

YEARLY = Settings(lifetime=90 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY)


class HesitatingCA(RollingCA):
    """Wants a person for every renewal, and for no shadow, while `hesitates`."""

    hesitates = False

    def authenticate(self, request: Request, csr: x509.CertificateSigningRequest) -> str:
        kind = super().authenticate(request, csr)
        self.settings = replace(self.settings, manual=self.hesitates and kind != ROLLOVER)
        return kind


@pytest.fixture
def device(make_device: Devices) -> Device:
    """Staged at day 310, and the CA begins to hesitate."""
    device = make_device(YEARLY, ca=HesitatingCA, authority="poll_interval: 5d\npoll_limit: 90d")
    device.live(device.day(310))
    assert device.state.condition == "staged"
    assert isinstance(device.ca, HesitatingCA)
    device.ca.hesitates = True
    return device


def seen(device: Device) -> Snapshot:
    context = device.context()
    return take_snapshot(context.configured, lambda: context.authorities, device.clock())


def test_a_shadow_given_up_leaves_a_pending_renewal_its_key(device: Device) -> None:
    assert device.run(Wish.RENEW).result is Result.PENDING
    asked = device.transaction
    device.ca.replace_next()
    device.live(device.day(312))
    assert "abandoned" in device.events()
    assert device.look() == "identity 1, shadow 2b, ca_file 1+2, pending"
    assert asked is not None
    assert device.transaction is not None
    assert device.transaction.id == asked.id
    device.ca.approve()
    assert device.run(Wish.NOW).result is Result.RENEWED
    assert device.pair_matches()


def owe_hooks(device: Device) -> None:
    """A renewal whose post hook fails."""
    device.ca.hesitates = False  # type: ignore[attr-defined] # it is a HesitatingCA
    device.path("hooks.exit").write_text("1")
    assert device.run(Wish.RENEW).result is Result.FAILED
    assert device.transaction is not None
    assert (device.transaction.kind, device.transaction.phase) == (Kind.RENEWAL, Phase.ACTIVATED)


def wait_for_a_person(device: Device) -> None:
    assert device.run(Wish.RENEW).result is Result.PENDING


@pytest.mark.parametrize("leave_open", [owe_hooks, wait_for_a_person])
def test_a_switch_does_not_wait_for_what_is_open(device: Device, leave_open: Callable[[Device], None]) -> None:
    leave_open(device)
    device.off(device.day(365))
    it, now = seen(device), device.clock()
    assert it.assessment.action is Action.SWITCH
    assert forecast.events([it], now + DAY, now)[0].what == "switch"
    device.path("hooks.exit").write_text("0")
    assert device.run().result is Result.ROLLED_OVER
    assert "superseded" in device.events()
    assert device.look() == "identity 2, shadow none, ca_file 2, valid"
