"""PEM files as text: their blocks, and which of them are certagent's to write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

KeyFormat = Literal["pkcs1", "pkcs8"]
"""How a private key is written: as PKCS#1 (an EC key as SEC 1), or as PKCS#8."""

_LINE = re.compile(rb"-----(BEGIN|END) ([^\r\n]{1,64}?)-----(?:[^\S\n]*\n)?")
_CERTIFICATES = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")
_PKCS8 = (b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY")
# The curve of the key that follows: OpenSSL's `ecparam -genkey` writes it first, and no reader needs it.
_OF_THE_KEY = (b"EC PARAMETERS",)


def key_format(content: bytes) -> KeyFormat | None:
    """How the first private key in a file is written; None if there is none."""
    label = next((label for label, _ in _blocks(content) if label.endswith(b"PRIVATE KEY")), None)
    if label is None:
        return None
    return "pkcs8" if label in _PKCS8 else "pkcs1"


def first_label(content: bytes) -> bytes:
    """The label of the first complete block; empty if there is none."""
    return next((label for label, _ in _blocks(content)), b"")


def key_block(content: bytes) -> bytes | None:
    """The first private key, unchanged; None if there is none."""
    return next((block for label, block in _blocks(content) if label.endswith(b"PRIVATE KEY")), None)


def certificates(content: bytes) -> list[tuple[bool, bytes]]:
    """The certificates, unchanged, under any label that OpenSSL reads; each with whether trust settings follow it
    (TRUSTED CERTIFICATE)."""
    return [(label.startswith(b"TRUSTED"), block) for label, block in _blocks(content) if label in _CERTIFICATES]


def other_blocks(content: bytes) -> bytes:
    """Everything but the certificates and the first private key with its copies, unchanged: DH parameters, another
    key."""
    kept, key = b"", key_block(content)
    for label, block in _blocks(content):
        if key is not None and block.strip() == key.strip():
            continue
        if label not in (*_CERTIFICATES, *_OF_THE_KEY):
            kept += block if block.endswith(b"\n") else block + b"\n"
    return kept


def other_keys(content: bytes) -> list[bytes]:
    """All private keys in a file except the first one, unchanged."""
    return [block for label, block in _blocks(content) if label.endswith(b"PRIVATE KEY")][1:]


def _blocks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Label and text of each complete block. One pass: the file's owner may have filled it with many BEGIN lines."""
    begun: re.Match[bytes] | None = None
    for line in _LINE.finditer(content):
        if line[1] == b"BEGIN":
            begun = line
        elif begun is not None and line[2] == begun[2]:
            yield line[2], content[begun.start() : line.end()]
            begun = None
