"""GetCACaps: what a CA says it can do (RFC 8894 §3.5.2), and what the configuration says it can do."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Self

from msgspec import Struct

from certagent.config.values import Capability
from certagent.scep import words
from certagent.scep.algorithms import Algorithms

# The RFC's words, and what servers write instead; only letters and digits are compared.
_SPELLINGS = {
    "AES": ("aes", "aes128", "aes128cbc", "aes192", "aes192cbc", "aes256", "aes256cbc"),
    "DES3": ("des3", "3des", "tripledes", "desede3", "desede3cbc", "des3cbc", "3descbc"),
    "GetNextCACert": ("getnextcacert", "getnextca"),
    "POSTPKIOperation": ("postpkioperation", "postpkioperations", "post", "httppost"),
    "Renewal": ("renewal",),
    "SCEPStandard": ("scepstandard",),
    "SHA-1": ("sha1",),
    "SHA-256": ("sha256",),
    "SHA-512": ("sha512",),
    "Update": ("update",),
}
_KNOWN = {spelling: word for word, spellings in _SPELLINGS.items() for spelling in spellings}
_STANDARD = frozenset({"AES", "POSTPKIOperation", "SHA-256"})
_BETWEEN = re.compile(r"[\s,;|]+")
_BESIDE = re.compile(r"[^A-Za-z0-9]")
_CONFIGURED: dict[Capability, str] = {
    "aes": "AES",
    "3des": "DES3",
    "sha256": "SHA-256",
    "sha512": "SHA-512",
    "sha1": "SHA-1",
    "post": "POSTPKIOperation",
    "renewal": "Renewal",
    "next_ca": "GetNextCACert",
}


class Capabilities(Struct, frozen=True):
    """The known words in a CA's answer, in their canonical spelling. Nothing here is authenticated."""

    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a GetCACaps answer: words in lines, or separated by blanks and commas, in any known case and spelling.

        Unknown words are ignored. A page or a UTF-16 file is read as its text; a line with half of its words unknown
        is prose, not a list.
        """
        found: set[str] = set()
        for line in words.lines(data):
            said = [_BESIDE.sub("", each).lower() for each in _BETWEEN.split(line)]
            known = [_KNOWN[each] for each in said if each in _KNOWN]
            if len(known) * 2 > len([each for each in said if each]):
                found.update(known)
        return cls(frozenset(found))

    @classmethod
    def configured(cls, said: Collection[Capability]) -> Self:
        """What the configuration says the CA can do."""
        return cls(frozenset(_CONFIGURED[each] for each in said))

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
        """The best algorithms that both sides have; 3DES and SHA-1 with a CA that claims nothing better.

        A CA that does not list SHA-1 follows an old draft, which meant MD5 and single DES; RFC 8894
        forbids both, so they are never chosen.
        """
        cipher = "aes128-cbc" if "AES" in self._meant else "3des"
        digests = (("SHA-256", "sha256"), ("SHA-512", "sha512"))
        digest = next((ours for word, ours in digests if word in self._meant), "sha1")
        return Algorithms(cipher, digest)

    def lost(self, since: Capabilities) -> frozenset[str]:
        """The words whose disappearance makes `algorithms()` weaker than it was `since`; empty = no downgrade.

        An attacker in the middle can remove words from the answer, because nobody signs it.
        """
        gone = (since._meant - self._meant) & {"AES", "SHA-256", "SHA-512"}
        if {"SHA-256", "SHA-512"} & self._meant:
            gone -= {"SHA-256", "SHA-512"}
        return gone
