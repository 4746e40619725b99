"""The parts of a certificate that paths are made of: what asn1crypto reads from the whole of it, for all of PKITS."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from asn1crypto import x509 as asn1_x509

from certagent.certificate import to_der
from certagent.scep.asn1 import contents, split, tlv
from certagent.trust.parts import read_parts
from tests.unit.pki import NOW, party
from tests.unit.test_pkits import certificates

CA = to_der(party("CA", ca=True).certificate)


@pytest.mark.parametrize("name", certificates())
def test_they_are_what_asn1crypto_reads(name: str) -> None:
    der = to_der(certificates()[name])
    parts, whole = read_parts(der), asn1_x509.Certificate.load(der, strict=True)
    body, basic, usage = whole["tbs_certificate"], whole.basic_constraints_value, whole.key_usage_value
    assert parts is not None
    assert (parts.subject, parts.issuer) == (body["subject"].dump(), body["issuer"].dump())
    assert (parts.begins, parts.ends) == (body["validity"]["not_before"].native, body["validity"]["not_after"].native)
    assert parts.key == whole.public_key.dump()
    assert parts.key_algorithm == whole.public_key["algorithm"]["algorithm"].dotted
    assert parts.key_bits == (whole.public_key.bit_size if whole.public_key.algorithm == "rsa" else 0)
    assert parts.version == int(body["version"]) + 1
    assert (parts.ca, parts.path_length) == (
        (basic["ca"].native, basic["path_len_constraint"].native) if basic else (None, None)
    )
    assert parts.usage == (frozenset(usage.native) if usage else None)


def fields(change: Callable[[list[bytes]], Sequence[bytes]]) -> bytes:
    """The CA's certificate with its body's fields changed."""
    body, *others = split(contents(CA))
    return tlv(tlv(b"".join(change(split(contents(body)))), 0x30) + b"".join(others), 0x30)


def extensions(change: Callable[[list[bytes]], Sequence[bytes]]) -> bytes:
    """… with its extensions changed."""

    def changed(every: list[bytes]) -> list[bytes]:
        *before, explicit = every
        (inner,) = split(contents(explicit))
        return [*before, tlv(tlv(b"".join(change(split(contents(inner)))), 0x30), 0xA3)]

    return fields(changed)


DAMAGED = {
    "without a signature": tlv(b"".join(split(contents(CA))[:2]), 0x30),
    "with a fourth part": tlv(contents(CA) + b"\x05\x00", 0x30),
    "bytes after its end": CA + b"\x00",
    "without a serial number": fields(lambda each: each[:1] + each[2:]),
    "a name that is a string": fields(lambda each: [*each[:3], b"\x0c\x01x", *each[4:]]),
    "fields in another order": fields(lambda each: [*each[:4], each[5], each[4], *each[6:]]),
    "an unknown field": fields(lambda each: [*each, b"\xa4\x00"]),
    "extensions twice": fields(lambda each: [*each, each[-1]]),
    "an extension twice": extensions(lambda each: [*each, each[0]]),
    "an extension without a value": extensions(lambda each: [*each, tlv(split(contents(each[0]))[0], 0x30)]),
    "an extension whose value is no octets": extensions(lambda each: [tlv(b"\x06\x01\x2a\x05\x00", 0x30), *each]),
    "an extension with a number for critical": extensions(
        lambda each: [tlv(b"\x06\x01\x2a\x02\x01\x01\x04\x00", 0x30), *each]
    ),
}


@pytest.mark.parametrize("der", [pytest.param(der, id=name) for name, der in DAMAGED.items()])
def test_a_damaged_certificate_counts_as_missing(der: bytes) -> None:
    assert read_parts(CA) is not None
    assert read_parts(der) is None


def test_one_without_extensions_is_read() -> None:
    bare = read_parts(fields(lambda each: each[:-1]))
    assert bare is not None
    assert (bare.ca, bare.usage) == (None, None)
    assert bare.begins <= NOW <= bare.ends
