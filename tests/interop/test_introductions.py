"""A factory identity before CAs that none of us wrote: both look at the challenge alone, whoever signs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from certagent import certificate as facts
from certagent.config.key_types import KeyType
from tests.interop import scepserver as micromdm
from tests.interop import step_ca as step
from tests.interop.commands import certagent, openssl_shows
from tests.interop.device import Device
from tests.introductions.maker import Maker

pytestmark = pytest.mark.slow

ACCEPT = "accept: [sha1, des]"


class Server(NamedTuple):
    url: str
    challenge: str
    pin: str


def pin_of(file: Path) -> str:
    (found,) = facts.load_pem(file.read_bytes(), file.name)
    return f"fingerprint: {facts.fingerprint(found)}"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("step-ca", marks=pytest.mark.needs("step-ca")),
        pytest.param("scepserver", marks=pytest.mark.needs("scepserver")),
    ],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "step-ca":
        with step.step_ca(directory) as running:
            yield Server(running.url("as-it-comes"), step.CHALLENGE, pin_of(running.intermediate))
    else:
        with micromdm.scepserver(directory) as made:
            yield Server(made.url, micromdm.CHALLENGE, pin_of(made.ca))


@pytest.fixture
def device(tmp_path: Path, server: Server) -> Device:
    return Device(tmp_path, server.url, server.challenge, server.pin)


def name(request: pytest.FixtureRequest) -> str:
    """A subject that no other test has: scepserver has a memory."""
    return f"subject: CN={abs(hash(request.node.name))}.example.net,O=Example"


def test_introduced_where_the_challenge_goes_along(
    device: Device, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The answer is encrypted for every certificate in the request, and certagent takes it all the same."""
    maker = Maker(tmp_path / "factory", KeyType.RSA_2048)
    named = maker.write(maker.device())
    before = maker.as_left()
    device.write(f"{ACCEPT}\nsend_challenge: always\nintroduce_with: {named}", name(request))
    done = certagent(device.config, "enroll", "vpn")
    assert done.returncode == 0, done.stderr
    assert "O = Example" in openssl_shows(device.certificate, "-subject")
    assert maker.as_left() == before


def test_the_challenge_follows_where_it_does_not(
    device: Device, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    maker = Maker(tmp_path / "factory", KeyType.RSA_2048)
    device.write(f"{ACCEPT}\nintroduce_with: {maker.write(maker.device())}", name(request))
    done = certagent(device.config, "enroll", "vpn")
    assert done.returncode == 0, done.stderr
    assert "the factory identity: the CA refused the request: badRequest" in done.stderr


def test_a_chain_of_ec_cas_is_more_than_go_s_servers_can_encrypt_for(
    device: Device, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One answers HTTP 500, the other hangs up: twice counts as refused, and the next rung follows."""
    maker = Maker(tmp_path / "factory", KeyType.EC_P256)
    device.write(f"{ACCEPT}\nsend_challenge: always\nintroduce_with: {maker.write(maker.device())}", name(request))
    first = certagent(device.config, "enroll", "vpn")
    assert first.returncode == 1
    assert device.is_untouched()
    second = certagent(device.config, "enroll", "vpn")
    assert second.returncode == 0, second.stderr
    assert "certagent now enrolls with the challenge" in second.stderr
