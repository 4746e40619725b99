"""Replies that must not be believed, each with the error that says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asn1crypto import cms, core

from certagent.certificate import to_der
from certagent.errors import CertagentError, TransientError, TrustError
from certagent.scep import Algorithms, PkiStatus, Signer, degenerate, enveloped_data, self_signed
from certagent.scep.asn1 import tlv
from certagent.scep.message import MESSAGE_TYPE, PKI_STATUS, RECIPIENT_NONCE, SENDER_NONCE, TRANSACTION_ID
from certagent.scep.signed import CONTENT_TYPE, MESSAGE_DIGEST, assemble, signed_data

from .parts import EVERYTHING, NONCE, NOW, TRANSACTION, World

Make = Callable[[World], bytes]
TEXT = core.PrintableString


def edited(edit: Callable[[cms.SignedData], None], status: PkiStatus = PkiStatus.SUCCESS) -> Make:
    """An honest reply, changed by somebody without a key."""

    def make(world: World) -> bytes:
        info = cms.ContentInfo.load(world.reply(status))
        edit(info["content"])
        return bytes(info.dump(force=True))

    return make


def attributes(changes: dict[str, core.Asn1Value | None]) -> Make:
    """A reply that the CA signed, with other attributes; None takes one away."""
    return lambda world: world.signed(changes)


def enveloping(edit: Callable[[cms.EnvelopedData], None]) -> Make:
    """A reply that the CA signed, around an envelope that was changed."""

    def make(world: World) -> bytes:
        info = cms.ContentInfo.load(world.content())
        edit(info["content"])
        return world.signed(content=info.dump(force=True))

    return make


def enclosing(content: Callable[[World], bytes]) -> Make:
    """A reply that the CA signed, whose envelope holds something else."""
    return lambda w: w.signed(content=enveloped_data(content(w), w.device.certificate, "aes128-cbc"))


# ── forged ──


def namesake(world: World) -> bytes:
    """A stranger who gives itself the CA's name and serial number."""
    imposter = Signer(world.stranger.key, world.ca.certificate)
    return world.signed(signer=imposter)


def own_namesake_certificate(world: World) -> bytes:
    """The same with a certificate of the CA's name in the message: it proves nothing."""
    made = self_signed(world.stranger.key, world.ca.certificate.subject, NOW)
    info = cms.ContentInfo.load(world.reply(signer=Signer(world.stranger.key, made)))
    info["content"]["signer_infos"][0]["sid"] = cms.ContentInfo.load(world.reply())["content"]["signer_infos"][0]["sid"]
    return bytes(info.dump(force=True))


def spliced_content(signed: cms.SignedData) -> None:
    signed["encap_content_info"]["content"] = core.OctetString(b"something else")


def success_of_a_refusal(signed: cms.SignedData) -> None:
    for attribute in signed["signer_infos"][0]["signed_attrs"]:
        if attribute["type"].dotted == PKI_STATUS:
            attribute["values"] = [TEXT("0")]


def two_signatures(signed: cms.SignedData) -> None:
    signed["signer_infos"].append(signed["signer_infos"][0].copy())


def no_signature(signed: cms.SignedData) -> None:
    signed["signer_infos"] = []


def other_signature(signed: cms.SignedData) -> None:
    signed["signer_infos"][0]["signature"] = bytes(256)


def pss(signed: cms.SignedData) -> None:
    signed["signer_infos"][0]["signature_algorithm"] = {"algorithm": "rsassa_pss"}


def disagreeing_digests(signed: cms.SignedData) -> None:
    signed["signer_infos"][0]["signature_algorithm"] = {"algorithm": "sha1_rsa"}


def signing(digest: str, signature: dict[str, object]) -> Make:
    """A reply that names another digest, and this signature algorithm; the signature is no longer right."""

    def edit(signed: cms.SignedData) -> None:
        signer = signed["signer_infos"][0]
        signer["digest_algorithm"] = {"algorithm": digest}
        signer["signature_algorithm"] = signature

    return edited(edit)


