"""Enrolled and renewed by a server none of us wrote: micromdm's, Debian's package `scep`; openssl is the judge.

It answers with single DES and SHA-1 whatever it was asked with, and wants the challenge on renewals too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent import certificate as facts
from tests.interop.commands import certagent, openssl_confirms, openssl_shows
from tests.interop.device import Device
from tests.interop.scepserver import CHALLENGE, ScepServer, scepserver, without_post

pytestmark = [pytest.mark.needs("scepserver"), pytest.mark.needs("openssl")]

AS_IT_NEEDS = "accept: [sha1, des]\nsend_challenge: always"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScepServer]:
    with scepserver(tmp_path_factory.mktemp("scepserver")) as running:
        yield running


@pytest.fixture
def device(tmp_path: Path, server: ScepServer) -> Device:
    (ca,) = facts.load_pem(server.ca.read_bytes(), "ca.pem")
    return Device(tmp_path, server.url, CHALLENGE, f"fingerprint: {facts.fingerprint(ca)}")


@pytest.mark.parametrize("post", [pytest.param(True, id="POST"), pytest.param(False, id="GET")])
def test_enrolled_and_renewed_twice(device: Device, server: ScepServer, post: bool) -> None:
    with without_post(server.url) as get_only:
        device.write(AS_IT_NEEDS, url="" if post else get_only)
        seen, keys = [], []
        for words in (["enroll", "vpn"], ["renew", "--force", "vpn"], ["renew", "--force", "vpn"]):
            done = certagent(device.config, *words)
            assert done.returncode == 0, done.stderr
            openssl_confirms(device.key, device.certificate, server.ca)
            shown = openssl_shows(device.certificate, "-subject", "-nameopt", "RFC2253", "-ext", "subjectAltName")
            assert "subject=CN=vpn.example.net,O=Example" in shown
            assert "DNS:vpn.example.net, IP Address:192.0.2.7" in shown
            seen.append(openssl_shows(device.certificate, "-serial"))
            keys.append(device.key.read_bytes())
    assert len(set(seen)) == len(set(keys)) == 3


def test_its_weak_replies_are_refused_by_name(device: Device) -> None:
    device.write("send_challenge: always")
    done = certagent(device.config, "enroll", "vpn")
    assert done.returncode == 1
    assert "add des and sha1" in done.stderr
    assert device.is_untouched()


def test_a_wrong_challenge_is_a_refusal_in_words(device: Device) -> None:
    device.write(AS_IT_NEEDS, challenge="guessed")
    done = certagent(device.config, "enroll", "vpn")
    assert done.returncode == 1
    assert "the CA refused the request: badRequest" in done.stderr
    assert "guessed" not in done.stderr
    assert device.is_untouched()


def test_a_renewal_without_the_challenge_is_refused_with_the_word_to_set(device: Device) -> None:
    device.write(AS_IT_NEEDS)
    assert certagent(device.config, "enroll", "vpn").returncode == 0
    device.write("accept: [sha1, des]")
    before = device.key.read_bytes(), device.certificate.read_bytes()
    done = certagent(device.config, "renew", "--force", "vpn")
    assert done.returncode == 1
    assert "set send_challenge: always" in done.stderr
    assert (device.key.read_bytes(), device.certificate.read_bytes()) == before


def test_to_a_ca_with_a_wrong_fingerprint_nothing_is_sent(device: Device, server: ScepServer) -> None:
    device.write(AS_IT_NEEDS, trust=f"fingerprint: sha256:{'00' * 32}")
    before = len(server.asked())
    done = certagent(device.config, "enroll", "vpn")
    assert done.returncode == 1
    assert "fingerprint" in done.stderr
    assert set(server.asked()[before:]) <= {"GetCACaps", "GetCACert"}
    assert len(server.asked()) > before
    assert device.is_untouched()
