"""GetCert and GetCRL: what is asked, what comes back, and whether a CRL is the CA's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from certagent import keys
from certagent.certificate import crl_issued_by, to_pem
from certagent.config.key_types import KeyType
from certagent.errors import TrustError
from certagent.scep import (
    FailInfo,
    Issued,
    MessageType,
    PkiStatus,
    Rejected,
    Reply,
    Signer,
    decode_reply,
    decode_request,
    degenerate,
    encode_request,
    enveloped_data,
    issuer_and_serial,
    parse_issuer_and_serial,
    self_signed,
)

from .parts import NONCE, NOW, STRONG, TRANSACTION, World, name


def crl(ca: Signer, *, revoked: int = 1, pss: bool = False) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.certificate.subject)
    builder = builder.last_update(NOW).next_update(NOW + timedelta(days=7))
    entry = x509.RevokedCertificateBuilder().revocation_date(NOW)
    for number in range(revoked):
        builder = builder.add_revoked_certificate(entry.serial_number(2**100 + number).build())
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if pss else None
    return builder.sign(ca.key, keys.digest_for(ca.key, hashes.SHA256()), rsa_padding=scheme).public_bytes(Encoding.DER)


def ask(world: World, data: bytes, message_type: MessageType) -> Reply:
    return decode_reply(
        data,
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signers=world.signers,
        decrypter=world.device,
        accept=(),
        message_type=message_type,
    )


# ── the question ──


@pytest.mark.parametrize("serial", [1, 127, 128, 0, 2**159 - 1, -1], ids=str)
def test_which_certificate(serial: int) -> None:
    issuer = name("CN=CA,O=Example")
    content = issuer_and_serial(issuer, serial)
    assert parse_issuer_and_serial(content) == (issuer.public_bytes(), serial)
    assert cms.IssuerAndSerialNumber.load(content, strict=True).dump(force=True) == content


@pytest.mark.parametrize(
    "data", [b"", b"\x30\x00", b"\x30\x02\x30\x00", b"\x04\x00", b"\x30\x05\x30\x00\x02\x01\x01\0"]
)
def test_a_query_that_is_none(data: bytes) -> None:
    with pytest.raises(TrustError):
        parse_issuer_and_serial(data)


@pytest.mark.parametrize("message_type", [MessageType.GET_CERT, MessageType.GET_CRL])
def test_the_question_arrives(world: World, message_type: MessageType) -> None:
    content = issuer_and_serial(world.ca.certificate.subject, world.issued.serial_number)
    message = encode_request(
        message_type,
        content,
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signer=world.device,
        recipient=world.ca.certificate,
        algorithms=STRONG,
    )
    request = decode_request(message, recipients=[world.ca])
    assert (request.message_type, request.content) == (message_type, content)


# ── the answer ──


def test_get_cert(world: World) -> None:
    assert ask(world, world.reply(), MessageType.GET_CERT) == Issued((world.issued,), world.ca.certificate)


@pytest.mark.parametrize("certificates", [[], ["the CA's"]], ids=["alone", "with a certificate"])
def test_get_crl(world: World, certificates: list[str]) -> None:
    der = crl(world.ca)
    reply = world.reply(certificates=[world.ca.certificate for _ in certificates], crl=der)
    answer = ask(world, reply, MessageType.GET_CRL)
    assert isinstance(answer, Issued)
    (revocations,) = answer.revocations
    assert revocations.public_bytes(Encoding.DER) == der
    assert crl_issued_by(revocations, authority(world).certificate, ())


def test_a_large_crl(world: World) -> None:
    answer = ask(world, world.reply(certificates=[], crl=crl(world.ca, revoked=20_000)), MessageType.GET_CRL)
    assert isinstance(answer, Issued)
    assert len(answer.revocations[0]) == 20_000


def test_a_crl_beside_a_certificate_does_no_harm(world: World) -> None:
    answer = ask(world, world.reply(crl=crl(world.ca)), MessageType.PKCS_REQ)
    assert isinstance(answer, Issued)
    assert answer.certificates == (world.issued,)
    assert len(answer.revocations) == 1


def test_unknown_certificate(world: World) -> None:
    reply = world.reply(PkiStatus.FAILURE, fail_info=FailInfo.BAD_CERT_ID)
    assert ask(world, reply, MessageType.GET_CERT) == Rejected(FailInfo.BAD_CERT_ID, "")


def broken_crl(world: World) -> bytes:
    issuer = world.ca.certificate.subject.public_bytes()
    inner = degenerate([], crl(world.ca)).replace(issuer, bytes(len(issuer)))
    return world.signed(content=enveloped_data(inner, world.device.certificate, "aes128-cbc"))


@pytest.mark.parametrize(
    ("message_type", "make", "says"),
    [
        pytest.param(MessageType.GET_CRL, World.reply, "holds no CRL", id="a certificate for a CRL"),
        pytest.param(
            MessageType.GET_CERT,
            lambda w: w.reply(certificates=[], crl=crl(w.ca)),
            "holds no certificate",
            id="a CRL for a certificate",
        ),
        pytest.param(MessageType.GET_CRL, broken_crl, "a CRL in .* malformed", id="a broken CRL"),
        pytest.param(
            MessageType.GET_CRL, lambda w: w.reply(signer=w.stranger, crl=crl(w.ca)), "stranger", id="from a stranger"
        ),
    ],
)
def test_refused(world: World, message_type: MessageType, make: Callable[[World], bytes], says: str) -> None:
    with pytest.raises(TrustError, match=says):
        ask(world, make(world), message_type)


# ── whose CRL it is ──


def authority(world: World, key_type: KeyType = KeyType.RSA_2048, *, may_sign: bool | None = None) -> Signer:
    """A CA named like the world's, with a key usage that says cRLSign, or not, or without one."""
    key = world.ca.key if key_type is KeyType.RSA_2048 else keys.generate(key_type)
    builder = x509.CertificateBuilder().subject_name(world.ca.certificate.subject)
    builder = builder.issuer_name(world.ca.certificate.subject).public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=9))
    if may_sign is not None:
        none = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=may_sign,
            encipher_only=False,
            decipher_only=False,
            **none,
        )
        builder = builder.add_extension(usage, critical=True)
    return Signer(key, builder.sign(key, keys.digest_for(key, hashes.SHA256())))


