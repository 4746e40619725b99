"""Other people's clients at the lab, rebuilt from how their code asks and reads; those that run here are in interop/.

jscep takes the first CA it is offered for the issuer, looks at Content-Types, and polls with a subject that Java wrote.
XiPKI names the envelope as the content's type, reads one CA and no root, and believes nothing without a signing time.
sscep reads by OpenSSL's old PKCS#7 functions, which know certificates in plain data alone.
"""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent.certificate import to_pem
from certagent.config.key_types import KeyType
from certagent.keys import match
from certagent.lab import Call
from certagent.lab.http import HttpAnswer
from certagent.scep import (
    Issued,
    MessageType,
    Pending,
    PkiStatus,
    Signer,
    decode_reply,
    enveloped_data,
    new_nonce,
    read_ca_certificates,
    signed_data,
)
from certagent.scep.asn1 import content_info, tlv
from certagent.scep.message import MESSAGE_TYPE, SENDER_NONCE, TRANSACTION_ID
from certagent.scep.signed import SIGNING_TIME, read_degenerate, signing_time_value

from .device import AES, Device, Lab, MakeLab, certificate

DAY = timedelta(days=1)
NEXT_CA = "application/x-x509-next-ca-cert"


def signing_time(message: bytes) -> datetime | None:
    """What the one SignerInfo says of when it was made."""
    (info,) = content_info(message, "signed_data", "a message")["signer_infos"]
    found = [each["values"][0].native for each in info["signed_attrs"] if each["type"].dotted == SIGNING_TIME]
    return found[0] if found else None


def first_ca(answer: HttpAnswer) -> x509.Certificate:
    return next(
        each
        for each in read_ca_certificates(answer.body)
        if each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    )


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"intermediate": True}, id="intermediate CA"),
        pytest.param({"intermediate": True, "ra": True}, id="intermediate CA and RA"),
        pytest.param({"ca_key": KeyType.EC_P256}, id="EC CA and RSA RA"),
    ],
)
def test_the_first_ca_offered_is_the_issuer(lab: MakeLab, settings: dict[str, object]) -> None:
    running = lab(**settings)
    answer = running.ca.respond_http(Call("GetCACert", ""))
    assert first_ca(answer) == running.ca.generation.issuer.certificate
    assert read_ca_certificates(answer.body)[0] == running.ca.generation.issuer.certificate


# A Java program writes a name anew, in PrintableString where its letters allow.
def as_java_writes(name: x509.Name) -> asn1_x509.Name:
    words = asn1_x509.Name.load(name.public_bytes()).native
    return asn1_x509.Name.build(words, use_printable=True)


@pytest.mark.parametrize(
    ("name", "polled_as"),
    [
        pytest.param("CN=router", {}, id="PrintableString"),
        pytest.param("CN=Router  One", {"common_name": "router one"}, id="case and blanks"),
    ],
)
def test_a_poll_names_the_same_subject_in_other_letters(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], name: str, polled_as: dict[str, str]
) -> None:
    running = lab(manual=True)
    device = Device(running, rsa_keys[3], name)
    signer = device.self_signed()
    assert isinstance(device.send(MessageType.PKCS_REQ, device.csr(), signer, "T1"), Pending)
    subject = asn1_x509.Name.build(polled_as, use_printable=True) if polled_as else as_java_writes(device.subject)
    assert subject.dump() != device.subject.public_bytes()
    issuer = as_java_writes(running.ca.generation.issuer.certificate.subject)
    content = tlv(issuer.dump() + subject.dump(), tag=0x30)
    assert isinstance(device.send(MessageType.CERT_POLL, content, signer, "T1"), Pending)


def xipki_request(running: Lab, device: Device, signer: Signer, nonce: bytes) -> bytes:
    """A PKCSReq as XiPKI writes it."""
    envelope = enveloped_data(device.csr(), running.ca.generation.recipient.certificate, AES.cipher)
    attributes = {
        MESSAGE_TYPE: core.PrintableString(str(int(MessageType.PKCS_REQ))),
        TRANSACTION_ID: core.PrintableString("T1"),
        SENDER_NONCE: core.OctetString(nonce),
        SIGNING_TIME: signing_time_value(running.clock()),
    }
    carried = [signer.certificate]
    return signed_data(envelope, attributes, signer, AES.digest, carried, content_type="enveloped_data")


