"""Against a server none of us wrote: micromdm's, Debian's package `scep`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certagent import keys
from certagent.errors import TrustError
from certagent.keys import PrivateKey
from certagent.scep import (
    Client,
    FailInfo,
    Issued,
    MessageType,
    Rejected,
    Reply,
    Signer,
    build_csr,
    decode_reply,
    encode_request,
    new_nonce,
    new_transaction_id,
    self_signed,
)
from tests.waiting import free_port, listens, until

from .parts import name

pytestmark = pytest.mark.needs("scepserver")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("scepserver")
    made = ["scepserver", "ca", "-init", "-depot", "depot", "-keySize", "2048", "-organization", "PeerTest"]
    subprocess.run(made, cwd=directory, check=True, capture_output=True)
    port = free_port()
    command = ["scepserver", "-depot", "depot", "-port", str(port), "-challenge", "secret", "-allowrenew", "0"]
    with (
        Path(directory / "log").open("wb") as log,
        subprocess.Popen(command, cwd=directory, stdout=log, stderr=log) as server,
    ):
        client = Client(f"http://127.0.0.1:{port}/scep", timeout=timedelta(seconds=10))
        try:
            until(lambda: listens(port))
            yield client
        finally:
            server.terminate()


def enroll(
    client: Client,
    key: PrivateKey,
    signer: Signer,
    *,
    challenge: str | None = "secret",
    message_type: MessageType = MessageType.PKCS_REQ,
    accept: tuple[str, ...] = ("sha1", "des"),
    post: bool = True,
) -> Reply:
    (ca,) = client.get_ca_certificates()
    subject = name("CN=device,O=Example")
    san = x509.SubjectAlternativeName([x509.DNSName("device.example.net")])
    algorithms = client.get_capabilities().algorithms()
    nonce, transaction = new_nonce(), new_transaction_id(key.public_key())
    message = encode_request(
        message_type,
        build_csr(key, subject, san=san, challenge=challenge, digest=algorithms.digest),
        transaction_id=transaction,
        sender_nonce=nonce,
        signer=signer,
        recipient=ca,
        algorithms=algorithms,
    )
    return decode_reply(
        client.pki_operation(message, post=post),
        transaction_id=transaction,
        sender_nonce=nonce,
        signers=[ca],
        decrypter=signer,
        accept=accept,
    )


@pytest.fixture(scope="module")
def first(rsa_keys: list[PrivateKey]) -> Signer:
    return Signer(rsa_keys[0], self_signed(rsa_keys[0], name("CN=device,O=Example"), datetime.now(UTC)))


def test_capabilities(client: Client) -> None:
    capabilities = client.get_capabilities()
    assert capabilities.post
    assert capabilities.renewal
    assert not capabilities.next_ca
    assert capabilities.algorithms().digest == "sha256"


@pytest.mark.parametrize("post", [True, False], ids=["POST", "GET"])
def test_enrollment(client: Client, first: Signer, post: bool) -> None:
    reply = enroll(client, first.key, first, post=post)
    assert isinstance(reply, Issued)
    (certificate,) = reply.certificates
    assert keys.match(first.key, certificate.public_key())
    (ca,) = client.get_ca_certificates()
    certificate.verify_directly_issued_by(ca)


def test_renewal(client: Client, first: Signer, rsa_keys: list[PrivateKey]) -> None:
    before = enroll(client, first.key, first)
    assert isinstance(before, Issued)
    old = Signer(first.key, before.certificates[0])
    after = enroll(client, rsa_keys[1], old, message_type=MessageType.RENEWAL_REQ)
    assert isinstance(after, Issued)
    assert keys.match(rsa_keys[1], after.certificates[0].public_key())
    assert after.certificates[0].serial_number != old.certificate.serial_number


@pytest.mark.parametrize("challenge", ["wrong", None])
def test_challenge_is_asked_for(client: Client, first: Signer, challenge: str | None) -> None:
    assert enroll(client, first.key, first, challenge=challenge) == Rejected(FailInfo.BAD_REQUEST, "")


def test_its_weak_replies_are_refused_unless_accepted(client: Client, first: Signer) -> None:
    with pytest.raises(TrustError, match="des and sha1") as caught:
        enroll(client, first.key, first, accept=())
    assert "add des and sha1" in caught.value.hint
