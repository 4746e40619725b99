"""Requests and replies between honest parties, and what is tolerated of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from asn1crypto import cms, core
from msgspec.structs import replace

from certagent import keys
from certagent.certificate import to_der
from certagent.config.key_types import KeyType
from certagent.errors import KeystoreError, TrustError
from certagent.scep import (
    Algorithms,
    FailInfo,
    Issued,
    MessageType,
    Pending,
    PkiStatus,
    Rejected,
    Signer,
    decode_request,
    encode_request,
    read_ca_certificates,
    self_signed,
    sign_again,
)
from certagent.scep.asn1 import tlv
from certagent.scep.message import FAIL_INFO, FAIL_INFO_TEXT, SENDER_NONCE
from certagent.scep.signed import CONTENT_TYPE

from .parts import EVERYTHING, NONCE, NOW, STRONG, TRANSACTION, World, indefinite, name, parts


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512", "md5"])
@pytest.mark.parametrize("cipher", ["aes128-cbc", "aes256-cbc", "3des", "des"])
def test_round_trip(world: World, cipher: str, digest: str) -> None:
    algorithms = Algorithms(cipher, digest)
    message = encode_request(
        MessageType.PKCS_REQ,
        b"content",
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signer=world.device,
        recipient=world.ca.certificate,
        algorithms=algorithms,
    )
    request = decode_request(message, recipients=[world.stranger, world.ca])
    assert (request.content, request.algorithms, request.signer) == (b"content", algorithms, world.device.certificate)
    assert (request.message_type, request.transaction_id, request.sender_nonce) == (19, TRANSACTION, NONCE)

    reply = world.decode(world.reply(algorithms=algorithms), accept=EVERYTHING)
    assert reply == Issued((world.issued,), world.ca.certificate)


def test_reply_signed_by_the_ra(world: World) -> None:
    assert world.decode(world.reply(signer=world.ra)) == Issued((world.issued,), world.ra.certificate)


ONLY_SIGN = [each for each in KeyType if each.family != "rsa"]


@pytest.mark.parametrize("key_type", ONLY_SIGN)
def test_reply_signed_with_a_key_that_is_not_rsa(world: World, key_type: KeyType) -> None:
    key = keys.generate(key_type)
    ca = Signer(key, self_signed(key, name("CN=CA"), NOW))
    there = World(ca, world.ra, world.device, world.stranger, world.issued, [ca.certificate])
    assert there.decode(there.reply()) == Issued((world.issued,), ca.certificate)


@pytest.mark.parametrize("key_type", ONLY_SIGN)
def test_reply_signed_with_another_key_of_the_same_kind(world: World, key_type: KeyType) -> None:
    key = keys.generate(key_type)
    ca, other = self_signed(key, name("CN=CA"), NOW), keys.generate(key_type)
    there = World(Signer(other, ca), world.ra, world.device, world.stranger, world.issued, [ca])
    with pytest.raises(TrustError, match="the signature of the CA's reply is wrong"):
        there.decode(there.reply())


@pytest.mark.parametrize("key_type", ONLY_SIGN)
def test_no_envelope_for_a_key_that_is_not_rsa(world: World, key_type: KeyType) -> None:
    key = keys.generate(key_type)
    with pytest.raises(TrustError, match="its key is not RSA"):
        world.reply(recipient=self_signed(key, name("CN=ec"), NOW))


def test_no_envelope_is_opened_with_an_ec_key(world: World) -> None:
    # Only a caller's slip leads here: the certificate is an RSA key's, the key handed in is not.
    slip = Signer(keys.generate(KeyType.EC_P256), world.device.certificate)
    there = World(world.ca, world.ra, slip, world.stranger, world.issued, world.signers)
    with pytest.raises(KeystoreError, match="cannot be opened with a key of type ec:p256"):
        there.decode(there.reply())


def test_pending(world: World) -> None:
    assert world.decode(world.reply(PkiStatus.PENDING)) == Pending()


@pytest.mark.parametrize("info", list(FailInfo), ids=lambda info: info.word)
def test_failure_in_words(world: World, info: FailInfo) -> None:
    reply = world.reply(PkiStatus.FAILURE, fail_info=info, fail_text="no\x1b[31m way\nat all")
    assert world.decode(reply) == Rejected(info, "no [31m way")
    assert info.meaning


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        pytest.param({}, Rejected(None, ""), id="without failInfo"),
        pytest.param({FAIL_INFO: core.PrintableString("9")}, Rejected(None, "failInfo 9"), id="Dogtag's own number"),
        pytest.param({FAIL_INFO: core.UTF8String("4")}, Rejected(FailInfo.BAD_CERT_ID, ""), id="another string type"),
        pytest.param({FAIL_INFO: core.PrintableString("two")}, Rejected(None, ""), id="no number"),
        pytest.param({FAIL_INFO_TEXT: core.IA5String("why")}, Rejected(None, "why"), id="text in IA5"),
        pytest.param({FAIL_INFO_TEXT: core.BMPString("wärüm")}, Rejected(None, "wärüm"), id="text in BMP"),
        pytest.param({FAIL_INFO_TEXT: core.Integer(7)}, Rejected(None, ""), id="text that is none"),
    ],
)
def test_failure_of_other_servers(world: World, attributes: dict[str, core.Asn1Value], expected: Rejected) -> None:
    assert world.decode(world.signed(attributes, content=None, status=PkiStatus.FAILURE)) == expected


@pytest.mark.parametrize("status", [PkiStatus.FAILURE, PkiStatus.PENDING], ids=["FAILURE", "PENDING"])
@pytest.mark.parametrize(
    "content", [pytest.param(None, id="absent"), pytest.param(b"", id="empty"), pytest.param(b"\0", id="one byte")]
)
def test_content_beside_a_refusal_does_not_matter(world: World, status: PkiStatus, content: bytes | None) -> None:
    assert isinstance(world.decode(world.signed(content=content, status=status)), Rejected | Pending)


def _edited(world: World, edit: Callable[[cms.SignedData], None]) -> bytes:
    """The honest reply with a change to what is not signed."""
    info = cms.ContentInfo.load(world.reply())
    edit(info["content"])
    return bytes(info.dump(force=True))


def _no_certificates(signed: cms.SignedData) -> None:
    signed["certificates"] = []


def _sha256_with_rsa(signed: cms.SignedData) -> None:
    signed["signer_infos"][0]["signature_algorithm"] = {"algorithm": "sha256_rsa"}


def _no_parameters(signed: cms.SignedData) -> None:
    info = signed["signer_infos"][0]
    for field in ("digest_algorithm", "signature_algorithm"):
        oid = parts(info[field].dump())[0]
        info[field] = type(info[field]).load(tlv(oid, 0x30))


def _more_certificates(world: World) -> Callable[[cms.SignedData], None]:
    def edit(signed: cms.SignedData) -> None:
        extra = [world.stranger.certificate, world.ra.certificate, world.ca.certificate]
        signed["certificates"] = [
            cms.CertificateChoices("certificate", cms.Certificate.load(to_der(one))) for one in extra
        ]

    return edit


def _key_identifier(world: World) -> bytes:
    data = cms.ContentInfo.load(world.reply(signer=world.ra))
    digest = cms.Certificate.load(to_der(world.ra.certificate)).key_identifier
    data["content"]["signer_infos"][0]["sid"] = cms.SignerIdentifier("subject_key_identifier", digest)
    return bytes(data.dump(force=True))


def _unsorted(world: World) -> bytes:
    content = world.content()
    encoded = sorted((one.dump() for one in world.signed_attributes(content)), reverse=True)
    return world.assembled(cms.CMSAttributes.load(tlv(b"".join(encoded))), content)


def _definite_chunks(world: World) -> bytes:
    """As micromdm writes its ciphertext: constructed, with a length."""
    envelope_type, explicit = parts(world.content())
    version, recipients, encrypted = parts(*parts(explicit))
    kind, cipher, ciphertext = parts(encrypted)
    octets = bytes(core.OctetString.load(b"\x04" + ciphertext[1:]).native)
    chunked = tlv(tlv(octets[:48], 0x04) + tlv(octets[48:], 0x04), 0xA0)
    body = tlv(version + recipients + tlv(kind + cipher + chunked, 0x30), 0x30)
    return world.signed(content=tlv(envelope_type + tlv(body, 0xA0), 0x30))


def _indefinite(world: World) -> bytes:
    """The reply as a streaming BER encoder writes it: no lengths, content in chunks, also in the signed attributes."""
    oid, explicit = parts(world.reply())
    version, digests, encapsulated, certificates, infos = parts(*parts(explicit))
    kind, content = parts(encapsulated)
    encapsulated = indefinite(encapsulated, kind, indefinite(content, indefinite(*parts(content))))
    info_version, sid, digest, attributes, *rest = parts(*parts(infos))
    info = indefinite(b"\x30", info_version, sid, digest, indefinite(attributes, *parts(attributes)), *rest)
    body = indefinite(b"\x30", version, digests, encapsulated, certificates, indefinite(infos, info))
    return indefinite(b"\x30", oid, indefinite(explicit, body))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda w: _edited(w, _no_certificates), id="no certificates (EJBCA)"),
        pytest.param(lambda w: _edited(w, _more_certificates(w)), id="any other certificates, in any order"),
        pytest.param(lambda w: _edited(w, _sha256_with_rsa), id="signature algorithm sha256WithRSA"),
        pytest.param(lambda w: _edited(w, _no_parameters), id="algorithms without parameters (Go)"),
        pytest.param(_key_identifier, id="signer by key identifier"),
        pytest.param(_unsorted, id="signed attributes not in DER order"),
        pytest.param(_definite_chunks, id="chunked ciphertext of definite length (micromdm)"),
        pytest.param(_indefinite, id="BER of indefinite length"),
        pytest.param(lambda w: w.signed({SENDER_NONCE: None}), id="no nonce of the CA's own"),
    ],
)
def test_tolerated(world: World, make: Callable[[World], bytes]) -> None:
    reply = world.decode(make(world))
    assert isinstance(reply, Issued)
    assert reply.certificates == (world.issued,)


def test_missing_content_type_attribute_is_tolerated(world: World) -> None:
    content = world.content()
    attributes = [one for one in world.signed_attributes(content) if one["type"].dotted != CONTENT_TYPE]
    assert isinstance(world.decode(world.assembled(cms.CMSAttributes(attributes), content)), Issued)


def test_request_is_what_the_rfc_wants(world: World) -> None:
    """Definite lengths, one signer, its certificate alone, the rsaEncryption OID strongSwan insists on."""
    message = encode_request(
        MessageType.RENEWAL_REQ,
        b"x",
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signer=world.device,
        recipient=world.ca.certificate,
        algorithms=STRONG,
    )
    signed = cms.ContentInfo.load(message, strict=True)["content"]
    (info,) = signed["signer_infos"]
    assert info["signature_algorithm"]["algorithm"].native == "rsassa_pkcs1v15"
    assert [one.chosen.dump() for one in signed["certificates"]] == [to_der(world.device.certificate)]
    assert cms.ContentInfo.load(message).dump(force=True) == message


@pytest.mark.parametrize(
    ("moment", "kind"),
    [
        pytest.param(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), core.UTCTime, id="UTCTime until 2049"),
        pytest.param(datetime(2050, 1, 1, tzinfo=UTC), core.GeneralizedTime, id="GeneralizedTime from 2050 on"),
        pytest.param(datetime(2030, 1, 1, 14, 30, tzinfo=timezone(timedelta(hours=2))), core.UTCTime, id="in UTC"),
    ],
)
def test_a_request_says_when_it_was_signed(world: World, moment: datetime, kind: type[core.Asn1Value]) -> None:
    message = _request(world, signing_time=moment)
    assert decode_request(message, recipients=[world.ca]).signing_time == moment
    info = cms.ContentInfo.load(message)["content"]["signer_infos"][0]
    (stated,) = [each["values"][0].chosen for each in info["signed_attrs"] if each["type"].native == "signing_time"]
    assert type(stated) is kind


def test_a_request_may_say_no_time(world: World) -> None:
    assert decode_request(_request(world), recipients=[world.ca]).signing_time is None


def test_signed_again_a_request_holds_the_very_same_envelope(world: World) -> None:
    first = _request(world, signing_time=NOW)
    later = NOW + timedelta(hours=1)
    again = sign_again(
        first,
        MessageType.PKCS_REQ,
        transaction_id=TRANSACTION,
        sender_nonce=bytes(16),
        signer=world.device,
        digest="sha512",
        signing_time=later,
    )
    before, after = (decode_request(each, recipients=[world.ca]) for each in (first, again))
    assert _envelope(again) == _envelope(first)
    assert replace(after, sender_nonce=before.sender_nonce, signing_time=NOW, algorithms=before.algorithms) == before
    assert (after.sender_nonce, after.signing_time, after.algorithms.digest) == (bytes(16), later, "sha512")


@pytest.mark.parametrize("kept", [pytest.param(b"", id="nothing"), pytest.param(b"0\x03\x02\x01\x05", id="no message")])
def test_what_is_no_request_is_not_signed_again(world: World, kept: bytes) -> None:
    with pytest.raises(TrustError, match="the request that was kept"):
        sign_again(
            kept,
            MessageType.PKCS_REQ,
            transaction_id=TRANSACTION,
            sender_nonce=NONCE,
            signer=world.device,
            digest="sha256",
        )


def _request(world: World, signing_time: datetime | None = None) -> bytes:
    return encode_request(
        MessageType.PKCS_REQ,
        b"content",
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signer=world.device,
        recipient=world.ca.certificate,
        algorithms=STRONG,
        signing_time=signing_time,
    )


def _envelope(message: bytes) -> bytes:
    return bytes(cms.ContentInfo.load(message)["content"]["encap_content_info"]["content"])


def test_request_for_somebody_else(world: World) -> None:
    message = encode_request(
        MessageType.PKCS_REQ,
        b"x",
        transaction_id=TRANSACTION,
        sender_nonce=NONCE,
        signer=world.device,
        recipient=world.stranger.certificate,
        algorithms=STRONG,
    )
    for recipients in ([world.ca], [world.ca, world.ra]):
        with pytest.raises(TrustError, match="is encrypted to somebody else"):
            decode_request(message, recipients=recipients)


def test_a_reply_is_no_request(world: World) -> None:
    with pytest.raises(TrustError, match="lacks"):
        decode_request(world.reply(), recipients=[world.device])


def test_a_ca_with_serial_number_zero(world: World) -> None:
    """Some old roots have it; cryptography warns at each look, and a warning is no reason to fail."""
    zero = cms.Certificate.load(to_der(world.ca.certificate))
    zero["tbs_certificate"]["serial_number"] = 0
    (old,) = read_ca_certificates(zero.dump(force=True))
    there = World(Signer(world.ca.key, old), world.ra, world.device, world.stranger, world.issued, [old])
    assert isinstance(there.decode(there.reply()), Issued)