def test_xipki_enrolls(lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    running = lab()
    device, nonce = Device(running, rsa_keys[3]), new_nonce()
    signer = device.self_signed()
    answer = running.ca.respond_http(Call("PKIOperation", xipki_request(running, device, signer, nonce)))
    reply = decode_reply(
        answer.body,
        transaction_id="T1",
        sender_nonce=nonce,
        signers=running.trusted,
        decrypter=signer,
        accept=(),
        message_type=MessageType.PKCS_REQ,
    )
    assert isinstance(reply, Issued), reply
    assert match(rsa_keys[3], certificate(reply).public_key())


@pytest.mark.parametrize(
    ("manual", "challenge", "status"),
    [
        pytest.param(False, None, PkiStatus.FAILURE, id="FAILURE"),
        pytest.param(True, "open sesame", PkiStatus.PENDING, id="PENDING"),
        pytest.param(False, "open sesame", PkiStatus.SUCCESS, id="SUCCESS"),
    ],
)
def test_every_reply_says_when_it_was_signed(
    lab: MakeLab, rsa_keys: list[rsa.RSAPrivateKey], manual: bool, challenge: str | None, status: PkiStatus
) -> None:
    running = lab(manual=manual)
    device = Device(running, rsa_keys[3], challenge=challenge)
    answer = running.ca.respond_http(
        Call("PKIOperation", xipki_request(running, device, device.self_signed(), new_nonce()))
    )
    assert signing_time(answer.body) == running.clock().replace(microsecond=0)
    assert status.name in answer.note


def announced(running: Lab) -> HttpAnswer:
    running.clock.now = running.ca.generation.ends - DAY
    return running.ca.respond_http(Call("GetNextCACert", ""))


@pytest.mark.parametrize("flat", [pytest.param(False, id="nested"), pytest.param(True, id="flat")])
def test_a_next_ca_has_its_content_type_and_says_when_it_was_signed(lab: MakeLab, flat: bool) -> None:
    running = lab(rollover=30 * DAY, ca_lifetime=365 * DAY, flat_next_ca=flat)
    answer = announced(running)
    assert (answer.status, answer.content_type) == (200, NEXT_CA)
    assert signing_time(answer.body) == running.clock().replace(microsecond=0)


def test_a_nested_next_ca_is_plain_data_that_holds_one_ca(lab: MakeLab) -> None:
    running = lab(rollover=30 * DAY, ca_lifetime=365 * DAY)
    outer = content_info(announced(running).body, "signed_data", "the answer")
    assert outer["encap_content_info"]["content_type"].native == "data"
    certificates, _ = read_degenerate(outer["encap_content_info"]["content"].native, "what is nested")
    assert running.ca.following is not None
    assert certificates == (running.ca.following.issuer.certificate,)


@pytest.mark.needs("openssl")
def test_openssl_reads_a_nested_next_ca_as_pkcs7(lab: MakeLab, tmp_path: Path) -> None:
    running = lab(rollover=30 * DAY, ca_lifetime=365 * DAY)
    answer, ca, inner = tmp_path / "answer.der", tmp_path / "ca.pem", tmp_path / "inner.der"
    ca.write_bytes(to_pem([running.ca.generation.issuer.certificate]))
    answer.write_bytes(announced(running).body)
    opened = ["openssl", "smime", "-verify", "-binary", "-inform", "DER", "-in", str(answer), "-out", str(inner)]
    believing = ["-CAfile", str(ca), "-no_check_time", "-purpose", "any"]
    subprocess.run([*opened, *believing], check=True, capture_output=True)
    listed = ["openssl", "pkcs7", "-inform", "DER", "-in", str(inner), "-print_certs"]
    shown = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
    assert running.ca.following is not None
    assert to_pem([running.ca.following.issuer.certificate]).decode().strip() in shown
