"""One answer in the forms in which servers send it, and those that look like them and are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asn1crypto import cms, core

from certagent.errors import TrustError
from certagent.scep import Issued, degenerate

from . import forms
from .forms import AES256_GCM, Gcm, Order, as_go, backwards, short, shuffled, standard
from .parts import World

Make = Callable[[World], bytes]


def xipki(world: World) -> bytes:
    return forms.xipki(world.content(), world.attributes(), world.ca)


def typed(stated: str | None) -> Make:
    return lambda w: forms.typed(w.content(), w.attributes(), w.ca, stated)


def in_order(*, sent: Order, signed: Order) -> Make:
    def make(world: World) -> bytes:
        content = world.content()
        return forms.in_order(content, world.signed_attributes(content), world.ca, sent=sent, signed=signed)

    return make


def by_key(digest: bytes | None = None) -> Make:
    return lambda w: w.signed(content=forms.named(w.content(), forms.by_key(w.device.certificate, digest)))


def respelled(kind: str, text: str = "device") -> Make:
    """To the right number, under the issuer's name in another string, or other letters."""
    issuer = forms.common_name(kind, text)
    return lambda w: w.signed(content=forms.named(w.content(), forms.by_number(w.device.certificate, issuer)))


def gcm(seal: Gcm) -> Make:
    return lambda w: w.signed(content=seal(degenerate([w.issued]), w.device.certificate))


BESIDE = bytes(cms.CMSAttributes([cms.CMSAttribute({"type": "content_type", "values": ["data"]})]).dump())


def flipped(sealed: bytes) -> bytes:
    return sealed[:-1] + bytes([sealed[-1] ^ 1])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(xipki, id="content type envelopedData (XiPKI)"),
        pytest.param(lambda w: forms.streamed(xipki(w)), id="the same in BER, as BouncyCastle writes it"),
        pytest.param(
            in_order(sent=backwards, signed=sorted), id="attributes sent unsorted, signed in DER order (step-ca)"
        ),
        pytest.param(in_order(sent=backwards, signed=backwards), id="attributes signed as they are sent"),
        pytest.param(in_order(sent=sorted, signed=sorted), id="attributes in DER order"),
        pytest.param(by_key(), id="recipient by key identifier"),
        pytest.param(by_key(bytes(range(32))), id="recipient by a key identifier of the CA's own"),
        pytest.param(respelled("printable_string"), id="recipient's issuer as PrintableString"),
        pytest.param(respelled("bmp_string"), id="recipient's issuer as BMPString"),
        pytest.param(respelled("teletex_string"), id="recipient's issuer as TeletexString"),
        pytest.param(respelled("utf8_string", "  DEVICE "), id="recipient's issuer in other letters"),
        pytest.param(gcm(Gcm(as_go)), id="AES-128-GCM (step-ca's identifier 3)"),
        pytest.param(gcm(Gcm(as_go, oid=AES256_GCM)), id="AES-256-GCM (step-ca's identifier 4)"),
        pytest.param(gcm(Gcm()), id="AES-128-GCM with RFC 5084's parameters"),
        pytest.param(gcm(Gcm(lambda n: standard(n, 12), size=12)), id="AES-128-GCM with a tag of 12 bytes"),
        pytest.param(gcm(Gcm(short, size=12)), id="AES-128-GCM without a size, which is 12"),
        pytest.param(gcm(Gcm(apart=True)), id="AuthEnvelopedData"),
        pytest.param(gcm(Gcm(apart=True, beside=BESIDE)), id="AuthEnvelopedData with attributes"),
    ],
)
def test_it_is_read(world: World, make: Make) -> None:
    assert world.decode(make(world)) == Issued((world.issued,), world.ca.certificate)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(typed("data"), "not plain data", id="content type envelopedData, signed as data"),
        pytest.param(typed(None), "not plain data", id="content type envelopedData, not signed"),
        pytest.param(in_order(sent=sorted, signed=backwards), "signature", id="sent in DER order, signed in another"),
        pytest.param(
            in_order(sent=backwards, signed=shuffled), "signature", id="signed neither as sent nor in DER order"
        ),
        pytest.param(gcm(Gcm(as_go, spoil=flipped)), "cannot be decrypted", id="a tag that does not fit"),
        pytest.param(gcm(Gcm(spoil=lambda s: s[:5])), "malformed", id="no more than a tag's part"),
        pytest.param(gcm(Gcm(lambda n: standard(n, 4), size=4)), "malformed", id="a tag of 4 bytes"),
        pytest.param(gcm(Gcm(lambda n: standard(n[:4]))), "malformed", id="a nonce of 4 bytes"),
        pytest.param(gcm(Gcm(lambda n: standard(n * 9))), "malformed", id="a nonce of 108 bytes"),
        pytest.param(gcm(Gcm(lambda _: b"")), "malformed", id="no parameters"),
        pytest.param(gcm(Gcm(lambda _: core.Null().dump())), "malformed", id="other parameters"),
        pytest.param(gcm(Gcm(lambda n: standard(n, 12), apart=True)), "malformed", id="a tag longer than is said"),
        pytest.param(gcm(Gcm(apart=True, oid="2.16.840.1.101.3.4.1.2")), "malformed", id="a tag beside CBC"),
        pytest.param(gcm(Gcm(oid="1.2.840.113549.1.9.16.3.18")), "unknown cipher", id="ChaCha20"),
    ],
)
def test_it_is_refused(world: World, make: Make, says: str) -> None:
    with pytest.raises(TrustError, match=says) as caught:
        world.decode(make(world))
    assert caught.value.hint


def test_attributes_of_an_envelope_are_under_its_tag(world: World) -> None:
    envelope = Gcm(apart=True, beside=BESIDE)(degenerate([world.issued]), world.device.certificate)
    attributes = b"\xa1" + BESIDE[1:]
    assert envelope.count(attributes) == 1
    changed = envelope.replace(attributes, attributes[:-1] + b"\x02")
    with pytest.raises(TrustError, match="cannot be decrypted"):
        world.decode(world.signed(content=changed))


def test_another_devices_envelope_is_for_somebody_else(world: World) -> None:
    """The one key there is was tried, and did not open it."""
    reply = world.reply(recipient=world.stranger.certificate)
    with pytest.raises(TrustError, match="is encrypted to somebody else"):
        world.decode(reply)
