"""Changes to DER and BER that keep most of it well-formed: what random bytes never get past the first header."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from random import Random

from certagent.scep.asn1 import tlv

_DEPTH = 24
_LONGEST = 32 * 1024  # bytes; changes that double what is there would add up


@dataclass
class Element:
    """`parts` None: primitive, or what was not understood; then `contents` is all there is."""

    tag: int
    contents: bytes
    parts: list[Element] | None = None
    inside: bool = False  # the parts stand inside an OCTET STRING or BIT STRING
    indefinite: bool = False

    def dump(self) -> bytes:
        contents = self.contents if self.parts is None else b"".join(part.dump() for part in self.parts)
        if self.inside and self.tag == 0x03:
            contents = b"\0" + contents
        if self.indefinite:
            return bytes((self.tag | 0x20, 0x80)) + contents + b"\0\0"
        return tlv(contents, self.tag)

    def walk(self) -> list[Element]:
        return [self, *(each for part in self.parts or () for each in part.walk())]


def parse(data: bytes, depth: int = 0) -> list[Element] | None:
    """The elements that `data` is made of; None if it is anything else."""
    elements = []
    while data:
        size = _size(data)
        if size is None:
            return None
        header, end = size
        elements.append(_element(data[0], data[header:end], depth))
        data = data[end:]
    return elements


def _size(data: bytes) -> tuple[int, int] | None:
    """Where the contents of the first element begin and end."""
    if len(data) < 2 or data[0] & 0x1F == 0x1F or data[1] == 0x80:
        return None
    header = 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
    length = data[1] if data[1] < 0x80 else int.from_bytes(data[2:header], "big")
    return (header, header + length) if header + length <= len(data) else None


def _element(tag: int, contents: bytes, depth: int) -> Element:
    if depth == _DEPTH:
        return Element(tag, contents)
    if tag & 0x20:
        parts = parse(contents, depth + 1)
        return Element(tag, contents, parts)
    wrapped = contents if tag == 0x04 else contents[1:] if tag == 0x03 and contents[:1] == b"\0" else b""
    parts = parse(wrapped, depth + 1) if wrapped[:1] in (b"\x30", b"\x02", b"\x31") else None
    return Element(tag, contents, parts, inside=parts is not None)


def mutate(data: bytes, random: Random) -> bytes:
    """One to four changes, most of them to elements under lengths that fit."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        elements = parse(data)
        if not elements or random.random() < 0.2:
            data = _bytes(data, random)
            continue
        root = Element(0x30, b"", elements)
        random.choice(_CHANGES)(root, random)
        data = b"".join(part.dump() for part in root.parts or ())[:_LONGEST]
    return data


def _bytes(data: bytes, random: Random) -> bytes:
    """Bytes overwritten, cut out or put in, whatever they are."""
    at, cut = random.randrange(len(data) + 1), random.choice((0, 0, 1, 1, 2, 16))
    put = random.randbytes(random.choice((0, 1, 1, 2, 16)))
    return data[:at] + put + data[at + cut :]


def _parent(root: Element, random: Random) -> Element:
    return random.choice([each for each in root.walk() if each.parts])


def _delete(root: Element, random: Random) -> None:
    parts = _parent(root, random).parts or []
    del parts[random.randrange(len(parts))]


def _repeat(root: Element, random: Random) -> None:
    parts = _parent(root, random).parts or []
    at = random.randrange(len(parts))
    parts[at:at] = [parts[at]] * random.choice((1, 1, 2, 40))


def _swap(root: Element, random: Random) -> None:
    parts = _parent(root, random).parts or []
    one, other = random.randrange(len(parts)), random.randrange(len(parts))
    parts[one], parts[other] = parts[other], parts[one]


def _transplant(root: Element, random: Random) -> None:
    """Something from elsewhere in its place."""
    parts = _parent(root, random).parts or []
    parts[random.randrange(len(parts))] = deepcopy(random.choice(root.walk()))


def _retag(root: Element, random: Random) -> None:
    element = random.choice(root.walk()[1:] or [root])
    element.tag = random.choice((0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x16, 0x17, 0x18, 0x1E, 0x30, 0x31))
    if random.random() < 0.3:
        element.tag = random.choice((0x80, 0x81, 0x82, 0xA0, 0xA1, 0xA2, 0xA3))


def _rewrite(root: Element, random: Random) -> None:
    """Other contents for a value: longer, shorter, empty, huge."""
    element = random.choice([each for each in root.walk() if each.parts is None] or [root])
    element.contents = random.choice(
        (
            b"",
            b"\0",
            b"\xff" * 9,
            b"\x80" * 70,
            element.contents + random.randbytes(4),
            element.contents[:-1],
            element.contents * 2,
            _bytes(element.contents, random),
            _bytes(element.contents, random),
            _bytes(element.contents, random),
            bytes(3000),
        )
    )


def _wrap(root: Element, random: Random) -> None:
    """Deeper than it was."""
    parts = _parent(root, random).parts or []
    at = random.randrange(len(parts))
    for _ in range(random.choice((1, 1, 3, 90))):
        parts[at] = Element(random.choice((0x30, 0x31, 0xA0, 0x24)), b"", [parts[at]])


def _unbound(root: Element, random: Random) -> None:
    """BER's indefinite length; for strings in chunks."""
    element = random.choice(root.walk()[1:] or [root])
    if element.parts is None:
        half = len(element.contents) // 2
        chunks = [Element(element.tag, part) for part in (element.contents[:half], element.contents[half:])]
        element.parts, element.inside = chunks, False
    element.indefinite = True


_CHANGES = (_delete, _repeat, _swap, _transplant, _retag, _rewrite, _rewrite, _rewrite, _wrap, _unbound)