def pss_over(digest: str, mask: str, salt: int = 32) -> dict[str, object]:
    mask_of = {"algorithm": "mgf1", "parameters": {"algorithm": mask}}
    parameters = {"hash_algorithm": {"algorithm": digest}, "mask_gen_algorithm": mask_of, "salt_length": salt}
    return {"algorithm": "rsassa_pss", "parameters": parameters}


PKCS1: dict[str, object] = {"algorithm": "rsassa_pkcs1v15"}
ECDSA: dict[str, object] = {"algorithm": "1.2.840.10045.2.1"}


def md2(signed: cms.SignedData) -> None:
    signed["signer_infos"][0]["digest_algorithm"] = {"algorithm": "md2"}


def bare_signature(world: World) -> bytes:
    """Signed over the content, without attributes: true for every transaction."""
    return world.assembled(None)


def doubled(oid: str, *values: core.Asn1Value) -> Make:
    """An attribute twice, the second time with other values."""

    def make(world: World) -> bytes:
        content = world.content()
        extra = cms.CMSAttribute({"type": oid, "values": list(values)})
        return world.assembled(cms.CMSAttributes([*world.signed_attributes(content), extra]), content)

    return make


def values(oid: str, *elements: core.Asn1Value) -> Make:
    """An attribute once, with these values, whatever its own type would be."""

    def make(world: World) -> bytes:
        content = world.content()
        rest = [one for one in world.signed_attributes(content) if one["type"].dotted != oid]
        chosen = tlv(b"".join(element.dump() for element in elements))
        encoded = b"".join(one.dump() for one in rest) + tlv(core.ObjectIdentifier(oid).dump() + chosen, 0x30)
        return world.assembled(cms.CMSAttributes.load(tlv(encoded)), content)

    return make


# ── envelopes ──


def two_recipients(envelope: cms.EnvelopedData) -> None:
    envelope["recipient_infos"].append(envelope["recipient_infos"][0].copy())


def no_recipient(envelope: cms.EnvelopedData) -> None:
    envelope["recipient_infos"] = []


def key_wrap(envelope: cms.EnvelopedData) -> None:
    envelope["recipient_infos"][0].chosen["key_encryption_algorithm"] = {"algorithm": "aes128_wrap"}


def rc2(envelope: cms.EnvelopedData) -> None:
    envelope["encrypted_content_info"]["content_encryption_algorithm"] = {"algorithm": "rc2"}


def other_key(envelope: cms.EnvelopedData) -> None:
    envelope["recipient_infos"][0].chosen["encrypted_key"] = b"\x01" * 256


def short_key(envelope: cms.EnvelopedData) -> None:
    envelope["recipient_infos"][0].chosen["encrypted_key"] = b"\x01"


def other_padding(envelope: cms.EnvelopedData) -> None:
    encrypted = envelope["encrypted_content_info"]
    encrypted["encrypted_content"] = bytes(encrypted["encrypted_content"])[:-16]


def half_a_block(envelope: cms.EnvelopedData) -> None:
    encrypted = envelope["encrypted_content_info"]
    encrypted["encrypted_content"] = bytes(encrypted["encrypted_content"])[:-5]


def no_ciphertext(envelope: cms.EnvelopedData) -> None:
    envelope["encrypted_content_info"]["encrypted_content"] = b""


def short_vector(envelope: cms.EnvelopedData) -> None:
    cipher = envelope["encrypted_content_info"]["content_encryption_algorithm"]
    cipher["parameters"] = core.OctetString(b"short")


def broken_certificate(world: World) -> bytes:
    der = degenerate([world.issued])
    subject = world.issued.subject.public_bytes()
    return der.replace(subject, bytes(len(subject)))


