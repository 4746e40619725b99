"""Putting CRLs where a consumer reads them. One file alone changes: it is replaced in one step, without a journal."""

from __future__ import annotations

import os
from pathlib import Path

from certagent import durable
from certagent.config.crl_files import CrlFile
from certagent.directories import Look, Place, reach
from certagent.errors import KeystoreError
from certagent.keystore.files import explained, ownership
from certagent.mounts import Mounts
from certagent.trust import crl

# Of the lists of several CAs, in PEM.
LIMIT = 2 * crl.MAX_SIZE


def put(file: CrlFile, content: bytes) -> bool:
    """Have the file hold `content`; whether it did not before. Raises KeystoreError.

    What is there is replaced if it is a file of CRLs, and the same as it was a moment before.
    """
    path = Path(file.path)
    with explained(f"write {path}"), reach(path) as place:
        found = place.look(LIMIT)
        if found is not None and found.content == content:
            return False
        if found is not None and not holds_crls(found.content):
            raise KeystoreError(
                f"{path} holds something else than CRLs, and is left as it is", "correct the path, or move it away"
            )
        wanted = ownership(found, owner=file.owner, group=file.group, mode=file.mode, default=0o644)
        if found is not None and (file.in_place or Mounts.read().of(found.path)):
            _write_into(place, content, found)
            return True
        _replace(place, content, wanted, found)
        return True


def _replace(place: Place, content: bytes, wanted: durable.Ownership, found: Look | None) -> None:
    staged, descriptor = Path(f".{place.name}.certagent-crl"), place.directory.descriptor
    durable.write_new(staged, content, wanted, dir_fd=descriptor)
    try:
        now = place.look(LIMIT)
        if (now and now.content) != (found and found.content):
            raise _changed(place)
        durable.replace(staged, Path(place.name), dir_fd=descriptor)
    except BaseException:
        place.directory.unlink(staged.name)
        raise


def _write_into(place: Place, content: bytes, found: Look) -> None:
    """Not in one step: a reader may see a part, and what a power cut leaves is written anew by the next run."""
    with place.directory.open(place.name, LIMIT) as (descriptor, now):
        if now.content != found.content:
            raise _changed(place)
        written = 0
        while written < len(content):
            written += os.pwrite(descriptor, content[written:], written)
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)


def _changed(place: Place) -> KeystoreError:
    return KeystoreError(f"{place.path} was changed by somebody else meanwhile", "the next run looks at it anew")


def read(file: CrlFile) -> bytes | None:
    """What the consumer reads; None for no file. Raises KeystoreError."""
    path = Path(file.path)
    with explained(f"read {path}"):
        try:
            with reach(path) as place:
                found = place.look(LIMIT)
        except FileNotFoundError:
            return None
    return None if found is None else found.content


def holds_crls(content: bytes) -> bool:
    """Whether a file may be replaced by CRLs: it is one of them, whole or in part, or empty."""
    if b"PRIVATE KEY-----" in content or b"CERTIFICATE-----" in content:
        return False
    return not content.strip() or content.lstrip().startswith(b"-----BEGIN X509 CRL-----") or crl.is_one(content)
