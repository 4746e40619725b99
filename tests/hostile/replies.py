"""Replies that a CA, or somebody in its place, should not send: each made from an honest one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from asn1crypto import cms, core
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from certagent.scep import PkiStatus, Signer, degenerate, enveloped_data
from certagent.scep.asn1 import tlv
from certagent.scep.message import RECIPIENT_NONCE, SENDER_NONCE, TRANSACTION_ID
from certagent.scep.signed import CONTENT_TYPE, MESSAGE_DIGEST
from tests.hostile.lab import Fault, Forge, Forger, Hostile, replying
from tests.scep import forms
from tests.unit.pki import Party, party, rsa_key

TEXT = core.PrintableString
DAY = timedelta(days=1)


def signer(made: Party) -> Signer:
    return Signer(made.key, made.certificate)


def attributes(changes: dict[str, core.Asn1Value | None]) -> Forge:
    """Signed by the CA with other attributes; None takes one away."""
    return lambda forger: forger.signed(changes)


def nonce(change: Callable[[bytes], bytes | None]) -> Forge:
    def forge(forger: Forger) -> bytes:
        changed = change(forger.request.sender_nonce)
        return forger.signed({RECIPIENT_NONCE: None if changed is None else core.OctetString(changed)})

    return forge


def nonce_echoed_as_senders(forger: Forger) -> bytes:
    """The request's nonce comes back, in the wrong attribute."""
    ours = core.OctetString(forger.request.sender_nonce)
    return forger.signed({SENDER_NONCE: ours, RECIPIENT_NONCE: core.OctetString(bytes(16))})


def transaction(change: Callable[[str], str]) -> Forge:
    return lambda forger: forger.reply(transaction_id=change(forger.request.transaction_id))


def extra(oid: str, *values: core.Asn1Value) -> Forge:
    """A signed attribute more, all of them signed by the CA."""

    def forge(forger: Forger) -> bytes:
        content = forger.envelope()
        more = cms.CMSAttribute({"type": oid, "values": list(values)})
        return forger.assembled(cms.CMSAttributes([*forger.signed_attributes(content), more]), content)

    return forge


def without(oid: str) -> Forge:
    """One of the attributes that RFC 5652 wants is not there."""

    def forge(forger: Forger) -> bytes:
        content = forger.envelope()
        rest = [one for one in forger.signed_attributes(content) if one["type"].dotted != oid]
        return forger.assembled(cms.CMSAttributes(rest), content)

    return forge


def two_values(forger: Forger) -> bytes:
    """The right transaction ID, and another beside it in the same attribute."""
    content = forger.envelope()
    rest = [one for one in forger.signed_attributes(content) if one["type"].dotted != TRANSACTION_ID]
    values = [TEXT(forger.request.transaction_id), TEXT("other")]
    both = tlv(core.ObjectIdentifier(TRANSACTION_ID).dump() + tlv(b"".join(v.dump() for v in values)), 0x30)
    encoded = b"".join(one.dump() for one in rest) + both
    return forger.assembled(cms.CMSAttributes.load(tlv(encoded)), content)


def twice(oid: str) -> Forge:
    """The very same attribute once more."""

    def forge(forger: Forger) -> bytes:
        content = forger.envelope()
        honest = forger.signed_attributes(content)
        again = next(one for one in honest if one["type"].dotted == oid)
        return forger.assembled(cms.CMSAttributes([*honest, again]), content)

    return forge


def unordered(forger: Forger) -> bytes:
    """The attributes in reverse: not DER, as many a CA sends them, and signed so."""
    content = forger.envelope()
    backwards = b"".join(one.dump() for one in sorted(forger.signed_attributes(content), key=_encoding, reverse=True))
    return forger.assembled(cms.CMSAttributes.load(tlv(backwards)), content)


def _encoding(attribute: cms.CMSAttribute) -> bytes:
    return bytes(attribute.dump())