def of_strangers(world: World) -> bytes:
    """The right content for the wrong recipient, signed by the CA."""
    return world.reply(recipient=world.stranger.certificate)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        # not SCEP at all: may heal by itself
        pytest.param(lambda _: b"", TransientError, "is empty", id="nothing"),
        pytest.param(lambda _: b"\n<html>Welcome</html>", TransientError, "a web page", id="a web page"),
        pytest.param(lambda _: b"invalid request", TransientError, "not SCEP", id="text"),
        pytest.param(lambda w: w.reply()[:-1], TransientError, "cut off", id="last byte missing"),
        pytest.param(lambda w: w.reply()[:700], TransientError, "cut off", id="truncated"),
        # something else
        pytest.param(lambda w: w.reply() + b"\n", TrustError, "1 bytes of extra data", id="trailing newline"),
        pytest.param(lambda w: w.reply() * 2, TrustError, "after its end", id="two replies"),
        pytest.param(lambda w: to_der(w.issued), TrustError, "malformed", id="a certificate"),
        pytest.param(World.content, TrustError, "CMS enveloped_data", id="an envelope nobody signed"),
        pytest.param(lambda w: degenerate([w.issued]), TrustError, "0 signatures", id="certificates nobody signed"),
        pytest.param(lambda _: b"\x30\x00", TrustError, "malformed", id="an empty SEQUENCE"),
        # signatures
        pytest.param(lambda w: w.reply(signer=w.stranger), TrustError, "signed by an unknown party", id="a stranger"),
        pytest.param(
            lambda w: w.reply(signer=w.device), TrustError, "signed by an unknown party", id="signed by ourselves"
        ),
        pytest.param(namesake, TrustError, "signature of the CA's reply is wrong", id="a stranger as the CA"),
        pytest.param(own_namesake_certificate, TrustError, "is wrong", id="a stranger's certificate as the CA's"),
        pytest.param(edited(no_signature), TrustError, "0 signatures", id="no signature"),
        pytest.param(edited(two_signatures), TrustError, "2 signatures", id="two signatures"),
        pytest.param(edited(other_signature), TrustError, "is wrong", id="signature of zeros"),
        pytest.param(edited(disagreeing_digests), TrustError, "is wrong", id="two digests named"),
        pytest.param(edited(pss), TrustError, "is wrong", id="unknown kind of signature"),
        # SHAKE256 belongs to Ed448: with other keys, OpenSSL has no word for what it would be.
        pytest.param(signing("shake256", PKCS1), TrustError, "is wrong", id="RSA with SHAKE256"),
        pytest.param(signing("shake256_len", PKCS1), TrustError, "is wrong", id="RSA with SHAKE256 and a length"),
        pytest.param(signing("shake256", ECDSA), TrustError, "is wrong", id="ECDSA with SHAKE256"),
        pytest.param(
            signing("shake256", pss_over("shake256", "sha256")), TrustError, "is wrong", id="PSS with SHAKE256"
        ),
        pytest.param(
            signing("sha256", pss_over("sha256", "shake256")), TrustError, "is wrong", id="PSS, its mask of SHAKE256"
        ),
        pytest.param(signing("sha256", pss_over("sha256", "sha256", 512)), TrustError, "is wrong", id="PSS, all salt"),
        pytest.param(signing("md5", {"algorithm": "1.3.101.112"}), TrustError, "is wrong", id="Ed25519 with RSA's key"),
        pytest.param(
            signing("sha1", {"algorithm": "2.16.840.1.101.3.4.3.17"}), TrustError, "is wrong", id="ML-DSA, RSA's key"
        ),
        pytest.param(edited(md2), TrustError, "unknown digest md2", id="unknown digest"),
        pytest.param(edited(spliced_content), TrustError, "message digest", id="content replaced"),
        pytest.param(edited(success_of_a_refusal, PkiStatus.FAILURE), TrustError, "is wrong", id="FAILURE → SUCCESS"),
        # signed attributes
        pytest.param(bare_signature, TrustError, "does not sign its attributes", id="no signed attributes"),
        pytest.param(doubled(TRANSACTION_ID, TEXT("other")), TrustError, "more than one value", id="attribute twice"),
        pytest.param(values(TRANSACTION_ID, TEXT(TRANSACTION), TEXT("x")), TrustError, "than one", id="two values"),
        pytest.param(values(TRANSACTION_ID), TrustError, "or none", id="no value"),
        pytest.param(
            attributes({CONTENT_TYPE: cms.ContentType("signed_data")}), TrustError, "not plain data", id="contentType"
        ),
        pytest.param(values(CONTENT_TYPE, TEXT("x")), TrustError, "malformed", id="contentType no OID"),
        pytest.param(
            attributes({MESSAGE_DIGEST: core.OctetString(bytes(32))}), TrustError, "message digest", id="wrong digest"
        ),
        pytest.param(values(MESSAGE_DIGEST, core.Null()), TrustError, "malformed", id="digest of no bytes"),
        # which transaction
        pytest.param(attributes({MESSAGE_TYPE: TEXT("19")}), TrustError, "message type 19", id="a request come back"),
        pytest.param(attributes({MESSAGE_TYPE: None}), TrustError, "is not a reply", id="no message type"),
        pytest.param(attributes({MESSAGE_TYPE: core.UTF8String("٣")}), TrustError, "is not a reply", id="other digits"),
        pytest.param(lambda w: w.reply(transaction_id="other"), TrustError, "another transaction", id="transaction"),
        pytest.param(
            lambda w: w.reply(transaction_id=TRANSACTION.upper()), TrustError, "another transaction", id="other case"
        ),
        pytest.param(attributes({TRANSACTION_ID: None}), TrustError, "another transaction", id="no transaction"),
        pytest.param(lambda w: w.reply(recipient_nonce=bytes(16)), TrustError, "nonce", id="another nonce"),
        pytest.param(lambda w: w.reply(recipient_nonce=NONCE[:8]), TrustError, "nonce", id="half a nonce"),
        pytest.param(lambda w: w.reply(recipient_nonce=NONCE + b"\0"), TrustError, "nonce", id="more than a nonce"),
        pytest.param(
            attributes({RECIPIENT_NONCE: None, SENDER_NONCE: core.OctetString(NONCE)}),
            TrustError,
            "nonce",
            id="nonce in the wrong place",
        ),
        # status
        pytest.param(
            lambda w: w.reply(PkiStatus.FAILURE, signer=w.stranger), TrustError, "unknown party", id="forged FAILURE"
        ),
        pytest.param(
            lambda w: w.reply(PkiStatus.PENDING, signer=w.stranger), TrustError, "unknown party", id="forged PENDING"
        ),
        pytest.param(
            lambda w: w.reply(PkiStatus.PENDING, recipient_nonce=bytes(16)), TrustError, "nonce", id="replayed PENDING"
        ),
        pytest.param(attributes({PKI_STATUS: TEXT("1")}), TrustError, "an unknown status", id="unknown status"),
        pytest.param(attributes({PKI_STATUS: None}), TrustError, "an unknown status", id="no status"),
        # the envelope
        pytest.param(lambda w: w.signed(content=None), TrustError, "but is empty", id="SUCCESS without content"),
        pytest.param(lambda w: w.signed(content=b"\0"), TrustError, "envelope is malformed", id="SUCCESS with a byte"),
        pytest.param(
            lambda w: w.signed(content=degenerate([w.issued])), TrustError, "CMS signed_data", id="not encrypted"
        ),
        pytest.param(of_strangers, TrustError, "to somebody else", id="to somebody else"),
        pytest.param(enveloping(two_recipients), TrustError, "exactly one RSA key", id="two recipients"),
        pytest.param(enveloping(no_recipient), TrustError, "exactly one RSA key", id="no recipient"),
        pytest.param(enveloping(key_wrap), TrustError, "unknown key transport", id="unknown key transport"),
        pytest.param(enveloping(rc2), TrustError, "unknown cipher", id="unknown cipher"),
        pytest.param(enveloping(short_vector), TrustError, "cannot be decrypted", id="short vector"),
        pytest.param(enveloping(short_key), TrustError, "cannot be decrypted", id="short encrypted key"),
        pytest.param(enveloping(half_a_block), TrustError, "cannot be decrypted", id="half a block"),
        pytest.param(enveloping(no_ciphertext), TrustError, "cannot be decrypted", id="no ciphertext"),
        # what is inside
        pytest.param(enclosing(lambda _: b""), TrustError, "content .* malformed", id="nothing inside"),
        pytest.param(enclosing(lambda w: to_der(w.issued)), TrustError, "malformed", id="a bare certificate inside"),
        pytest.param(enclosing(World.reply), TrustError, "signed twice", id="signed inside"),
        pytest.param(enclosing(lambda w: degenerate([w.issued]) + b"\0"), TrustError, "malformed", id="more inside"),
        pytest.param(enclosing(lambda _: degenerate([])), TrustError, "no certificate", id="no certificate inside"),
        pytest.param(enclosing(broken_certificate), TrustError, "malformed", id="a broken certificate inside"),
    ],
)
def test_refused(world: World, make: Make, error: type[CertagentError], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        world.decode(make(world), accept=EVERYTHING)
    assert type(caught.value) is error
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [other_key, other_padding, half_a_block, no_ciphertext, short_key])
def test_decryption_fails_in_one_way_only(world: World, change: Callable[[cms.EnvelopedData], None]) -> None:
    """No difference between a bad key and a bad padding: it would be an oracle."""
    # A wrong key gives random bytes, whose padding is right once in 256 times: then they are no certificates.
    says = r"^the CA's envelope cannot be decrypted$|^the content of the CA's envelope is malformed$"
    with pytest.raises(TrustError, match=says):
        world.decode(enveloping(change)(world))


