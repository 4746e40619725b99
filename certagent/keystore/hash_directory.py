"""Directories in which OpenSSL finds CAs (`HASH.0`) and CRLs (`HASH.r0`) by the hash of a name.

certagent recognises its own files there by their names and first lines. All other files belong to somebody else:
certagent does not replace them or remove them. (docs/decisions/0046)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import count, islice

from cryptography import x509
from msgspec import Struct
from OpenSSL import crypto

from certagent.directories import Directory, Look
from certagent.errors import KeystoreError

A_NAME = "00000000.r0"
"""As long as every name that certagent uses, and almost certainly never one of them."""


class Marked(Struct, frozen=True):
    """Files with our `first_line`. `ending`: what stands between the dot and the number, `r` for CRLs."""

    first_line: bytes
    ending: str
    limit: int

    def look(self, directory: Directory) -> Iterator[tuple[str, Look | None]]:
        """The hash names in the directory, each with a look at the file if it is ours, else with None."""
        pattern = re.compile(rf"[0-9a-f]{{8}}\.{self.ending}[0-9]{{1,4}}")
        for name in directory.names():
            if not pattern.fullmatch(name):
                continue
            look = None
            with suppress(OSError, KeystoreError):  # a link, a directory or an unreadable file: somebody else's
                look = directory.look(name, self.limit)
            yield name, look if look is not None and look.content.startswith(self.first_line) else None

    def place(self, wanted: Iterable[tuple[str, bytes]], found: Mapping[str, Look | None]) -> dict[str, bytes]:
        """Which content goes under which name. `wanted`: each hash with a text in PEM; `found`: what `look` saw.

        OpenSSL stops at the first missing number, so none is skipped; files that are already in a right place stay
        there.
        """
        by_hash: dict[str, list[bytes]] = {}
        for prefix, pem in wanted:
            by_hash.setdefault(prefix, []).append(self.first_line + pem)
        placed: dict[str, bytes] = {}
        for prefix, contents in by_hash.items():
            numbered = (f"{prefix}.{self.ending}{number}" for number in count())
            free = (name for name in numbered if name not in found or found[name] is not None)
            names = list(islice(free, len(contents)))
            stay = {name: look.content for name in names if (look := found.get(name)) and look.content in contents}
            placed |= stay
            rest = [content for content in contents if content not in stay.values()]
            placed |= dict(zip((name for name in names if name not in stay), rest, strict=False))
        return placed


def hash_of(certificate: x509.Certificate) -> str:
    """What `openssl x509 -hash` prints; OpenSSL uses it to find the files of a CA, and its CRLs."""
    return f"{crypto.X509.from_cryptography(certificate).subject_name_hash():08x}"
