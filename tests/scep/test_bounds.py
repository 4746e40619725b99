"""Two mebibytes of anything, which is what the transport lets through, keep nobody busy."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from asn1crypto import core

from certagent.certificate import to_der, to_pem
from certagent.errors import TransientError, TrustError
from certagent.scep import degenerate, encode_next_ca, read_ca_certificates, read_next_ca
from certagent.scep.asn1 import tlv
from certagent.scep.envelope import enveloped_data
from certagent.scep.transport import MAX_SIZE
from tests.cost import cost

from .parts import EVERYTHING, World, indefinite, parts

SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
ENVELOPED_DATA = bytes.fromhex("06092a864886f70d010703")
DATA = bytes.fromhex("300b06092a864886f70d010701")


def wrapped(kind: bytes, body: bytes) -> bytes:
    return tlv(kind + tlv(tlv(body, 0x30), 0xA0), 0x30)


def signed(*fields: bytes) -> bytes:
    return wrapped(SIGNED_DATA, b"".join(fields))


def filled(element: bytes, size: int = MAX_SIZE - 4096) -> bytes:
    return element * (size // len(element))


VERSION, NO_DIGESTS = b"\x02\x01\x01", b"\x31\x00"
HEAD = VERSION + NO_DIGESTS + DATA


def sid(name: bytes) -> bytes:
    return tlv(name + b"\x02\x01\x01", 0x30)


def signer_info(identifier: bytes) -> bytes:
    algorithm = bytes.fromhex("300b0609608648016503040201")
    return tlv(VERSION + identifier + algorithm + algorithm + b"\x04\x00", 0x30)


def by_name(name: bytes) -> bytes:
    return signed(HEAD, tlv(signer_info(sid(name))))


def relative_name(value: bytes, oid: bytes = b"\x06\x03\x55\x04\x03") -> bytes:
    return tlv(tlv(oid + value, 0x30))


def with_the_cas_serial(world: World) -> bytes:
    """The CA's serial number beside a name that takes long to compare."""
    name = tlv(relative_name(tlv("ß".encode() * (MAX_SIZE // 2 - 4096), 0x0C)), 0x30)
    return signed(HEAD, tlv(signer_info(tlv(name + core.Integer(world.ca.certificate.serial_number).dump(), 0x30))))


def deep(count: int) -> bytes:
    return b"\x30\x80" * count + b"\0\0" * count


Make = Callable[[World], bytes]

HOSTILE = [
    pytest.param(lambda _: signed(VERSION, tlv(filled(b"\x30\x00")), DATA, b"\x31\x00"), id="digest algorithms"),
    pytest.param(lambda _: signed(HEAD, tlv(filled(b"\x30\x00"), 0xA0), b"\x31\x00"), id="certificates"),
    pytest.param(lambda _: signed(HEAD, tlv(filled(b"\x30\x00"), 0xA1), b"\x31\x00"), id="CRLs"),
    pytest.param(lambda _: signed(HEAD, tlv(filled(b"\x30\x00"))), id="signatures"),
    pytest.param(lambda _: by_name(tlv(filled(relative_name(b"\x0c\x01x")), 0x30)), id="relative names"),
    pytest.param(lambda _: by_name(relative_name(b"", tlv(filled(b"\x81"), 0x06))), id="an endless OID"),
    pytest.param(lambda _: by_name(tlv(relative_name(tlv(filled(b"x"), 0x0C)), 0x30)), id="a long name"),
    pytest.param(lambda _: signed(HEAD, tlv(signer_info(tlv(filled(b"\1"), 0x80)))), id="a long key identifier"),
    pytest.param(lambda _: signed(HEAD, tlv(signer_info(tlv(b"\x30\0" + tlv(filled(b"\1"), 2), 0x30)))), id="a serial"),
    pytest.param(with_the_cas_serial, id="a long name with the CA's serial number"),
    pytest.param(lambda _: signed(tlv(filled(b"\x7f"), 0x02), NO_DIGESTS, DATA, b"\x31\x00"), id="a version"),
    pytest.param(lambda _: deep(MAX_SIZE // 4), id="indefinite lengths in each other"),
    pytest.param(lambda _: b"\x30\x80" + filled(b"\x05\x00") + b"\0\0", id="elements without end"),
    pytest.param(lambda _: b"\x30\x80" + filled(b"\x30\x80\0\0") + b"\0\0", id="empty elements without end"),
    pytest.param(lambda _: filled(b"\x30\x80"), id="never closed"),
    pytest.param(lambda _: tlv(b"\x1f" + filled(b"\x81"), 0x30), id="an endless tag"),
    pytest.param(
        lambda _: wrapped(SIGNED_DATA, VERSION + NO_DIGESTS + tlv(filled(b"\x24\x80\0\0"), 0x30)), id="empty chunks"
    ),
]


def refusal(parse: Callable[[], object]) -> None:
    with pytest.raises((TrustError, TransientError)) as caught:
        parse()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("make", HOSTILE)
def test_anybodys_bytes_are_refused_in_no_time(world: World, make: Make) -> None:
    data = make(world)
    assert len(data) > MAX_SIZE // 2
    for parse in (
        lambda: world.decode(data, accept=EVERYTHING),
        lambda: read_ca_certificates(data),
        lambda: read_next_ca(data, signers=world.signers, accept=EVERYTHING),
    ):
        assert cost(refusal, parse) < 50


def test_pem_blocks_are_counted_as_a_bundle_is(world: World) -> None:
    """Each below every limit, all of them together not."""
    many = b"".join(to_pem([world.ca.certificate]) for _ in range(300))
    assert cost(refusal, lambda: read_ca_certificates(many)) < 50
    filled_up = base64.encodebytes(tlv(b"\x05\x00" * 9000, 0x30))
    block = b"-----BEGIN CERTIFICATE-----\n" + filled_up + b"-----END CERTIFICATE-----\n"
    assert cost(refusal, lambda: read_ca_certificates(block * 60)) < 50


def test_what_cannot_be_read_is_not_there(world: World) -> None:
    """One broken certificate beside a good one costs itself alone."""
    good = world.ca.certificate
    subject = good.subject.public_bytes()
    broken = to_der(good).replace(subject, bytes(len(subject)))
    for bundle in (to_pem([good]) + pem_of(broken), pem_of(broken) + to_pem([good])):
        assert read_ca_certificates(bundle) == (good,)
    with pytest.raises(TrustError, match="malformed"):
        read_ca_certificates(pem_of(broken))


def pem_of(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def test_an_endless_oid_inside_an_envelope_is_refused_in_no_time(world: World) -> None:
    oid = tlv(b"\x8f" * 300_000 + b"\x01", 0x06)
    data = world.signed(content=enveloped_data(tlv(oid, 0x30), world.device.certificate, "aes128-cbc"))
    assert cost(refusal, lambda: world.decode(data)) < 50


ENVELOPES = [
    pytest.param(wrapped(ENVELOPED_DATA, b"\2\1\0" + tlv(filled(b"\x30\x00"))), id="recipients"),
    pytest.param(wrapped(ENVELOPED_DATA, b"\2\1\0" + tlv(deep(1000))), id="depth"),
    pytest.param(wrapped(ENVELOPED_DATA, filled(b"\x05\x00")), id="fields"),
]


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_what_a_believed_ca_envelopes_is_refused_in_no_time(world: World, envelope: bytes) -> None:
    data = world.signed(content=envelope)
    assert cost(refusal, lambda: world.decode(data)) < 50


def test_a_long_honest_bundle_is_read(world: World) -> None:
    certificates = [world.ca.certificate] * 60
    assert read_ca_certificates(degenerate(certificates)) == tuple(certificates)


def test_a_message_in_many_chunks_is_read(world: World) -> None:
    """As a streaming encoder writes a CRL of a megabyte: small chunks."""
    data = encode_next_ca([world.issued] * 100, world.ca, signed_attributes=False)
    oid, explicit = parts(data)
    version, digests, encapsulated, *rest = parts(*parts(explicit))
    kind, content = parts(encapsulated)
    chunked = indefinite(content, indefinite(*parts(content)))
    body = tlv(version + digests + tlv(kind + chunked, 0x30) + b"".join(rest), 0x30)
    found = read_next_ca(tlv(oid + tlv(body, 0xA0), 0x30), signers=world.signers, accept=())
    assert len(found.certificates) == 100
