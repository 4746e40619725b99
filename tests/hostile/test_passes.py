"""What CAs of the world are like, by the command line: a device enrolls with them, and renews."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from certagent import certificate as facts
from certagent.lab import Settings
from tests.hostile.conftest import hostile
from tests.hostile.lab import start_hostile
from tests.hostile.takeover import keep, real_clock
from tests.renewal.site import DAY, Clock, Site
from tests.unit.paths import SIGNS, basic, made, usage
from tests.unit.pki import Party, remade, rsa_8192, rsa_key


def ca(subject: str, issuer: Party | None = None, **fields: object) -> Party:
    now = real_clock()
    words = {"own": rsa_key(subject), "begins": now - DAY, "ends": now + 999 * DAY, **fields}
    signs = usage(*SIGNS, "digital_signature", "key_encipherment")
    return made(subject, issuer, basic(True), signs, **words)  # type: ignore[arg-type]  # made's own words


@dataclass(frozen=True)
class World:
    """Whose key issues, what is sent, and which is the anchor (None: the first sent has its fingerprint pinned).

    `issuer` is what the lab has; what is sent in its place has the same name, key and serial number.
    """

    issuer: Party
    sent: tuple[Party, ...]
    anchor: Party | None = None


def alone(top: Party) -> World:
    return World(top, (top,))


def version_one() -> World:
    root = ca("CN=root")
    return World(root, (remade(root, version="v1", extensions=None),))


def negative_serial() -> World:
    return alone(remade(ca("CN=root"), serial_number=-7))


def crossed_and_expired() -> World:
    now = real_clock()
    old = ca("CN=old", begins=now - 9 * DAY, ends=now - DAY)
    other, top = ca("CN=other"), ca("CN=root")
    cross = ca("CN=root", other, own=rsa_key("CN=root"))
    issuing = ca("CN=issuing", top)
    return World(issuing, (old, cross, issuing, top, ca("CN=issuing", old, own=rsa_key("CN=issuing"))), other)


def missing_root() -> World:
    top = ca("CN=root")
    issuing = ca("CN=issuing", top)
    return World(issuing, (issuing,), top)


def large() -> World:
    return alone(ca("CN=root", own=rsa_8192()))


WORLDS: dict[str, Callable[[], World]] = {
    "an X.509 v1 root": version_one,
    "a negative serial number": negative_serial,
    "RSA of 8192 bits": large,
    "crossed and expired CAs in the bundle, the other root pinned": crossed_and_expired,
    "the root is missing, and the anchor": missing_root,
}


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("name", WORLDS)
def test_a_device_enrolls_and_renews(tmp_path: Path, name: str) -> None:
    world = WORLDS[name]()
    keep(tmp_path / "lab", world.issuer)
    clock = Clock(real_clock())
    with start_hostile(tmp_path / "lab", clock, Settings(lifetime=90 * DAY)) as server:
        site = Site(tmp_path, clock, server)
        hostile(site).offered = [each.certificate for each in world.sent]
        pin = f"fingerprint: {facts.fingerprint(world.sent[0].certificate)}"
        if world.anchor is not None:
            site.path("anchor.pem").write_bytes(facts.to_pem([world.anchor.certificate]))
            # A fingerprint of nothing that exists keeps the CA's own out of the configuration.
            pin = f"trust_anchor: {site.path('anchor.pem')}\nfingerprint: sha256:{'00' * 32}"
        site.write(authority=pin)
        for words in (("enroll", "web"), ("renew", "--force", "web")):
            done = site.command(*words)
            assert done.returncode == 0, done.stdout + done.stderr
        assert site.leaf().issuer == world.issuer.certificate.subject