@pytest.mark.parametrize(
    ("algorithms", "accept", "missing"),
    [
        pytest.param(Algorithms("aes128-cbc", "sha1"), (), "sha1", id="SHA-1"),
        pytest.param(Algorithms("aes128-cbc", "md5"), ("sha1",), "md5", id="MD5"),
        pytest.param(Algorithms("3des", "sha256"), ("des",), "3des", id="3DES"),
        pytest.param(Algorithms("des", "sha256"), ("3des",), "des", id="DES"),
        pytest.param(Algorithms("des", "sha1"), (), "des and sha1", id="both at once"),
        pytest.param(Algorithms("des", "sha1"), ("sha1",), "des", id="the one that is missing"),
    ],
)
def test_weak_algorithms(world: World, algorithms: Algorithms, accept: tuple[str, ...], missing: str) -> None:
    with pytest.raises(TrustError, match="too weak") as caught:
        world.decode(world.reply(algorithms=algorithms), accept)
    assert caught.value.hint.endswith(f"add {missing} to the authority's `accept`")


@pytest.mark.parametrize("status", [PkiStatus.PENDING, PkiStatus.FAILURE], ids=["PENDING", "FAILURE"])
def test_weak_refusals_are_not_believed_either(world: World, status: PkiStatus) -> None:
    reply = world.reply(status, algorithms=Algorithms("aes128-cbc", "sha1"))
    with pytest.raises(TrustError, match="sha1"):
        world.decode(reply)
    world.decode(reply, accept=["sha1"])


