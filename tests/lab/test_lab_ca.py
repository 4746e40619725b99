"""What the lab CA issues, to whom, and what it refuses; over HTTP, through the codecs."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from certagent.config.key_types import KeyType
from certagent.errors import RejectedError, TrustError
from certagent.keys import PrivateKey, generate, match
from certagent.lab import Answer, Call, LabCA
from certagent.lab.issuing import backdate
from certagent.lab.store import Store
from certagent.scep import (
    Algorithms,
    FailInfo,
    Issued,
    MessageType,
    Pending,
    Rejected,
    Request,
    Signer,
)

from .device import START, Device, Lab, MakeLab, certificate

BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST, BAD_CERT_ID = (FailInfo(number) for number in (0, 1, 2, 4))
DAY = timedelta(days=1)


def refused(reply: Issued | Pending | Rejected, fail_info: FailInfo, text: str) -> None:
    """The reply is FAILURE with this reason, and says so in words."""
    assert isinstance(reply, Rejected), reply
    assert (reply.fail_info, text in reply.text) == (fail_info, True), reply


def enrolled(running: Lab, key: PrivateKey) -> Signer:
    return Signer(key, certificate(Device(running, key).enroll()))


@pytest.mark.parametrize("ra", [pytest.param(False, id="ca"), pytest.param(True, id="ca-and-ra")])
@pytest.mark.parametrize("post", [pytest.param(False, id="get"), pytest.param(True, id="post")])
def test_enrolls(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], ra: bool, post: bool) -> None:
    running = lab(ra=ra)
    issued = certificate(Device(running, rsa_keys[3], post=post).enroll("T1"))
    assert match(rsa_keys[3], issued.public_key())
    issued.verify_directly_issued_by(running.ca.generation.issuer.certificate)
    (record,) = running.ca.issued()
    assert (record.serial, record.transaction_id, record.kind) == (issued.serial_number, "T1", "enrollment")
    assert (record.subject, record.not_after) == ("CN=device", issued.not_valid_after_utc)


def test_what_an_issued_certificate_says(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab()
    names = (x509.DNSName("web.example.net"), x509.IPAddress(ipaddress.ip_address("192.0.2.7")))
    issued = certificate(Device(running, rsa_keys[3], "CN=web,O=Example", names).enroll())
    issuer, extensions = running.ca.generation.issuer.certificate, issued.extensions
    assert issued.subject.rfc4514_string() == "CN=web,O=Example"
    assert tuple(extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == names
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, True, False)
    purposes = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert purposes == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    authority_key = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert authority_key == issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


@pytest.mark.parametrize("key_type", [KeyType.EC_P256, KeyType.EC_P384])
def test_an_ec_key_is_certified_through_an_rsa_transport_key(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], key_type: KeyType
) -> None:
    key, transport = generate(key_type), rsa_keys[3]
    assert isinstance(transport, rsa.RSAPrivateKey)
    issued = certificate(Device(lab(), key, transport=transport).enroll())
    assert match(key, issued.public_key())
    assert not issued.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment


def test_a_certificate_may_be_named_by_its_san_alone(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    issued = certificate(Device(lab(), rsa_keys[3], "", (x509.DNSName("only.example.net"),)).enroll())
    assert issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


@pytest.mark.parametrize(
    ("lifetime", "expected"),
    [
        pytest.param(timedelta(seconds=5), 0, id="seconds: none"),
        pytest.param(timedelta(seconds=99), 0, id="a minute: none"),
        pytest.param(timedelta(hours=1), 36, id="an hour: a hundredth"),
        pytest.param(90 * DAY, 300, id="months: five minutes"),
    ],
)
def test_validity(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], lifetime: timedelta, expected: int) -> None:
    issued = certificate(Device(lab(lifetime=lifetime), rsa_keys[3]).enroll())
    now = START.replace(microsecond=0)
    assert backdate(lifetime) == timedelta(seconds=expected)
    assert issued.not_valid_before_utc == now - timedelta(seconds=expected)
    assert issued.not_valid_after_utc == now + lifetime


def test_no_certificate_outlives_the_ca(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab(lifetime=90 * DAY, ca_lifetime=10 * DAY)
    issued = certificate(Device(running, rsa_keys[3]).enroll())
    assert issued.not_valid_after_utc == running.ca.generation.issuer.certificate.not_valid_after_utc


# --- who asks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MessageType.RENEWAL_REQ, MessageType.PKCS_REQ])
def test_a_certificate_in_hand_is_enough_to_renew(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], kind: MessageType
) -> None:
    running = lab()
    old = enrolled(running, rsa_keys[3])
    renewed = certificate(Device(running, rsa_keys[4], challenge=None).renew(old, kind))
    assert match(rsa_keys[4], renewed.public_key())
    assert renewed.serial_number != old.certificate.serial_number
    assert [record.kind for record in running.ca.issued()] == ["enrollment", "renewal"]


def stranger(device: Device) -> Signer:
    """A certificate that names the lab CA as its issuer, signed by another key of that name."""
    issuer = device.lab.ca.generation.issuer.certificate
    builder = x509.CertificateBuilder().subject_name(device.subject).issuer_name(issuer.subject).serial_number(1)
    builder = builder.public_key(device.key.public_key())
    builder = builder.not_valid_before(START - DAY).not_valid_after(START + DAY)
    return Signer(device.key, builder.sign(device.lab.other_key, hashes.SHA256()))


@pytest.mark.parametrize(
    ("change", "fail_info", "text"),
    [
        pytest.param({"challenge": "guess"}, BAD_REQUEST, "challenge", id="wrong challenge"),
        pytest.param({"challenge": None}, BAD_REQUEST, "challenge", id="no challenge"),
        pytest.param({"challenge": ""}, BAD_REQUEST, "challenge", id="empty challenge"),
        pytest.param({"name": ""}, BAD_REQUEST, "names nobody", id="no name at all"),
        pytest.param({"algorithms": Algorithms("des", "sha256")}, BAD_ALG, "des", id="single DES"),
        pytest.param({"algorithms": Algorithms("aes128-cbc", "sha1")}, BAD_ALG, "sha1", id="SHA-1"),
    ],
)
def test_an_enrollment_is_refused(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], change: dict[str, Any], fail_info: FailInfo, text: str
) -> None:
    running = lab()
    refused(replace(Device(running, rsa_keys[3]), **change).enroll(), fail_info, text)
    assert not running.ca.issued()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        pytest.param(lambda: rsa.generate_private_key(65537, 1024), "2048", id="RSA 1024"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP192R1()), "256", id="P-192"),
    ],
)
def test_a_small_key_is_refused(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], key: Callable[[], PrivateKey], text: str
) -> None:
    refused(Device(lab(), key(), transport=rsa_keys[3]).enroll(), BAD_ALG, text)


def test_an_ec_key_cannot_sign_the_message_of_an_rsa_envelope(lab: MakeLab) -> None:
    refused(Device(lab(), generate(KeyType.EC_P256)).enroll(), BAD_ALG, "only be encrypted to an RSA key")


def test_an_ec_key_can_where_the_challenge_locks_the_envelopes(lab: MakeLab) -> None:
    """RFC 8894 §3.1: PasswordRecipientInfo, answered in kind; enrollment and renewal without any RSA key."""
    running, key, new = lab(), generate(KeyType.EC_P256), generate(KeyType.EC_P384)
    first = Signer(key, certificate(Device(running, key, key_transport="password").enroll()))
    renewed = certificate(Device(running, new, key_transport="password", challenge=None).renew(first))
    assert match(new, renewed.public_key())
    assert [record.kind for record in running.ca.issued()] == ["enrollment", "renewal"]


def test_an_oaep_envelope_is_answered_in_kind(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    issued = certificate(Device(lab(), rsa_keys[3], key_transport="oaep").enroll())
    assert match(rsa_keys[3], issued.public_key())


def test_a_request_not_signed_by_its_own_key_is_refused(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    device = Device(lab(), rsa_keys[3])
    csr = device.csr()
    spoiled = csr[:-1] + bytes([csr[-1] ^ 1])
    refused(device.send(MessageType.PKCS_REQ, spoiled, device.self_signed()), BAD_MESSAGE_CHECK, "own key")


@pytest.mark.parametrize("content", [pytest.param(b"\0", id="a byte"), pytest.param(b"0\x03\x02\x01\x00", id="DER")])
@pytest.mark.parametrize(
    "kind", [MessageType.PKCS_REQ, MessageType.CERT_POLL, MessageType.GET_CERT, MessageType.GET_CRL]
)
def test_content_that_is_no_request(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], kind: MessageType, content: bytes
) -> None:
    device = Device(lab(), rsa_keys[3])
    refused(device.send(kind, content, device.self_signed()), BAD_REQUEST, "")


@pytest.mark.parametrize("kind", [MessageType.RENEWAL_REQ, MessageType.PKCS_REQ])
def test_a_strangers_certificate_is_refused(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], kind: MessageType) -> None:
    device = Device(lab(), rsa_keys[3])
    refused(device.renew(stranger(device), kind), BAD_MESSAGE_CHECK, "not issued by this CA")


def test_a_renewal_cannot_be_self_signed(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    device = Device(lab(), rsa_keys[3])
    refused(device.renew(device.self_signed()), BAD_MESSAGE_CHECK, "renews")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param({"name": "CN=other"}, "subject", id="another subject"),
        pytest.param({"san": (x509.DNSName("more.example.net"),)}, "must not add names", id="one more name"),
    ],
)
def test_a_renewal_is_for_the_same_names(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], change: dict[str, Any], text: str
) -> None:
    running = lab()
    old = enrolled(running, rsa_keys[3])
    refused(replace(Device(running, rsa_keys[4]), **change).renew(old), BAD_REQUEST, text)


def test_an_expired_certificate_renews_nothing(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab(lifetime=timedelta(seconds=30))
    old = enrolled(running, rsa_keys[3])
    running.clock.advance(timedelta(seconds=30))
    refused(Device(running, rsa_keys[4]).renew(old), BAD_REQUEST, "expired")


# --- transactions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [pytest.param(False, id="running"), pytest.param(True, id="restarted")])
def test_a_resent_request_gets_the_same_certificate(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], restart: bool
) -> None:
    running = lab()
    device = Device(running, rsa_keys[3])
    first = certificate(device.enroll("T1"))
    if restart:
        running.restart()
    assert certificate(device.enroll("T1")) == first
    assert len(running.ca.issued()) == 1


def test_a_resent_renewal_gets_the_same_certificate_even_when_the_old_one_has_expired(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]
) -> None:
    running = lab(lifetime=timedelta(seconds=30))
    old = enrolled(running, rsa_keys[3])
    device = Device(running, rsa_keys[4])
    first = certificate(device.renew(old, transaction_id="T2"))
    running.clock.advance(timedelta(seconds=40))
    assert certificate(device.renew(old, transaction_id="T2")) == first
    assert len(running.ca.issued()) == 2


def test_a_transaction_id_is_one_keys(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab()
    certificate(Device(running, rsa_keys[3]).enroll("T1"))
    refused(Device(running, rsa_keys[4]).enroll("T1"), BAD_REQUEST, "another key")


def test_a_kept_key_may_renew_under_the_id_derived_from_it(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab()
    device = Device(running, rsa_keys[3])
    first = certificate(device.enroll("T1"))
    signer = Signer(rsa_keys[3], first)
    second = certificate(device.renew(signer, transaction_id="T1"))
    assert second.serial_number != first.serial_number
    assert certificate(device.renew(signer, transaction_id="T1")) == second


@pytest.mark.parametrize(
    "transaction_id",
    ["../../etc/x", ".", "..", "a b+c/d=", "a" * 128, "ÅÄÖ: 1", "-", "%2E"],
)
def test_any_transaction_id_is_kept_over_a_restart(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], transaction_id: str
) -> None:
    running = lab(manual=True)
    device = Device(running, rsa_keys[3])
    assert isinstance(device.enroll(transaction_id), Pending)
    (waiting,) = running.ca.store.all_waiting()
    assert waiting.transaction_id == transaction_id
    running.ca.store.decide(waiting, "approved")
    issued = certificate(device.enroll(transaction_id))
    running.restart()
    assert [record.transaction_id for record in running.ca.issued()] == [transaction_id]
    assert certificate(device.enroll(transaction_id)) == issued


def test_an_endless_transaction_id_is_refused(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    refused(Device(lab(), rsa_keys[3]).enroll("a" * 300), BAD_REQUEST, "too long")


def test_many_at_once_get_distinct_serials(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab()
    with ThreadPoolExecutor(8) as pool:
        devices = [Device(running, rsa_keys[3], f"CN=device{number}") for number in range(32)]
        issued = [certificate(reply) for reply in pool.map(Device.enroll, devices)]
    assert len({each.serial_number for each in issued}) == 32
    assert {record.subject for record in running.ca.issued()} == {device.name for device in devices}


def test_the_same_request_many_times_at_once_gets_one_certificate(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]
) -> None:
    running = lab()
    device = Device(running, rsa_keys[3])
    with ThreadPoolExecutor(8) as pool:
        issued = {certificate(reply).serial_number for reply in pool.map(device.enroll, ["T1"] * 16)}
    assert len(issued) == len(running.ca.issued()) == 1


# --- approval by a person -------------------------------------------------------------------------


def decide(running: Lab, decision: str) -> None:
    """As `certagent lab approve` does it: by another process, through the directory alone."""
    store = Store(running.directory)
    for waiting in store.all_waiting():
        store.decide(waiting, decision)


@pytest.mark.parametrize("ask", [pytest.param("poll", id="poll"), pytest.param("enroll", id="resend")])
@pytest.mark.parametrize("restart", [pytest.param(False, id="running"), pytest.param(True, id="restarted")])
def test_a_request_waits_until_it_is_approved(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], ask: str, restart: bool
) -> None:
    running = lab(manual=True)
    device = Device(running, rsa_keys[3])
    assert isinstance(device.enroll("T1"), Pending)
    assert isinstance(getattr(device, ask)("T1"), Pending)
    decide(running, "approved")
    if restart:
        running.restart()
    issued = certificate(getattr(device, ask)("T1"))
    assert certificate(getattr(device, ask)("T1")) == issued
    assert not running.ca.store.all_waiting()


def test_a_renewal_waits_too(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab(manual=True)
    first = Device(running, rsa_keys[3])
    first.enroll("T1")
    decide(running, "approved")
    old = Signer(rsa_keys[3], certificate(first.poll("T1")))
    second = Device(running, rsa_keys[4])
    assert isinstance(second.renew(old, transaction_id="T2"), Pending)
    decide(running, "approved")
    assert match(rsa_keys[4], certificate(second.poll("T2", old)).public_key())


def test_a_rejected_request_stays_rejected(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab(manual=True)
    device = Device(running, rsa_keys[3])
    device.enroll("T1")
    decide(running, "rejected")
    refused(device.poll("T1"), BAD_REQUEST, "rejected")
    running.restart()
    refused(device.enroll("T1"), BAD_REQUEST, "rejected")


def test_what_never_authenticated_does_not_wait(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab(manual=True)
    refused(Device(running, rsa_keys[3], challenge="guess").enroll(), BAD_REQUEST, "challenge")
    assert not running.ca.store.all_waiting()


@pytest.mark.parametrize(
    ("change", "transaction_id", "fail_info"),
    [
        pytest.param({}, "T9", BAD_CERT_ID, id="unknown transaction"),
        pytest.param({"name": "CN=other"}, "T1", BAD_REQUEST, id="another subject"),
        pytest.param({"key": 4}, "T1", BAD_MESSAGE_CHECK, id="another key"),
    ],
)
def test_a_poll_must_fit_its_request(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], change: dict[str, Any], transaction_id: str, fail_info: FailInfo
) -> None:
    running = lab(manual=True)
    device = Device(running, rsa_keys[3])
    device.enroll("T1")
    if "key" in change:
        change = {"key": rsa_keys[change["key"]]}
    refused(replace(device, **change).poll(transaction_id), fail_info, "")


def test_a_request_interrupted_while_it_was_issued_is_not_issued_again(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]
) -> None:
    running = lab(manual=True)
    device = Device(running, rsa_keys[3])
    device.enroll("T1")
    decide(running, "approved")
    (left_over,) = (running.directory / "pending").iterdir()
    content = left_over.read_bytes()
    issued = certificate(device.poll("T1"))
    left_over.write_bytes(content)  # as if the power had gone before its removal
    running.restart()
    assert certificate(device.poll("T1")) == issued
    assert len(running.ca.issued()) == 1


# --- a CA that misbehaves is a subclass -----------------------------------------------------------


class WrongNonce(LabCA):
    def reply(self, request: Request, answer: Answer) -> bytes:
        return super().reply(structs.replace(request, sender_nonce=bytes(16)), answer)


class OtherTransaction(LabCA):
    def reply(self, request: Request, answer: Answer) -> bytes:
        return super().reply(structs.replace(request, transaction_id="another"), answer)


class OtherRecipient(LabCA):
    def reply(self, request: Request, answer: Answer) -> bytes:
        return super().reply(structs.replace(request, signer=self.generation.issuer.certificate), answer)


@pytest.mark.parametrize("kind", [WrongNonce, OtherTransaction, OtherRecipient])
def test_a_misbehaving_ca_is_not_believed(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], kind: type[LabCA]) -> None:
    with pytest.raises(TrustError):
        Device(lab(kind), rsa_keys[3]).enroll()


# --- whatever is sent -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Attribute's length:UserWarning")  # `cryptography`, of a country such as "DEU"
@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_content_is_refused_or_certified_but_never_breaks_the_lab(
    fuzzed: tuple[LabCA, Request], data: st.DataObject
) -> None:
    ca, request = fuzzed
    content = bytearray(request.content)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    kind = data.draw(st.sampled_from(MessageType))
    with suppress(RejectedError):
        ca.decide(
            structs.replace(request, message_type=kind, content=bytes(content), transaction_id=content.hex()[:200])
        )


@given(message=st.binary(max_size=200))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_message_of_any_bytes_gets_400(fuzzed: tuple[LabCA, Request], message: bytes) -> None:
    assert fuzzed[0].respond_http(Call("PKIOperation", message)).status == 400


@pytest.fixture
def fuzzed(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> tuple[LabCA, Request]:
    running = lab()
    device = Device(running, rsa_keys[3], "CN=device,O=Example", (x509.DNSName("device.example.net"),))
    signer = device.self_signed().certificate
    return running.ca, Request(MessageType.PKCS_REQ, "T", bytes(16), signer, device.csr(), device.algorithms)
