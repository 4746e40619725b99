"""The record of the keys that this keystore made in its token. An ID is recorded before its key is made.

So certagent finds the keys of a killed run by their IDs, and never takes another program's key for its own.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from certagent import durable
from certagent.keystore.files import explained

VERSION = 1


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key. `used`: consumers may have used it. `retired_at`: when it was replaced."""

    used: bool = False
    retired_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    version: int = VERSION
    making: bool = False
    keys: dict[str, Entry] = {}


class OwnKeys:
    """The file `keys.json` of one keystore, whose lock the caller holds. IDs are 32 hex digits."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, Entry]:
        """Raises StateError if the file cannot be read: it is never replaced by an empty one."""
        return self._document().keys

    @property
    def making(self) -> bool:
        """Whether a run was interrupted while it made objects."""
        return self._document().making

    def mark(self, *, making: bool) -> None:
        document = self._document()
        if document.making != making:
            self._write(msgspec.structs.replace(document, making=making))

    def _document(self) -> _Document:
        hint = "it lists certagent's keys on the token: restore it, or move it away and clean up the token by hand"
        return durable.read_versioned(self._file, _Document, VERSION, if_damaged=hint) or _Document()

    def record(self, key_id: str, entry: Entry) -> None:
        document = self._document()
        if document.keys.get(key_id) != entry:
            self._write(msgspec.structs.replace(document, keys={**document.keys, key_id: entry}))

    def forget(self, key_ids: Collection[str]) -> None:
        document = self._document()
        left = {key_id: entry for key_id, entry in document.keys.items() if key_id not in key_ids}
        if left != document.keys:
            self._write(msgspec.structs.replace(document, keys=left))

    def _write(self, document: _Document) -> None:
        with explained(f"write {self._file}"):
            durable.make_directory(self._file.parent)
            durable.write(self._file, msgspec.json.encode(document))
