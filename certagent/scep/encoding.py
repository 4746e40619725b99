"""DER (X.690 §10) of the few things that a message of ours is made of. What comes from others is read in `asn1`.

asn1crypto could write it too, but takes some hundred calls for each field.
"""

from __future__ import annotations

from functools import lru_cache

from certagent.scep.asn1 import tlv

NULL = b"\x05\x00"


def sequence(*elements: bytes) -> bytes:
    return tlv(b"".join(elements), 0x30)


def set_of(*elements: bytes) -> bytes:
    """A SET OF these elements, in DER's order (X.690 §11.6)."""
    return tlv(b"".join(sorted(elements)))


def explicit(number: int, element: bytes) -> bytes:
    """An element under the context-specific tag `number`."""
    return tlv(element, 0xA0 | number)


def octets(value: bytes) -> bytes:
    return tlv(value, 0x04)


def integer(number: int) -> bytes:
    """In as few bytes as hold it: -128 takes one, 128 two (X.690 §8.3.2)."""
    size = (number if number >= 0 else ~number).bit_length() // 8 + 1
    return tlv(number.to_bytes(size, "big", signed=True), 0x02)


@lru_cache(maxsize=64)
def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER (X.690 §8.19)."""
    first, second, *rest = map(int, dotted.split("."))
    return tlv(b"".join(map(_base_128, (40 * first + second, *rest))), 0x06)


def _base_128(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))


CONTENT_TYPES = {
    "data": oid("1.2.840.113549.1.7.1"),
    "signed_data": oid("1.2.840.113549.1.7.2"),
    "enveloped_data": oid("1.2.840.113549.1.7.3"),
}
"""Of CMS, by asn1crypto's words (RFC 5652)."""
