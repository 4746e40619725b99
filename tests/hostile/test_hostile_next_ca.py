"""Answers to GetNextCACert that nothing is believed of: name, what is done to an honest one, the error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509

from certagent.certificate import to_der
from certagent.errors import CertagentError, TransientError, TrustError
from certagent.scep import PkiStatus, Signer, degenerate
from certagent.scep.asn1 import tlv
from certagent.scep.next_ca import encode_next_ca, read_next_ca
from tests.fuzz.der import Element, parse
from tests.fuzz.parties import Parties, parties
from tests.fuzz.targets import envelope, honest_reply
from tests.hostile.replies import grown
from tests.unit.pki import NOW, party, rsa_key

Make = Callable[[Parties], bytes]


def following() -> list[x509.Certificate]:
    """The next CA, as an honest present one announces it."""
    return [party("CN=next CA", with_key=rsa_key("next CA"), ca=True).certificate]


def others() -> list[x509.Certificate]:
    return [party("CN=next CA", with_key=rsa_key("stranger"), ca=True).certificate]


def stranger() -> Signer:
    made = party("CN=stranger", with_key=rsa_key("stranger"), ca=True)
    return Signer(made.key, made.certificate)


def double(world: Parties) -> Signer:
    """A stranger under the CA's own certificate."""
    return Signer(rsa_key("stranger"), world.ca.certificate)


Parts = list[Element]


def edited(edit: Callable[[Parts], None], *, nested: bool = True, attributes: bool = True) -> Make:
    """An honest answer, changed by somebody without a key: `edit` gets the fields of its SignedData."""

    def make(world: Parties) -> bytes:
        honest = encode_next_ca(following(), world.signer, nested=nested, signed_attributes=attributes)
        (info,) = parse(honest) or []
        edit(inside(info, 1, 0))
        return info.dump()

    return make


def inside(element: Element, *path: int) -> Parts:
    for at in path:
        element = (element.parts or [])[at]
    assert element.parts is not None
    return element.parts


def spliced(signed: Parts) -> None:
    """Other certificates in what is signed."""
    signed[2].parts = [*inside(signed[2])[:1], *(parse(tlv(tlv(degenerate(others()), 0x04), 0xA0)) or [])]


def unsigned(signed: Parts) -> None:
    signed[-1].parts = []


def signed_twice(signed: Parts) -> None:
    signed[-1].parts = inside(signed[-1]) * 2


def without_attributes(signed: Parts) -> None:
    del inside(signed[-1], 0)[3]


def signature_of_zeros(signed: Parts) -> None:
    inside(signed[-1], 0)[-1] = Element(0x04, bytes(256))


def by(signer: Callable[[Parties], Signer], *, nested: bool = True, attributes: bool = True) -> Make:
    return lambda world: encode_next_ca(following(), signer(world), nested=nested, signed_attributes=attributes)


def device(world: Parties) -> Signer:
    return world.decrypter


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        pytest.param(by(lambda _: stranger()), TrustError, "signed by an unknown party", id="a stranger"),
        pytest.param(
            by(lambda _: stranger(), nested=False), TrustError, "signed by an unknown party", id="a stranger, flat"
        ),
        pytest.param(
            by(lambda _: stranger(), attributes=False), TrustError, "by an unknown party", id="a stranger, bare"
        ),
        pytest.param(by(device), TrustError, "signed by an unknown party", id="a device of this CA"),
        pytest.param(by(double), TrustError, "signature .* is wrong", id="a stranger as the CA"),
        pytest.param(by(double, nested=False), TrustError, "signature .* is wrong", id="a stranger as the CA, flat"),
        pytest.param(edited(unsigned), TrustError, "nobody signed", id="no signature"),
        pytest.param(edited(unsigned, nested=False), TrustError, "no signature", id="no signature, flat"),
        pytest.param(lambda _: degenerate(following()), TrustError, "no signature", id="as GetCACert answers"),
        pytest.param(lambda _: to_der(following()[0]), TrustError, "nobody signed it", id="a bare certificate"),
        pytest.param(edited(signed_twice), TrustError, "2 signatures", id="two signatures"),
        pytest.param(edited(signature_of_zeros), TrustError, "is wrong", id="signature of zeros"),
        pytest.param(edited(spliced), TrustError, "message digest", id="other certificates in it"),
        pytest.param(edited(spliced, attributes=False), TrustError, "is wrong", id="other certificates in it, bare"),
        pytest.param(edited(without_attributes), TrustError, "is wrong", id="attributes stripped"),
        pytest.param(lambda w: by(signer_of)(w) + b"\0", TrustError, "1 bytes of extra data", id="a byte after it"),
        pytest.param(lambda w: grown(by(signer_of)(w)), TrustError, "malformed", id="more in the ContentInfo"),
        pytest.param(lambda w: grown(by(signer_of)(w), 1, 0), TrustError, "malformed", id="more in the SignedData"),
        pytest.param(lambda w: encode_next_ca([], w.signer), TrustError, "holds no certificate", id="nothing in it"),
        pytest.param(
            lambda w: encode_next_ca([], w.signer, nested=False), TrustError, "no certificate", id="nothing in it, flat"
        ),
        pytest.param(
            lambda w: encode_next_ca(following(), w.signer, digest="sha1"), TrustError, "with sha1", id="SHA-1"
        ),
        pytest.param(lambda w: encode_next_ca(following(), w.signer, digest="md5"), TrustError, "with md5", id="MD5"),
        pytest.param(lambda _: honest_reply(), TrustError, "answer to another request", id="a CertRep of the CA"),
        pytest.param(
            lambda _: honest_reply(PkiStatus.PENDING), TrustError, "answer to another request", id="a PENDING of the CA"
        ),
        pytest.param(lambda _: envelope(degenerate(following())), TrustError, "enveloped_data", id="an envelope"),
        pytest.param(lambda _: b"", TransientError, "is empty", id="nothing"),
        pytest.param(lambda _: b"<html>", TransientError, "a web page", id="a web page"),
        pytest.param(lambda w: by(signer_of)(w)[:-9], TransientError, "cut off", id="cut short"),
    ],
)
def test_refused(make: Make, error: type[CertagentError], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        read_next_ca(make(parties()), signers=[parties().ca.certificate], accept=())
    assert type(caught.value) is error
    assert caught.value.hint
    assert str(caught.value).isprintable()


def signer_of(world: Parties) -> Signer:
    return world.signer


def replaced(signed: Parts) -> None:
    (info,) = parse(degenerate(others())) or []
    signed[3] = inside(info, 1, 0)[3]


def test_the_flat_form_vouches_for_nothing() -> None:
    """Other certificates are in it, and the signature, over no content, still holds: nobody is named as signer."""
    make = edited(replaced, nested=False)
    found = read_next_ca(make(parties()), signers=[parties().ca.certificate], accept=())
    assert (found.signed_by, found.nested) == (None, False)
    assert found.certificates[0].public_key() == others()[0].public_key()


def test_an_honest_answer_names_who_vouches() -> None:
    """What the cases above are changed from."""
    found = read_next_ca(by(signer_of)(parties()), signers=[parties().ca.certificate], accept=())
    assert (found.signed_by, found.nested) == (parties().ca.certificate, True)
    assert [each.subject for each in found.certificates] == [each.subject for each in following()]
    assert found.certificates[0].not_valid_after_utc > NOW
