"""What certagent writes by hand is what asn1crypto would write: DER, byte for byte."""

from __future__ import annotations

import pytest
from asn1crypto import cms, core
from hypothesis import example, given
from hypothesis import strategies as st

from certagent.config.values import KeyTransport
from certagent.scep import encoding
from certagent.scep.asn1 import issuer_and_serial, measure
from certagent.scep.envelope import enveloped_data
from certagent.scep.message import MESSAGE_TYPE, SENDER_NONCE
from certagent.scep.signed import degenerate, signed_data
from tests.scep.parts import World

ARCS = st.tuples(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 1 << 70), max_size=6))
ATTRIBUTES = {MESSAGE_TYPE: core.PrintableString("19"), SENDER_NONCE: core.OctetString(b"n" * 16)}


@given(st.integers())
@example(-128)
@example(-129)
@example(127)
@example(128)
def test_an_integer(number: int) -> None:
    assert encoding.integer(number) == core.Integer(number).dump()


@given(ARCS)
def test_an_object_identifier(arcs: tuple[int, int, list[int]]) -> None:
    first, second, rest = arcs
    dotted = ".".join(map(str, (first, second, *rest)))
    assert encoding.oid(dotted) == core.ObjectIdentifier(dotted).dump()


@given(st.binary(max_size=70_000))
def test_an_octet_string(value: bytes) -> None:
    assert encoding.octets(value) == core.OctetString(value).dump()


@given(st.lists(st.binary(max_size=40)))
def test_a_set_is_in_the_order_of_der(values: list[bytes]) -> None:
    class Octets(core.SetOf):  # type: ignore[misc]  # asn1crypto has no types
        _child_spec = core.OctetString

    assert encoding.set_of(*map(encoding.octets, values)) == Octets(values).dump()


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("content", [None, b"", b"x" * 127, b"x" * 128, b"x" * 70_000])
def test_a_signed_message(world: World, content: bytes | None, digest: str) -> None:
    made = signed_data(content, ATTRIBUTES, world.ca, digest, [world.ca.certificate])
    assert written_by_asn1crypto(made) == made


@pytest.mark.parametrize("key_transport", ["rsa", "oaep", "password"])
@pytest.mark.parametrize("cipher", ["aes128-cbc", "aes256-cbc", "3des"])
def test_an_envelope(world: World, cipher: str, key_transport: KeyTransport) -> None:
    made = enveloped_data(b"content", world.ca.certificate, cipher, key_transport=key_transport, password=b"secret")
    assert written_by_asn1crypto(made) == made


def test_certificates_that_nobody_signs(world: World) -> None:
    assert written_by_asn1crypto(made := degenerate([world.issued])) == made


def test_a_certificate_is_named_by_its_own_bytes(world: World) -> None:
    named = cms.IssuerAndSerialNumber.load(issuer_and_serial(world.issued), strict=True)
    assert named["issuer"].dump() == world.issued.issuer.public_bytes()
    assert named["serial_number"].native == world.issued.serial_number


def written_by_asn1crypto(data: bytes) -> bytes:
    """The same message, every field of it parsed and written again."""
    assert measure(data) == len(data)
    return bytes(cms.ContentInfo.load(data, strict=True).copy().dump(force=True))
