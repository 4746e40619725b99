"""The lab CA's web side and its directory."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.errors import CertagentError, ConfigError, StateError
from certagent.lab import Call, HttpAnswer, LabCA, Settings, serve
from certagent.lab.http import decode_message
from certagent.lab.store import read_challenge
from certagent.scep import Algorithms, Rejected, read_ca_certificates
from tests.waiting import PATIENCE

from .device import CHALLENGE, START, Clock, Device, Lab, MakeLab, certificate


def exchange(
    running: Lab, method: str, target: str, body: bytes | None = None, length: str | None = None
) -> HttpAnswer:
    """One HTTP exchange as any client might make it; `note` is what http.client calls the reason."""
    address = urlsplit(running.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
    try:
        connection.request(method, target, body, {"Content-Length": length} if length else {})
        response = connection.getresponse()
        return HttpAnswer(response.status, response.headers["Content-Type"], response.read(), response.reason)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param((), "AES POSTPKIOperation Renewal SHA-256 SHA-512 SCEPStandard", id="strong"),
        pytest.param(("3des",), "AES POSTPKIOperation Renewal SHA-256 SHA-512 SCEPStandard DES3", id="3des"),
        pytest.param(("sha1", "des"), "AES POSTPKIOperation Renewal SHA-256 SHA-512 SCEPStandard SHA-1", id="old"),
    ],
)
def test_capabilities_are_those_it_has(lab: MakeLab, accept: tuple[str, ...], expected: str) -> None:
    answer = exchange(lab(accept=frozenset(accept)), "GET", "/scep?operation=GetCACaps")
    assert (answer.content_type, answer.body.decode().split()) == ("text/plain", expected.split())


@pytest.mark.parametrize(
    ("algorithms", "accept"),
    [
        pytest.param(Algorithms("aes128-cbc", "sha256"), (), id="AES-128 SHA-256"),
        pytest.param(Algorithms("aes256-cbc", "sha512"), (), id="AES-256 SHA-512"),
        pytest.param(Algorithms("3des", "sha256"), ("3des",), id="3DES"),
        pytest.param(Algorithms("des", "sha1"), ("des", "sha1"), id="DES SHA-1"),
        pytest.param(Algorithms("3des", "sha256"), ("des", "sha1"), id="3DES refused"),
        pytest.param(Algorithms("aes128-cbc", "sha1"), (), id="SHA-1 refused"),
        pytest.param(Algorithms("aes128-cbc", "md5"), ("sha1",), id="MD5 refused"),
    ],
)
def test_algorithms_are_taken_as_accepted(
    lab: MakeLab,
    rsa_keys: list[rsa.RSAPrivateKey],
    algorithms: Algorithms,
    accept: tuple[str, ...],
    request: pytest.FixtureRequest,
) -> None:
    reply = Device(lab(accept=frozenset(accept)), rsa_keys[3], algorithms=algorithms).enroll()
    assert isinstance(reply, Rejected) == request.node.callspec.id.endswith("refused")


def test_the_ca_certificate_alone(lab: MakeLab) -> None:
    running = lab()
    answer = exchange(running, "GET", "/scep?operation=GetCACert&message=ca")
    assert answer.content_type == "application/x-x509-ca-cert"
    assert answer.body == running.ca.generation.issuer.certificate.public_bytes(Encoding.DER)


def test_the_ra_certificates_come_with_the_ca(lab: MakeLab) -> None:
    running = lab(ra=True)
    answer = exchange(running, "GET", "/scep?operation=GetCACert")
    assert answer.content_type == "application/x-x509-ca-ra-cert"
    generation = running.ca.generation
    three = (generation.issuer, generation.signer, generation.recipient)
    assert set(read_ca_certificates(answer.body)) == {each.certificate for each in three}


PKI_OPERATION = "/scep?operation=PKIOperation"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(("GET", "/"), 404, id="another path"),
        pytest.param(("GET", "/scep"), 400, id="no operation"),
        pytest.param(("GET", "/scep?operation=GetNextCACert"), 400, id="an operation not offered"),
        pytest.param(("GET", PKI_OPERATION), 400, id="no message"),
        pytest.param(("GET", PKI_OPERATION + "&message=%00"), 400, id="not base64"),
        pytest.param(("GET", PKI_OPERATION + "&message=MAA%3D"), 400, id="not SCEP"),
        pytest.param(("POST", PKI_OPERATION, b"x"), 400, id="a byte"),
        pytest.param(("POST", PKI_OPERATION, b"", "-1"), 411, id="a bad length"),
        pytest.param(("POST", PKI_OPERATION, b"", "9" * 9), 413, id="too long"),
        pytest.param(("PUT", "/scep", b""), 501, id="another method"),
    ],
)
def test_http_that_is_no_scep(lab: MakeLab, sent: tuple[Any, ...], status: int) -> None:
    assert exchange(lab(), *sent).status == status


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("+/+/", b"\xfb\xff\xbf", id="as it should be"),
        pytest.param(" / /", b"\xfb\xff\xbf", id="a plus that was not percent-encoded"),
        pytest.param("+/\r\n+/\n", b"\xfb\xff\xbf", id="lines"),
        pytest.param("+/+", b"", id="cut short"),
        pytest.param("\u00e4", b"", id="not ASCII"),
    ],
)
def test_the_message_of_a_get(text: str, message: bytes) -> None:
    assert decode_message(text) == message


def test_one_log_line_per_request_whatever_is_in_it(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "certagent.lab"):
        issued = certificate(Device(lab(), rsa_keys[3], "CN=a\x1b[2J").enroll("T1"))
    expected = f"2030-01-01T12:00:00Z PKIOperation PKCS_REQ by CN=a·[2J in T1: SUCCESS serial {issued.serial_number:x}"
    assert caplog.messages == [expected]
    assert CHALLENGE not in caplog.text


class Broken(LabCA):
    def respond_http(self, call: Call) -> HttpAnswer:
        raise StateError("pending/x is damaged")


def test_a_lab_that_is_out_of_order_says_so(lab: MakeLab) -> None:
    assert exchange(lab(Broken), "GET", "/scep?operation=GetCACert").status == 500


def test_an_address_in_use_is_an_error_with_a_hint(lab: MakeLab) -> None:
    running = lab()
    with pytest.raises(ConfigError, match="Address already in use") as caught:
        serve(running.ca, "127.0.0.1", urlsplit(running.url).port or 0)
    assert "--port" in caught.value.hint


# --- the directory --------------------------------------------------------------------------------


def test_secrets_are_private_and_everything_is_kept(tmp_path: Path) -> None:
    settings = Settings(ra=True)
    first = LabCA(tmp_path / "new" / "lab", Clock(), settings)
    directory = first.store.directory
    secret = [directory / "challenge", *directory.glob("*.key")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in secret] == [0o600] * 4
    # The RA stays without being asked for again.
    second = LabCA(directory, Clock(), Settings())
    assert list(second.ca_certificates()) == list(first.ca_certificates())
    assert second.challenge == first.challenge == read_challenge(directory / "challenge")
    assert first.challenge not in repr(settings)


def spoil(running: Lab, pattern: str, content: bytes) -> None:
    (path,) = running.directory.glob(pattern)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda lab: spoil(lab, "ca.pem", b"x"), "damaged", id="CA certificate damaged"),
        pytest.param(lambda lab: spoil(lab, "ca.key", b"x"), "no private key", id="CA key damaged"),
        pytest.param(lambda lab: (lab.directory / "ca.key").unlink(), "lost its key", id="CA key gone"),
        pytest.param(
            lambda lab: (lab.directory / "ca.key").write_bytes((lab.directory / "ra-signing.key").read_bytes()),
            "does not belong to",
            id="CA key another one",
        ),
        pytest.param(lambda lab: spoil(lab, "issued/*.pem", b"x"), "damaged", id="issued certificate damaged"),
        pytest.param(lambda lab: spoil(lab, "challenge", b"\n"), "empty", id="challenge empty"),
        pytest.param(lambda lab: spoil(lab, "challenge", b"\xff"), "cannot be read", id="challenge no text"),
        pytest.param(lambda lab: lab.clock.advance(START - START.replace(year=1990)), "expired", id="CA expired"),
    ],
)
def test_a_damaged_directory_is_refused(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], damage: Callable[[Lab], None], message: str
) -> None:
    running = lab(ra=True, challenge=None)
    certificate(Device(running, rsa_keys[3], challenge=running.ca.challenge).enroll())
    damage(running)
    with pytest.raises(CertagentError, match=message) as caught:
        running.restart()
    assert caught.value.hint


def test_a_key_whose_certificate_was_never_written_is_certified(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]
) -> None:
    running = lab()
    (running.directory / "ca.pem").unlink()  # as if the power had gone between the two files
    running.restart()
    certificate(Device(running, rsa_keys[3]).enroll())
