"""A signer's chain: a request carries it, and an answer may be encrypted for it too, but for nobody else."""

from __future__ import annotations

import pytest
from asn1crypto import cms
from cryptography import x509
from msgspec.structs import replace

from certagent import lenient
from certagent.errors import TrustError
from certagent.scep import Issued, MessageType, Signer, decode_reply, decode_request, encode_request, sign_again
from certagent.scep.envelope import enveloped_data

from .parts import NONCE, STRONG, TRANSACTION, World


@pytest.fixture
def introduced(world: World) -> Signer:
    """The device, with the CA above it: as a maker's certificate comes with its chain."""
    return replace(world.device, chain=(world.ca.certificate,))


def test_a_request_carries_it_behind_the_signer(world: World, introduced: Signer) -> None:
    sent = encode_request(
        MessageType.PKCS_REQ,
        b"content",
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signer=introduced,
        recipient=world.ca.certificate,
        algorithms=STRONG,
    )
    again = sign_again(
        sent, MessageType.PKCS_REQ, transaction_id=TRANSACTION, sender_nonce=NONCE, signer=introduced, digest="sha256"
    )
    for message in (sent, again):
        signed = cms.ContentInfo.load(message)["content"]
        first, second = (each.chosen.dump() for each in signed["certificates"])
        assert (x509.load_der_x509_certificate(first), x509.load_der_x509_certificate(second)) == (
            introduced.certificate,
            world.ca.certificate,
        )
        read = decode_request(message, recipients=[world.ca])
        assert (read.signer, read.beside) == (introduced.certificate, introduced.chain)


def encrypted_for(world: World, *others: x509.Certificate) -> bytes:
    """A reply whose envelope has a recipient more for each of these, as Go's servers make it."""
    info = cms.ContentInfo.load(world.content())
    recipients = info["content"]["recipient_infos"]
    for other in others:
        more = cms.ContentInfo.load(enveloped_data(b"-", other, "aes128-cbc"))["content"]["recipient_infos"][0]
        recipients.append(more)
    return world.signed(content=info.dump(force=True))


def read(world: World, message: bytes, decrypter: Signer) -> object:
    return decode_reply(
        message,
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signers=[world.ca.certificate],
        decrypter=decrypter,
        accept=(),
    )


def test_an_answer_for_the_whole_chain_is_read(world: World, introduced: Signer) -> None:
    assert isinstance(read(world, encrypted_for(world, world.ca.certificate), introduced), Issued)


def test_one_for_somebody_else_as_well_is_not(world: World, introduced: Signer) -> None:
    with pytest.raises(TrustError, match="exactly one RSA key"):
        read(world, encrypted_for(world, world.ca.certificate), world.device)
    with pytest.raises(TrustError, match="exactly one RSA key"):
        read(world, encrypted_for(world, world.ca.certificate, world.stranger.certificate), introduced)


@pytest.mark.parametrize("text", ["CN=web", "C=DE,O=Müller & Söhne,CN=a+UID=b", "2.5.4.45=x", "CN=" + "x" * 64])
def test_a_name_is_read_back_as_it_was_written(text: str) -> None:
    name = x509.Name.from_rfc4514_string(text)
    assert lenient.name(name.public_bytes()) == name
    assert lenient.name(name.public_bytes()).public_bytes() == name.public_bytes()