def load(der: bytes) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(der)


def of_name_and_key(world: World, subject: x509.Name, key: RSAPrivateKey) -> bytes:
    return crl(Signer(key, self_signed(key, subject, NOW)))


ONLY_SIGN = [each for each in KeyType if each.family != "rsa"]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda w: (crl(ca := authority(w)), ca), id="RSA"),
        pytest.param(lambda w: (crl(ca := authority(w), pss=True), ca), id="RSA-PSS"),
        *(pytest.param(lambda w, k=kind: (crl(ca := authority(w, k)), ca), id=kind) for kind in ONLY_SIGN),
        pytest.param(lambda w: (crl(ca := authority(w, may_sign=True)), ca), id="with the right key usage"),
    ],
)
def test_the_cas_crl(world: World, make: Callable[[World], tuple[bytes, Signer]]) -> None:
    der, ca = make(world)
    assert crl_issued_by(load(der), ca.certificate, ())


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda w: (of_name_and_key(w, w.ca.certificate.subject, w.stranger.key), w.ca), id="a namesake's"),
        pytest.param(lambda w: (of_name_and_key(w, name("CN=Other"), w.ca.key), w.ca), id="another name"),
        pytest.param(lambda w: (crl(ca := authority(w, may_sign=False)), ca), id="key usage without cRLSign"),
        pytest.param(lambda w: (crl(authority(w, KeyType.EC_P256)), w.ca), id="another kind of key"),
        *(
            pytest.param(lambda w, k=kind: (crl(authority(w, k)), authority(w, k)), id=f"another {kind} key")
            for kind in ONLY_SIGN
        ),
    ],
)
def test_not_the_cas_crl(world: World, make: Callable[[World], tuple[bytes, Signer]]) -> None:
    der, ca = make(world)
    assert not crl_issued_by(load(der), ca.certificate, ("sha1", "md5"))


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("digest", ["sha1", "md5"])
def test_a_weak_crl_is_believed_only_where_it_is_accepted(world: World, tmp_path: Path, digest: str) -> None:
    """`cryptography` makes none, so openssl does."""
    ca = authority(world)
    (tmp_path / "ca.pem").write_bytes(to_pem([ca.certificate]))
    (tmp_path / "ca.key").write_bytes(keys.to_pem(ca.key))
    (tmp_path / "index.txt").touch()
    (tmp_path / "ca.cnf").write_text("[ca]\ndefault_ca = here\n[here]\ndatabase = index.txt\ndefault_crl_days = 7\n")
    command = ["openssl", "ca", "-config", "ca.cnf", "-gencrl", "-cert", "ca.pem", "-keyfile", "ca.key", "-md", digest]
    pem = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    weak = x509.load_pem_x509_crl(pem)
    with pytest.raises(TrustError, match=f"the CRL of .* is signed with {digest}") as caught:
        crl_issued_by(weak, ca.certificate, ())
    assert f"`{digest}`" in caught.value.hint
    assert crl_issued_by(weak, ca.certificate, (digest,))
