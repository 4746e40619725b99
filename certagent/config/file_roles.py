"""The files of a keystore by role: the only table of roles.

A definition's `paths` says which file has which role; a driver says what each contains; `keystore/swap` puts them
in place and keeps old ones under the role's name. Journals store these names, so a name once used must stay.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

Swap = Literal["rename", "symlink", "in-place"]
"""How files are replaced (docs/swap.md). The default is rename, except for files that are mounted by themselves."""

_PUBLIC = False  # no key inside: anybody may read it, unless the configuration says otherwise


class FileRole(StrEnum):
    """A file's role: its word, the suffix of kept copies, and whether it is private (the default).

    The order is the order in which a swap replaces files: first trust, before what needs it; then files that must
    match, next to each other; last what points to them. A new private file gets mode 0600, any other 0644.
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
    TRUSTED = "trusted", "pem", _PUBLIC  # one of the files in ca_directory: there may be any number
    CHAIN = "chain", "pem", _PUBLIC
    PKCS12 = "pkcs12", "p12"
    KEY = "key"
    CERTIFICATE = "certificate", "pem", _PUBLIC
    SNIPPET = "snippet", "conf", _PUBLIC
    URI = "uri", "uri", _PUBLIC

    @property
    def kept_name(self) -> str:
        """The name of a file with this role in `previous` and in a generation."""
        return f"{self}.{self.ending}"
