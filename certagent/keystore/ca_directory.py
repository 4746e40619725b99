"""`ca_directory`: one file for each trusted CA, under the names that OpenSSL looks for (`HASH.0`, `HASH.1` …).

Which files there are certagent's own, and how they are numbered: hash_directory.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from msgspec import Struct

from certagent.certificate import to_pem
from certagent.config.file_roles import FileRole
from certagent.config.keystores import KeystoreDefinition
from certagent.directories import Look, reach
from certagent.errors import KeystoreError
from certagent.keystore.files import LIMIT, explained, ownership
from certagent.keystore.hash_directory import A_NAME, Marked, hash_of
from certagent.keystore.swap_plan import NewFile
from certagent.keystore.targets import sha256


class CaDirectory(Struct, frozen=True):
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
        placed = self._marked.place(((hash_of(each), to_pem([each])) for each in dict.fromkeys(trusted)), found)
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
            yield from self._marked.look(place.directory)

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
    def _marked(self) -> Marked:
        line = b"# certagent keeps this file, along with %b\n" % os.fsencode(self.key_file.replace("\n", " "))
        return Marked(line, "", LIMIT)