def sent_unordered(forger: Forger) -> bytes:
    """Sent so, and signed over their DER order, as RFC 5652 wants it signed (step-ca)."""
    content = forger.envelope()
    attributes, by = forger.signed_attributes(content), forger.ca.generation.signer
    return forms.in_order(content, attributes, by, sent=forms.backwards, signed=sorted)


def typed_as_envelope(forger: Forger) -> bytes:
    """The content says that it is the envelope it is (XiPKI)."""
    return forms.xipki(forger.envelope(), forger.attributes(), forger.ca.generation.signer)


def by_our_key(forger: Forger) -> bytes:
    """The envelope names its recipient by the key."""
    return forger.signed(content=forms.named(forger.envelope(), forms.by_key(forger.request.signer)))


def in_gcm(forger: Forger) -> bytes:
    """In AES-GCM, as step-ca answers that was set to it."""
    return forger.signed(content=forms.Gcm(forms.as_go)(degenerate([forger.issued]), forger.request.signer))


def no_attributes(forger: Forger) -> bytes:
    """Signed over the content alone: true in every transaction."""
    return forger.assembled(None, forger.envelope())


def edited(edit: Callable[[cms.SignedData], None], status: PkiStatus = PkiStatus.SUCCESS) -> Forge:
    """An honest reply, changed by somebody without a key."""

    def forge(forger: Forger) -> bytes:
        info = cms.ContentInfo.load(forger.reply(status))
        edit(info["content"])
        return bytes(info.dump(force=True))

    return forge


def stripped(signed: cms.SignedData) -> None:
    del signed["signer_infos"][0]["signed_attrs"]


def unsigned(signed: cms.SignedData) -> None:
    signed["signer_infos"] = []


def twice_signed(signed: cms.SignedData) -> None:
    signed["signer_infos"].append(signed["signer_infos"][0].copy())


def signature_of_zeros(signed: cms.SignedData) -> None:
    signed["signer_infos"][0]["signature"] = bytes(256)


def signature_missing(signed: cms.SignedData) -> None:
    signed["signer_infos"][0]["signature"] = b""


def unknown_signature(signed: cms.SignedData) -> None:
    signed["signer_infos"][0]["signature_algorithm"] = {"algorithm": "ed25519"}


def unknown_digest(signed: cms.SignedData) -> None:
    signed["signer_infos"][0]["digest_algorithm"] = {"algorithm": "md2"}


def content_replaced(signed: cms.SignedData) -> None:
    signed["encap_content_info"]["content"] = core.OctetString(b"something else")


def content_removed(signed: cms.SignedData) -> None:
    signed["encap_content_info"] = {"content_type": "data"}


def transaction_rewritten(signed: cms.SignedData) -> None:
    """A signed attribute changed after signing, to what it is already."""
    for attribute in signed["signer_infos"][0]["signed_attrs"]:
        if attribute["type"].dotted == TRANSACTION_ID:
            attribute["values"] = [core.UTF8String(attribute["values"][0].native)]


def refusal_to_success(signed: cms.SignedData) -> None:
    for attribute in signed["signer_infos"][0]["signed_attrs"]:
        if attribute["values"][0].native == "2":
            attribute["values"] = [TEXT("0")]


def attributes_moved(signed: cms.SignedData) -> None:
    """The attributes are there, but where nobody signs them."""
    info = signed["signer_infos"][0]
    info["unsigned_attrs"] = cms.CMSAttributes.load(info["signed_attrs"].untag().dump())
    del info["signed_attrs"]


def and_a_stranger(forger: Forger) -> bytes:
    """The CA's signature, and a stranger's beside it."""
    info = cms.ContentInfo.load(forger.reply())
    other = cms.ContentInfo.load(forger.reply(signer=stranger(forger)))
    info["content"]["signer_infos"].append(other["content"]["signer_infos"][0])
    return bytes(info.dump(force=True))


# ── who signs ──


def stranger(forger: Forger) -> Signer:
    return signer(party("stranger", with_key=rsa_key("stranger"), start=forger.now - DAY, end=forger.now + 90 * DAY))


def by(choose: Callable[[Forger], Signer]) -> Forge:
    """An honest reply in everything but who signs it; the signer's certificate is in the message."""
    return lambda forger: forger.reply(signer=choose(forger))


