"""How an input is changed: by its structure where it has one, else as text."""

from __future__ import annotations

from random import Random

from tests.fuzz import der
from tests.fuzz.targets import Target

_WORDS = (
    b"null",
    b"-1",
    b"1e999",
    b"[]",
    b"{}",
    b'""',
    b"\\u0000",
    b"9" * 400,
    b"\xff",
    b"\n",
    b"---",
    b"&a *a",
    b"!!x",
)


def changed(target: Target, data: bytes, random: Random) -> bytes:
    return der.mutate(data, random) if target.der else text(data, random)


def text(data: bytes, random: Random) -> bytes:
    """Lines and words cut out, doubled, moved; words that have a meaning somewhere put in."""
    for _ in range(random.choice((1, 1, 2, 5))):
        begin = random.randrange(len(data) + 1)
        end = min(len(data), begin + random.choice((0, 1, 4, 40)))
        put = random.choice((b"", random.randbytes(1), random.choice(_WORDS), data[begin:end] * 2, data[end:begin:-1]))
        data = data[:begin] + put + data[end:]
    return data
