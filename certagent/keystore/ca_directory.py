"""`ca_directory`: one file for each trusted CA, under the names that OpenSSL looks for (`HASH.0`, `HASH.1` …).

certagent recognises its own files in a directory by their names and first lines. All other files belong to somebody
else: certagent does not read their content, replace them or remove them. (docs/decisions/0046)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from cryptography import x509
from OpenSSL import crypto

from certagent.certificate import to_pem
from certagent.config.file_roles import FileRole
from certagent.config.keystores import KeystoreDefinition
from certagent.directories import Look, reach
from certagent.errors import KeystoreError
from certagent.keystore.files import LIMIT, explained, ownership
from certagent.keystore.swap_plan import NewFile
from certagent.keystore.targets import sha256

_NAME = re.compile(r"([0-9a-f]{8})\.([0-9]{1,4})")
A_NAME = "00000000.0"
"""As long as every name that certagent uses, and almost certainly never one of them."""


@dataclass(frozen=True)
class CaDirectory:
    """`path` is the consumer's directory; `key_file` is how a keystore tells its own files from those of others.

    Several keystores may share a directory, and two of them may trust the same CA.
    """

    path: Path
    key_file: str
    owner: str | None
    group: str | None

    @classmethod
    def of(cls, definition: KeystoreDefinition) -> CaDirectory:
        """The directory that a definition configures."""
        place = Path(definition.ca_directory or "")
        return cls(place, definition.hook_paths["key"], definition.owner, definition.group)

    def plan(self, trusted: tuple[x509.Certificate, ...]) -> tuple[NewFile, ...]:
        """The files to write and remove so that the directory holds `trusted`. Raises KeystoreError."""
        found = dict(self._names())
        own = {name: look for name, look in found.items() if look is not None}
        placed = self._placed(trusted, found)
        written = [
            self._file(name, content, own.get(name))
            for name, content in placed.items()
            if name not in own or own[name].content != content
        ]
        return (*written, *(self._file(name, None, look) for name, look in own.items() if name not in placed))

    def own_files(self) -> tuple[Path, ...]:
        """This keystore's files in the directory; none if the directory cannot be looked at."""
        with suppress(KeystoreError):
            return tuple(self.path / name for name, look in self._names() if look is not None)
        return ()

    def _names(self) -> Iterator[tuple[str, Look | None]]:
        """The hash names in the directory, each with a look at this keystore's file, or None for somebody else's."""
        with explained(f"read {self.path}"), reach(self.path / A_NAME, last="itself") as place:
            for name in place.directory.names():
                if not _NAME.fullmatch(name):
                    continue
                look = None
                with suppress(OSError, KeystoreError):  # a link, a directory or an unreadable file: somebody else's
                    look = place.directory.look(name, LIMIT)
                yield name, look if look is not None and look.content.startswith(self._first_line) else None

    def _placed(self, trusted: tuple[x509.Certificate, ...], found: Mapping[str, Look | None]) -> dict[str, bytes]:
        """Which content goes under which name. OpenSSL stops at the first missing number, so none is skipped; files
        that are already in a right place stay there."""
        by_hash: dict[str, list[bytes]] = {}
        for each in dict.fromkeys(trusted):
            by_hash.setdefault(hash_of(each), []).append(self._first_line + to_pem([each]))
        placed: dict[str, bytes] = {}
        for prefix, contents in by_hash.items():
            numbered = (f"{prefix}.{number}" for number in count())
            free = (name for name in numbered if name not in found or found[name] is not None)
            names = list(islice(free, len(contents)))
            stay = {name: look.content for name in names if (look := found.get(name)) and look.content in contents}
            placed |= stay
            rest = [content for content in contents if content not in stay.values()]
            placed |= dict(zip((name for name in names if name not in stay), rest, strict=False))
        return placed

    def _file(self, name: str, content: bytes | None, found: Look | None) -> NewFile:
        return NewFile(
            FileRole.TRUSTED,
            self._place / name,
            content,
            ownership(found, owner=self.owner, group=self.group, mode=None, default=0o644),
            before="" if found is None else sha256(found.content),
            inode_of=None,
        )

    @property
    def _place(self) -> Path:
        """The directory itself, with links resolved."""
        with explained(f"look at {self.path}"), reach(self.path / A_NAME, last="itself") as place:
            return place.directory.path

    @property
    def _first_line(self) -> bytes:
        return b"# certagent keeps this file, along with %b\n" % os.fsencode(self.key_file.replace("\n", " "))


def hash_of(certificate: x509.Certificate) -> str:
    """What `openssl x509 -hash` prints; OpenSSL uses it to find the files of a CA, and its CRLs."""
    return f"{crypto.X509.from_cryptography(certificate).subject_name_hash():08x}"
