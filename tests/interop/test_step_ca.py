"""Enrolled and renewed by step-ca, another server none of us wrote. Slow: it is compiled at the first run.

It answers with SHA-1 and, as it comes, with single DES; it adds the common name to the alternative names, wants the
challenge on renewals, and receives with the key of the CA that issues.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent import certificate as facts
from tests.interop.commands import certagent, openssl_confirms, openssl_shows
from tests.interop.device import Device
from tests.interop.step_ca import CHALLENGE, StepCA, step_ca

pytestmark = [pytest.mark.needs("step-ca"), pytest.mark.needs("openssl"), pytest.mark.slow]

AS_IT_COMES = "accept: [sha1, des]\nsend_challenge: always"
STRICT = "accept: [sha1]\nsend_challenge: always"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StepCA]:
    with step_ca(tmp_path_factory.mktemp("step-ca")) as running:
        yield running


def fingerprint_of(file: Path) -> str:
    (found,) = facts.load_pem(file.read_bytes(), file.name)
    return f"fingerprint: {facts.fingerprint(found)}"


@pytest.fixture
def device(tmp_path: Path, server: StepCA) -> Device:
    return Device(tmp_path, server.url("as-it-comes"), CHALLENGE, fingerprint_of(server.intermediate))


@pytest.mark.parametrize(
    ("provisioner", "trust"),
    [
        pytest.param("as-it-comes", "intermediate", id="single DES, intermediate pinned"),
        pytest.param("as-it-comes", "anchor", id="single DES, root as trust anchor"),
        pytest.param("strict", "root", id="AES, root pinned"),
        pytest.param("strict", "intermediate", id="AES, intermediate pinned"),
    ],
)
@pytest.mark.parametrize("key_type", ["rsa:2048", "ec:p256", "ed25519"])
def test_enrolled_and_renewed(device: Device, server: StepCA, provisioner: str, trust: str, key_type: str) -> None:
    pins = {
        "intermediate": fingerprint_of(server.intermediate),
        "root": fingerprint_of(server.root),
        "anchor": f"trust_anchor: {server.root}",
    }
    device.write(
        {"as-it-comes": AS_IT_COMES, "strict": STRICT}[provisioner],
        f"subject: CN=vpn.example.net,O=Example\nkey_type: {key_type}",
        url=server.url(provisioner),
        trust=pins[trust],
    )
    seen, keys = [], []
    for words in (["enroll", "vpn"], ["renew", "--force", "vpn"]):
        done = certagent(device.config, *words)
        assert done.returncode == 0, done.stderr
        openssl_confirms(device.key, device.certificate, server.chain)
        assert "DNS:vpn.example.net" in openssl_shows(device.certificate, "-ext", "subjectAltName")
        seen.append(openssl_shows(device.certificate, "-serial"))
        keys.append(device.key.read_bytes())
    assert len(set(seen)) == len(set(keys)) == 2


@pytest.mark.parametrize(
    ("authority", "named"),
    [
        pytest.param("send_challenge: always", "add des and sha1", id="single DES and SHA-1"),
        pytest.param("send_challenge: always\naccept: [des]", "add sha1", id="SHA-1"),
    ],
)
def test_its_weak_replies_are_refused_by_name(device: Device, authority: str, named: str) -> None:
    device.write(authority)
    done = certagent(device.config, "enroll", "vpn")
    assert done.returncode == 1
    assert named in done.stderr
    assert device.is_untouched()


def test_a_wrong_challenge_is_a_refusal_in_words(device: Device) -> None:
    device.write(AS_IT_COMES, challenge="guessed")
    done = certagent(device.config, "enroll", "vpn")
    assert done.returncode == 1
    assert "the CA refused the request: badRequest" in done.stderr
    assert device.is_untouched()


def test_a_name_that_is_not_allowed_is_a_refusal_in_words(device: Device, server: StepCA) -> None:
    device.write(STRICT, "subject: CN=vpn.example.com", url=server.url("strict"))
    done = certagent(device.config, "enroll", "vpn")
    assert done.returncode == 1
    assert "the CA refused the request: badRequest" in done.stderr
    assert device.is_untouched()


def test_a_renewal_without_the_challenge_is_refused_with_the_word_to_set(device: Device) -> None:
    device.write(AS_IT_COMES)
    assert certagent(device.config, "enroll", "vpn").returncode == 0
    device.write("accept: [sha1, des]")
    before = device.key.read_bytes(), device.certificate.read_bytes()
    done = certagent(device.config, "renew", "--force", "vpn")
    assert done.returncode == 1
    assert "set send_challenge: always" in done.stderr
    assert (device.key.read_bytes(), device.certificate.read_bytes()) == before


def test_a_provisioner_that_is_not_there_is_told(device: Device, server: StepCA) -> None:
    device.write(AS_IT_COMES, url=server.url("nobody"))
    done = certagent(device.config, "enroll", "vpn")
    assert done.returncode == 1
    assert "answered HTTP" in done.stderr
    assert device.is_untouched()