def sibling(forger: Forger) -> Signer:
    """Another device of this CA."""
    made = party(
        "CN=sibling",
        forger.ca.issuer,
        with_key=rsa_key("sibling"),
        usage=("digital_signature", "key_encipherment"),
        purposes=(Purpose.SERVER_AUTH, Purpose.CLIENT_AUTH),
        start=forger.now - DAY,
        end=forger.now + 90 * DAY,
    )
    return signer(made)


def namesake(forger: Forger) -> Signer:
    """Another CA with the same name: a next CA that nobody vouched for looks like this."""
    name = forger.ca.issuer.certificate.subject.rfc4514_string()
    return signer(
        party(name, with_key=rsa_key("namesake"), ca=True, start=forger.now - DAY, end=forger.now + 900 * DAY)
    )


def double(forger: Forger) -> Signer:
    """A stranger under the CA's own certificate: same name, same serial number."""
    return Signer(rsa_key("stranger"), forger.ca.issuer.certificate)


def encryption_ra(forger: Forger) -> Signer:
    """The RA's other certificate, which is for receiving envelopes only."""
    return forger.ca.generation.recipient


def old_ra(ca: Hostile, *, end: timedelta) -> Party:
    now = ca.clock()
    return party(
        "CN=old RA", ca.issuer, with_key=rsa_key("old RA"), usage=("digital_signature",), start=now - DAY, end=now + end
    )


def expired_ra_signs(ca: Hostile) -> None:
    """It is still offered, beside those that are valid."""
    ca.offered = [*ca.ca_certificates(), old_ra(ca, end=-timedelta(hours=1)).certificate]
    ca.forge = by(lambda forger: signer(old_ra(forger.ca, end=-timedelta(hours=1))))


def unoffered_ra_signs(forger: Forger) -> Signer:
    """The CA's own RA certificate, valid, but not among those the CA said are its RAs."""
    return signer(old_ra(forger.ca, end=90 * DAY))


def by_key_identifier(forger: Forger) -> bytes:
    """A stranger's signature under the CA's key identifier."""
    info = cms.ContentInfo.load(forger.reply(signer=stranger(forger)))
    identifier = forger.ca.issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    info["content"]["signer_infos"][0]["sid"] = cms.SignerIdentifier(
        "subject_key_identifier", core.OctetString(identifier.digest)
    )
    return bytes(info.dump(force=True))


# ── the envelope, and what is inside ──


def enveloping(edit: Callable[[cms.EnvelopedData], None]) -> Forge:
    """Signed by the CA around an envelope that was changed."""

    def forge(forger: Forger) -> bytes:
        info = cms.ContentInfo.load(forger.envelope())
        edit(info["content"])
        return forger.signed(content=info.dump(force=True))

    return forge


def enclosing(inside: Callable[[Forger], bytes]) -> Forge:
    """Signed by the CA, enveloped to us, with something else inside."""
    return lambda forger: forger.signed(content=forger.envelope(inside(forger)))


def for_the_sibling(forger: Forger) -> bytes:
    return forger.reply(recipient=sibling(forger).certificate)


def under_our_name(forger: Forger) -> bytes:
    """Encrypted with another key, but addressed to us."""
    info = cms.ContentInfo.load(enveloped_data(degenerate([forger.issued]), sibling(forger).certificate, "aes128-cbc"))
    ours = cms.ContentInfo.load(forger.envelope())["content"]["recipient_infos"][0].chosen["rid"]
    info["content"]["recipient_infos"][0].chosen["rid"] = ours
    return forger.signed(content=info.dump(force=True))


def two_recipients(envelope: cms.EnvelopedData) -> None:
    envelope["recipient_infos"].append(envelope["recipient_infos"][0].copy())


def no_recipient(envelope: cms.EnvelopedData) -> None:
    envelope["recipient_infos"] = []


def unknown_transport(envelope: cms.EnvelopedData) -> None:
    envelope["recipient_infos"][0].chosen["key_encryption_algorithm"] = {"algorithm": "aes128_wrap"}