def test_nobody_is_asked_to_accept_what_is_forged(world: World) -> None:
    """A forged weak reply is called forged: no hint that leads a person to weaken the configuration."""
    forged = world.signed(signer=Signer(world.stranger.key, world.ca.certificate), digest="md5")
    with pytest.raises(TrustError, match="is wrong"):
        world.decode(forged)


def test_signed_bytes_are_content_or_attributes_never_both(world: World) -> None:
    """A signature over attributes, shown as one over content that is those attributes (RFC 8933's attack)."""
    honest = cms.ContentInfo.load(world.reply())["content"]
    attributes = honest["signer_infos"][0]["signed_attrs"].untag().dump()
    shown = cms.ContentInfo.load(assemble(attributes, None, world.ca, "sha256", []))
    shown["content"]["signer_infos"][0]["signature"] = bytes(honest["signer_infos"][0]["signature"])
    with pytest.raises(TrustError, match="does not sign its attributes"):
        world.decode(shown.dump(force=True))


def test_other_content_type(world: World) -> None:
    data = signed_data(b"x", world.attributes(), world.ca, "sha256", [])
    plain, digested = (core.ObjectIdentifier(f"1.2.840.113549.1.7.{last}").dump() for last in (1, 5))
    with pytest.raises(TrustError, match=r"not plain data|malformed"):
        world.decode(data.replace(plain, digested, 1))
