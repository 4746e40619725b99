"""How an envelope's key travels (RSA-OAEP, a password), and signatures of CAs with other keys than plain RSA."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from asn1crypto import cms, core
from cryptography import x509

from certagent import keys
from certagent.certificate import to_pem
from certagent.config.key_types import KeyType
from certagent.config.values import KeyTransport
from certagent.errors import TrustError
from certagent.scep import (
    Algorithms,
    Issued,
    MessageType,
    Signer,
    decode_reply,
    decode_request,
    degenerate,
    encode_request,
    enveloped_data,
    self_signed,
)

from .parts import EVERYTHING, NONCE, NOW, STRONG, TRANSACTION, World, issue, name

PASSWORD = b"challenge \xc3\xa4"


def openssl(*command: str | Path) -> bytes:
    return subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True).stdout


def unlocked(world: World, data: bytes, password: bytes | None = PASSWORD, accept: tuple[str, ...] = ()) -> Issued:
    reply = decode_reply(
        data,
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signers=world.signers,
        decrypter=world.device,
        accept=accept,
        password=password,
    )
    assert isinstance(reply, Issued)
    return reply


@pytest.fixture(scope="module")
def elliptic() -> World:
    """A world without a single RSA key."""
    return World.of([keys.generate(kind) for kind in (KeyType.EC_P384, *[KeyType.EC_P256] * 3)])


# ── both ways, between honest parties ──


@pytest.mark.parametrize("cipher", ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des", "des"])
@pytest.mark.parametrize("key_transport", ["rsa", "oaep", "password"])
def test_round_trip(world: World, key_transport: KeyTransport, cipher: str) -> None:
    algorithms = Algorithms(cipher, "sha384")
    message = encode_request(
        MessageType.PKCS_REQ,
        b"content",
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signer=world.device,
        recipient=world.ca.certificate,
        algorithms=algorithms,
        key_transport=key_transport,
        password=PASSWORD,
    )
    request = decode_request(message, recipients=[world.ca], password=PASSWORD)
    assert (request.content, request.algorithms) == (b"content", algorithms)
    assert request.key_transport == key_transport

    reply = world.reply(algorithms=algorithms, key_transport=key_transport, password=PASSWORD)
    assert unlocked(world, reply, accept=EVERYTHING).certificates == (world.issued,)


def test_a_device_and_a_ca_with_ec_keys_alone(elliptic: World) -> None:
    """RFC 8894 §3.1: what no key can receive is locked with the challenge password."""
    message = encode_request(
        MessageType.PKCS_REQ,
        b"content",
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signer=elliptic.device,
        recipient=None,
        algorithms=STRONG,
        key_transport="password",
        password=PASSWORD,
    )
    request = decode_request(message, recipients=[elliptic.ca], password=PASSWORD)
    assert (request.content, request.signer) == (b"content", elliptic.device.certificate)
    reply = elliptic.reply(recipient=None, key_transport="password", password=PASSWORD)
    assert unlocked(elliptic, reply) == Issued((elliptic.issued,), elliptic.ca.certificate)


@pytest.mark.parametrize("key_type", [KeyType.RSA_3072, KeyType.RSA_4096])
def test_larger_rsa_keys(world: World, key_type: KeyType) -> None:
    key = keys.generate(key_type)
    device = Signer(key, self_signed(key, name("CN=large"), NOW))
    there = replace(world, device=device, issued=issue(world.ca, "CN=large", key))
    assert there.decode(there.reply(key_transport="oaep")) == Issued((there.issued,), world.ca.certificate)


def test_the_same_envelope_twice_is_not_the_same_bytes(world: World) -> None:
    one, other = (enveloped_data(b"x", None, "aes128-cbc", key_transport="password", password=b"p") for _ in "ab")
    assert one != other
    assert b"p" * 8 not in one


# ── refused ──


def test_nobody_to_envelope_to(world: World) -> None:
    with pytest.raises(TrustError, match="requests cannot be encrypted"):
        world.reply(recipient=None)


@pytest.mark.parametrize("password", [None, b""])
def test_no_password_to_lock_with(world: World, password: bytes | None) -> None:
    with pytest.raises(TrustError, match="no password"):
        world.reply(key_transport="password", password=password)


def test_no_password_to_unlock_with(world: World) -> None:
    with pytest.raises(TrustError, match="encrypted with a password"):
        unlocked(world, world.reply(key_transport="password", password=PASSWORD), password=None)


def test_a_weak_cipher_around_the_key_counts_too(world: World) -> None:
    """The content is AES; what its key is wrapped with is not."""

    def edit(info: cms.PasswordRecipientInfo) -> None:
        wrapping = cms.EncryptionAlgorithm(
            {"algorithm": "1.2.840.113549.3.7", "parameters": core.OctetString(bytes(8))}
        )
        info["key_encryption_algorithm"] = {"algorithm": PWRI, "parameters": wrapping}

    with pytest.raises(TrustError, match="3des, which is too weak"):
        unlocked(world, locked(edit)(world))


PWRI = "1.2.840.113549.1.9.16.3.9"


def locked(edit: Callable[[cms.PasswordRecipientInfo], None]) -> Callable[[World], bytes]:
    """A reply that the CA signed around a password-locked envelope that was changed."""

    def make(world: World) -> bytes:
        data = enveloped_data(
            degenerate([world.issued]), None, "aes128-cbc", key_transport="password", password=PASSWORD
        )
        info = cms.ContentInfo.load(data)
        edit(info["content"]["recipient_infos"][0].chosen)
        return world.signed(content=info.dump(force=True))

    return make


def setting(**parameters: object) -> Callable[[cms.PasswordRecipientInfo], None]:
    """Other parameters of PBKDF2."""

    def edit(info: cms.PasswordRecipientInfo) -> None:
        for field, value in parameters.items():
            info["key_derivation_algorithm"]["parameters"][field] = value

    return edit


def other_key(info: cms.PasswordRecipientInfo) -> None:
    info["encrypted_key"] = bytes(32)


def short_key(info: cms.PasswordRecipientInfo) -> None:
    info["encrypted_key"] = bytes(16)


def odd_key(info: cms.PasswordRecipientInfo) -> None:
    info["encrypted_key"] = bytes(33)


def no_derivation(info: cms.PasswordRecipientInfo) -> None:
    del info["key_derivation_algorithm"]


def other_derivation(info: cms.PasswordRecipientInfo) -> None:
    info["key_derivation_algorithm"] = {"algorithm": "1.3.6.1.4.1.11591.4.11"}


def other_wrapping(info: cms.PasswordRecipientInfo) -> None:
    info["key_encryption_algorithm"] = {"algorithm": "aes128_wrap"}


def other_cipher(info: cms.PasswordRecipientInfo) -> None:
    wrapping = cms.EncryptionAlgorithm({"algorithm": "1.2.840.113549.3.2"})
    info["key_encryption_algorithm"] = {"algorithm": PWRI, "parameters": wrapping}


def no_cipher(info: cms.PasswordRecipientInfo) -> None:
    info["key_encryption_algorithm"] = {"algorithm": PWRI}


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        pytest.param(other_key, "cannot be decrypted", id="another key"),
        pytest.param(short_key, "cannot be decrypted", id="one block"),
        pytest.param(odd_key, "cannot be decrypted", id="no whole blocks"),
        pytest.param(setting(salt=core.OctetString(b"other salt")), "cannot be decrypted", id="another salt"),
        pytest.param(setting(iteration_count=1), "cannot be decrypted", id="one iteration"),
        pytest.param(setting(iteration_count=0), "too much work", id="no iteration"),
        pytest.param(setting(iteration_count=-5), "too much work", id="negative iterations"),
        pytest.param(setting(iteration_count=2**31), "too much work", id="iterations for a day"),
        pytest.param(setting(salt=core.OctetString(bytes(100_000))), "too much work", id="a large salt"),
        pytest.param(setting(prf={"algorithm": "sha512_224"}), "unknown digest", id="unknown digest"),
        pytest.param(setting(key_length=5), "malformed", id="another key length"),
        pytest.param(no_derivation, "an unknown way", id="no derivation"),
        pytest.param(other_derivation, "derives its key .* unknown way", id="scrypt"),
        pytest.param(other_wrapping, "wraps its key in an unknown way", id="AES key wrap"),
        pytest.param(other_cipher, "unknown cipher", id="unknown cipher"),
        pytest.param(no_cipher, "malformed", id="no cipher"),
    ],
)
def test_locks_that_do_not_open(world: World, edit: Callable[[cms.PasswordRecipientInfo], None], says: str) -> None:
    with pytest.raises(TrustError, match=says) as caught:
        unlocked(world, locked(edit)(world))
    assert "challenge" not in str(caught.value)


def test_another_password(world: World) -> None:
    # Its key passes the three check bytes once in 2^24 times.
    with pytest.raises(TrustError, match="cannot be decrypted"):
        unlocked(world, world.reply(key_transport="password", password=PASSWORD), password=b"another")


# ── openssl ──


@pytest.fixture
def files(world: World, tmp_path: Path) -> Path:
    for who, party in (("ca", world.ca), ("device", world.device)):
        (tmp_path / f"{who}.pem").write_bytes(to_pem([party.certificate]))
        (tmp_path / f"{who}.key").write_bytes(keys.to_pem(party.key))
    (tmp_path / "inner.der").write_bytes(degenerate([world.issued]))
    return tmp_path


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("cipher", ["aes128", "aes192", "aes256", "des3"])
def test_we_open_what_openssl_locks_with_a_password(world: World, files: Path, cipher: str) -> None:
    command = ("-encrypt", f"-{cipher}", "-binary", "-outform", "DER", "-in", files / "inner.der")
    envelope = openssl("cms", *command, "-pwri_password", PASSWORD.decode())
    reply = unlocked(world, world.signed(content=envelope), accept=("3des",))
    assert reply.certificates == (world.issued,)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("cipher", ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des"])
def test_openssl_opens_what_we_lock_with_a_password(files: Path, cipher: str) -> None:
    envelope = files / "envelope.der"
    envelope.write_bytes(enveloped_data(b"content", None, cipher, key_transport="password", password=PASSWORD))
    command = ("-decrypt", "-inform", "DER", "-binary", "-in", envelope, "-pwri_password", PASSWORD.decode())
    assert openssl("cms", *command) == b"content"


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="SHA-1, as is the default"),
        pytest.param(("rsa_oaep_md:sha256",), id="SHA-256"),
        pytest.param(("rsa_oaep_md:sha256", "rsa_mgf1_md:sha1"), id="SHA-256, MGF1 with SHA-1"),
    ],
)
def test_we_open_what_openssl_transports_by_oaep(world: World, files: Path, options: tuple[str, ...]) -> None:
    keyopt = [word for option in ("rsa_padding_mode:oaep", *options) for word in ("-keyopt", option)]
    command = ("-encrypt", "-aes128", "-binary", "-outform", "DER", "-in", files / "inner.der")
    envelope = openssl("cms", *command, "-recip", files / "device.pem", *keyopt)
    assert world.decode(world.signed(content=envelope)) == Issued((world.issued,), world.ca.certificate)


@pytest.mark.needs("openssl")
def test_a_label_of_oaep_is_refused(world: World, files: Path) -> None:
    keyopt = ("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_label:6162")
    command = ("-encrypt", "-aes128", "-binary", "-outform", "DER", "-in", files / "inner.der")
    envelope = openssl("cms", *command, "-recip", files / "device.pem", *keyopt)
    with pytest.raises(TrustError, match="unknown key transport"):
        world.decode(world.signed(content=envelope))


@pytest.mark.needs("openssl")
def test_openssl_opens_what_we_transport_by_oaep(world: World, files: Path) -> None:
    envelope = files / "envelope.der"
    envelope.write_bytes(enveloped_data(b"content", world.ca.certificate, "aes128-cbc", key_transport="oaep"))
    who = ("-inkey", files / "ca.key", "-recip", files / "ca.pem")
    assert openssl("cms", "-decrypt", "-inform", "DER", "-binary", "-in", envelope, *who) == b"content"


# ── signatures ──


def by_openssl(files: Path, content: Path, *options: str, certificate: str = "ca") -> cms.SignerInfo:
    """A SignerInfo as openssl makes it."""
    command = (
        "-sign",
        "-binary",
        "-nodetach",
        "-outform",
        "DER",
        "-in",
        content,
        "-signer",
        files / f"{certificate}.pem",
    )
    keyopt = [word for option in options for word in ("-keyopt", option)]
    message = openssl("cms", *command, "-inkey", files / f"{certificate}.key", "-noattr", "-md", "sha256", *keyopt)
    return cms.ContentInfo.load(message)["content"]["signer_infos"][0]


def pss_reply(world: World, files: Path, *options: str, certificate: str = "ca") -> bytes:
    """A reply whose signed attributes openssl signed with RSA-PSS."""
    info = cms.ContentInfo.load(world.reply())
    signer = info["content"]["signer_infos"][0]
    covered = files / "attributes.der"
    covered.write_bytes(signer["signed_attrs"].untag().dump())
    made = by_openssl(files, covered, "rsa_padding_mode:pss", *options, certificate=certificate)
    signer["signature_algorithm"], signer["signature"] = made["signature_algorithm"], made["signature"]
    return bytes(info.dump(force=True))


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="as is the default"),
        pytest.param(("rsa_pss_saltlen:32",), id="salt as long as the digest"),
        pytest.param(("rsa_pss_saltlen:0",), id="no salt"),
        pytest.param(("rsa_mgf1_md:sha512",), id="MGF1 with another digest"),
    ],
)
def test_replies_signed_with_pss(world: World, files: Path, options: tuple[str, ...]) -> None:
    assert world.decode(pss_reply(world, files, *options)) == Issued((world.issued,), world.ca.certificate)


@pytest.mark.needs("openssl")
def test_a_ca_with_a_pss_key(world: World, files: Path) -> None:
    """Its key says it is for RSA-PSS alone."""
    openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", files / "pss.key")
    openssl("req", "-x509", "-key", files / "pss.key", "-subj", "/CN=PSS CA", "-out", files / "pss.pem")
    certificate = x509.load_pem_x509_certificate((files / "pss.pem").read_bytes())
    there = replace(world, ca=Signer(world.ca.key, certificate), signers=[certificate])
    assert there.decode(pss_reply(there, files, certificate="pss")) == Issued((world.issued,), certificate)


def salt(length: int) -> Callable[[cms.SignedDigestAlgorithm], None]:
    def edit(algorithm: cms.SignedDigestAlgorithm) -> None:
        algorithm["parameters"]["salt_length"] = length

    return edit


def other_digest(algorithm: cms.SignedDigestAlgorithm) -> None:
    algorithm["parameters"]["hash_algorithm"] = {"algorithm": "sha1"}


def other_mask(algorithm: cms.SignedDigestAlgorithm) -> None:
    algorithm["parameters"]["mask_gen_algorithm"] = {"algorithm": "mgf1", "parameters": {"algorithm": "md2"}}


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    "edit", [salt(20), salt(-1), salt(2**40), other_digest, other_mask], ids=["20", "-1", "2^40", "digest", "mask"]
)
def test_pss_with_other_parameters_is_refused(
    world: World, files: Path, edit: Callable[[cms.SignedDigestAlgorithm], None]
) -> None:
    info = cms.ContentInfo.load(pss_reply(world, files))
    edit(info["content"]["signer_infos"][0]["signature_algorithm"])
    with pytest.raises(TrustError, match="is wrong"):
        world.decode(info.dump(force=True))