def unknown_cipher(envelope: cms.EnvelopedData) -> None:
    envelope["encrypted_content_info"]["content_encryption_algorithm"] = {"algorithm": "rc2"}


def garbled_key(envelope: cms.EnvelopedData) -> None:
    envelope["recipient_infos"][0].chosen["encrypted_key"] = b"\x01" * 256


def short_key(envelope: cms.EnvelopedData) -> None:
    envelope["recipient_infos"][0].chosen["encrypted_key"] = b"\x01"


def wrong_padding(envelope: cms.EnvelopedData) -> None:
    """A bit of the block before turns the last byte of the plain text into a padding that never is."""
    encrypted = envelope["encrypted_content_info"]
    data = bytearray(bytes(encrypted["encrypted_content"]))
    data[-17] ^= 0x80
    encrypted["encrypted_content"] = bytes(data)


def garbled(envelope: cms.EnvelopedData) -> None:
    """The content of many a byte that means nothing: whatever its padding, it is no certificate."""
    encrypted = envelope["encrypted_content_info"]
    data = bytearray(bytes(encrypted["encrypted_content"]))
    data[:64] = bytes(64)
    encrypted["encrypted_content"] = bytes(data)


def half_a_block(envelope: cms.EnvelopedData) -> None:
    encrypted = envelope["encrypted_content_info"]
    encrypted["encrypted_content"] = bytes(encrypted["encrypted_content"])[:-5]


def no_ciphertext(envelope: cms.EnvelopedData) -> None:
    envelope["encrypted_content_info"]["encrypted_content"] = b""


def short_vector(envelope: cms.EnvelopedData) -> None:
    envelope["encrypted_content_info"]["content_encryption_algorithm"]["parameters"] = core.OctetString(b"short")


def key_of_another_cipher(envelope: cms.EnvelopedData) -> None:
    """A key of 16 bytes, said to be for AES-256."""
    envelope["encrypted_content_info"]["content_encryption_algorithm"]["algorithm"] = "2.16.840.1.101.3.4.1.42"


def broken_certificate(forger: Forger) -> bytes:
    subject = forger.issued.subject.public_bytes()
    return degenerate([forger.issued]).replace(subject, bytes(len(subject)))


# ── bytes more than there should be ──


def more_in(*path: str | int) -> Forge:
    """An element more at the end of the structure at `path` inside an honest reply, under honest lengths."""

    def forge(forger: Forger) -> bytes:
        return grown(forger.reply(), *path)

    return forge


def grown(message: bytes, *path: str | int) -> bytes:
    """`message` with a NULL more inside the element that the numbers of `path` lead to."""
    header, contents = _split(message)
    parts = _parts(contents)
    if not path:
        return tlv(contents + b"\x05\x00", header)
    at = int(path[0])
    parts[at] = grown(parts[at], *path[1:])
    return tlv(b"".join(parts), header)


def _split(element: bytes) -> tuple[int, bytes]:
    size = element[1]
    start = 2 if size < 0x80 else 2 + (size & 0x7F)
    return element[0], element[start:]


def _parts(contents: bytes) -> list[bytes]:
    parts = []
    while contents:
        size = contents[1]
        header = 2 if size < 0x80 else 2 + (size & 0x7F)
        length = size if size < 0x80 else int.from_bytes(contents[2:header], "big")
        parts.append(contents[: header + length])
        contents = contents[header + length :]
    return parts


def replayed(forger: Forger) -> bytes:
    """What the CA answered to the request before."""
    return forger.ca.sent[0]


def status(code: PkiStatus, **changes: object) -> Fault:
    """An answer of this status that is honest but for `changes`."""
    return replying(lambda forger: forger.reply(code, **changes))


CONTENT_TYPE_OF_SIGNED_DATA: dict[str, core.Asn1Value | None] = {CONTENT_TYPE: cms.ContentType("signed_data")}
WRONG_DIGEST: dict[str, core.Asn1Value | None] = {MESSAGE_DIGEST: core.OctetString(bytes(32))}
