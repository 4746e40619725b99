"""The files of a keystore by what they are for: the one table of them.

A definition's `paths` says which file has which role; a driver says what each is to hold; `keystore/swap` puts them
in place and keeps old ones under the role's name. Journals keep roles by their words, so a word once used stays.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

Swap = Literal["rename", "symlink", "in-place"]
"""How files take their places (docs/swap.md). Not said: by rename, but for files that are mounted by themselves."""

_PUBLIC = False  # holds no key: anybody may read it, unless the configuration says otherwise


class FileRole(StrEnum):
    """What a file is for: its word, the ending of kept copies, and whether it is private (the default).

    The order is the order in which a swap replaces files: trust before what needs it, then what must match, side by
    side, and what points to it last. A new file that is private gets mode 0600, any other 0644.
    """

    private: bool
    ending: str

    def __new__(cls, word: str, ending: str = "pem", private: bool = True) -> Self:
        role = str.__new__(cls, word)
        role._value_ = word
        role.ending = ending
        role.private = private
        return role

    CA = "ca", "pem", _PUBLIC
    TRUSTED = "trusted", "pem", _PUBLIC  # one of the files in ca_directory: there may be several, or none
    CHAIN = "chain", "pem", _PUBLIC
    PKCS12 = "pkcs12", "p12"
    KEY = "key"
    CERTIFICATE = "certificate", "pem", _PUBLIC
    SNIPPET = "snippet", "conf", _PUBLIC
    URI = "uri", "uri", _PUBLIC

    @property
    def kept_name(self) -> str:
        """What a file of this role is called in `previous` and in a generation."""
        return f"{self}.{self.ending}"
