"""GetCert, GetCRL, the CRL over HTTP, and what being revoked means."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent.certificate import crl_issued_by
from certagent.errors import StateError
from certagent.lab.store import Store
from certagent.scep import FailInfo, Issued, MessageType, Pending, Rejected, Signer, issuer_and_serial
from tests.waiting import PATIENCE

from .device import START, Device, Lab, MakeLab, certificate

LATER = timedelta(hours=1)
CA_NAME = "CN=certagent lab CA,O=certagent lab\\, not for production"


def crl_of(reply: Issued | Pending | Rejected) -> x509.CertificateRevocationList:
    assert isinstance(reply, Issued), reply
    (only,) = reply.revocations
    assert reply.certificates == ()
    return only


def serials(crl: x509.CertificateRevocationList) -> set[int]:
    return {entry.serial_number for entry in crl}


def ask(device: Device, kind: MessageType, serial: int, issuer: str = CA_NAME) -> Issued | Pending | Rejected:
    content = issuer_and_serial(x509.Name.from_rfc4514_string(issuer), serial)
    return device.send(kind, content, device.self_signed())


def fetched(running: Lab, certificate: x509.Certificate) -> x509.CertificateRevocationList:
    """The CRL from where the certificate says it is."""
    (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    (uri,) = point.full_name
    answer = requests.get(uri.value, timeout=PATIENCE)
    assert answer.headers["Content-Type"] == "application/pkix-crl"
    assert urlsplit(uri.value).netloc == urlsplit(running.url).netloc
    return x509.load_der_x509_crl(answer.content)


@pytest.mark.parametrize("ra", [pytest.param(False, id="CA"), pytest.param(True, id="CA and RA")])
def test_getcert_returns_what_was_issued(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], ra: bool) -> None:
    device = Device(lab(ra=ra), rsa_keys[3])
    first, second = certificate(device.enroll()), certificate(device.enroll())
    for each in (first, second):
        assert certificate(ask(device, MessageType.GET_CERT, each.serial_number)) == each


def test_a_certificate_may_ask_for_others(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    device = Device(lab(), rsa_keys[3])
    own, other = certificate(device.enroll()), certificate(Device(device.lab, rsa_keys[4], "CN=other").enroll())
    content = issuer_and_serial(other.issuer, other.serial_number)
    assert certificate(device.send(MessageType.GET_CERT, content, Signer(rsa_keys[3], own))) == other


@pytest.mark.parametrize(
    ("kind", "issuer", "text"),
    [
        pytest.param(MessageType.GET_CERT, CA_NAME, "no certificate with this serial", id="GetCert, unknown serial"),
        pytest.param(MessageType.GET_CERT, "CN=another CA", "another CA", id="GetCert, another CA"),
        pytest.param(MessageType.GET_CRL, "CN=another CA", "another CA", id="GetCRL, another CA"),
    ],
)
def test_what_it_does_not_have_is_badcertid(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], kind: MessageType, issuer: str, text: str
) -> None:
    reply = ask(Device(lab(), rsa_keys[3]), kind, 1, issuer)
    assert isinstance(reply, Rejected)
    assert reply.fail_info is FailInfo.BAD_CERT_ID
    assert text in reply.text


@pytest.mark.parametrize("pss", [pytest.param(False, id="PKCS#1"), pytest.param(True, id="PSS")])
def test_the_crl_names_what_is_revoked_and_is_the_same_both_ways(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], pss: bool
) -> None:
    running = lab(pss=pss)
    device = Device(running, rsa_keys[3])
    issued = certificate(device.enroll())
    assert serials(fetched(running, issued)) == set()
    running.clock.advance(LATER)
    running.ca.store.revoke(issued.serial_number, running.clock())
    crl = fetched(running, issued)
    assert serials(crl) == {issued.serial_number}
    assert crl_issued_by(crl, running.ca.generation.issuer.certificate, ())
    asked = ask(device, MessageType.GET_CRL, issued.serial_number)
    assert crl_of(asked).tbs_certlist_bytes == crl.tbs_certlist_bytes  # made at the same second of its clock


def test_dates_and_numbers_of_crls(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab()
    issued = certificate(Device(running, rsa_keys[3]).enroll())
    revoked_at = START.replace(microsecond=0)
    running.ca.store.revoke(issued.serial_number, START)
    first = running.ca.crl()
    running.clock.advance(LATER)
    running.ca.store.revoke(issued.serial_number, running.clock())  # the first word counts
    running.restart()
    second = running.ca.crl()
    assert [entry.revocation_date_utc for entry in second] == [revoked_at]
    assert (second.last_update_utc, second.next_update_utc) == (
        revoked_at + LATER,
        revoked_at + LATER + timedelta(days=1),
    )
    numbers = [each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for each in (first, second)]
    assert numbers[0] < numbers[1]


@pytest.mark.parametrize("kind", [MessageType.RENEWAL_REQ, MessageType.PKCS_REQ])
def test_a_revoked_certificate_renews_nothing(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], kind: MessageType
) -> None:
    running = lab()
    old = Signer(rsa_keys[3], certificate(Device(running, rsa_keys[3]).enroll()))
    Store(running.directory).revoke(old.certificate.serial_number, running.clock())  # by another process
    reply = Device(running, rsa_keys[4]).renew(old, kind)
    assert isinstance(reply, Rejected)
    assert (reply.fail_info, "revoked" in reply.text) == (FailInfo.BAD_REQUEST, True)
    certificate(Device(running, rsa_keys[4]).enroll())  # the challenge still opens the door


def test_a_damaged_revocation_is_an_error_not_a_pardon(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab()
    issued = certificate(Device(running, rsa_keys[3]).enroll())
    running.ca.store.revoke(issued.serial_number, running.clock())
    (running.directory / "revoked" / f"{issued.serial_number:x}").write_bytes(b"\xff")
    with pytest.raises(StateError, match="damaged"):
        running.ca.crl()
    assert requests.get(running.url.replace("/scep", "/crl"), timeout=PATIENCE).status_code == 500
