"""GetCACaps: what a CA says it can do (RFC 8894 §3.5.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from certagent.scep.algorithms import Algorithms

_WORDS = (
    "AES",
    "DES3",
    "GetNextCACert",
    "POSTPKIOperation",
    "Renewal",
    "SCEPStandard",
    "SHA-1",
    "SHA-256",
    "SHA-512",
    "Update",
)
_CANONICAL = {word.lower(): word for word in _WORDS}
_STANDARD = frozenset({"AES", "POSTPKIOperation", "SHA-256"})


@dataclass(frozen=True)
class Capabilities:
    """The known words a CA answered with, in their canonical spelling. Nothing here is authenticated."""

    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a GetCACaps answer: one word a line, in any case; unknown lines and HTML count for nothing."""
        if data.lstrip()[:1] == b"<":
            return cls()
        lines = (line.strip().lower() for line in data.decode("utf-8", "replace").splitlines())
        return cls(frozenset(_CANONICAL[line] for line in lines if line in _CANONICAL))

    @property
    def _meant(self) -> frozenset[str]:
        return self.names | _STANDARD if "SCEPStandard" in self.names else self.names

    @property
    def post(self) -> bool:
        return "POSTPKIOperation" in self._meant

    @property
    def renewal(self) -> bool:
        return "Renewal" in self.names

    @property
    def next_ca(self) -> bool:
        return "GetNextCACert" in self.names

    def algorithms(self) -> Algorithms:
        """The best algorithms both sides have; 3DES and SHA-1 with a CA that claims nothing better.

        A CA without SHA-1 among its words is an old draft's, which meant MD5 and single DES; RFC 8894
        forbids both, so they are never chosen.
        """
        cipher = "aes128-cbc" if "AES" in self._meant else "3des"
        digests = (("SHA-256", "sha256"), ("SHA-512", "sha512"))
        digest = next((ours for word, ours in digests if word in self._meant), "sha1")
        return Algorithms(cipher, digest)

    def lost(self, since: Capabilities) -> frozenset[str]:
        """The words whose disappearance makes `algorithms()` weaker than it was `since`; empty = no downgrade.

        A person in the middle can drop words from an answer nobody signs.
        """
        gone = (since._meant - self._meant) & {"AES", "SHA-256", "SHA-512"}
        if {"SHA-256", "SHA-512"} & self._meant:
            gone -= {"SHA-256", "SHA-512"}
        return gone
