"""Putting CRLs where a consumer reads them. Each file changes alone, in one step, so no journal is needed."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from certagent import durable, state
from certagent.config.crl_files import CrlFile
from certagent.directories import Directory, Look, Place, reach
from certagent.errors import KeystoreError
from certagent.keystore.files import explained, ownership
from certagent.keystore.hash_directory import A_NAME, Marked
from certagent.mounts import Mounts
from certagent.trust import crl

# For the CRLs of several CAs, in PEM.
LIMIT = 2 * crl.MAX_SIZE


class Lists(Struct, frozen=True):
    """CRLs in PEM, in the CAs' order; each with the hash of the issuer's name that OpenSSL looks it up by."""

    every: tuple[tuple[str, bytes], ...]

    @property
    def together(self) -> bytes:
        return b"".join(pem for _, pem in self.every)


def put(file: CrlFile, lists: Lists) -> bool:
    """Make the file, or the directory, hold the lists; returns whether that changed anything. Raises KeystoreError.

    Replaces an existing file only if it holds CRLs (in a directory: if it is ours), and is unchanged since the look.
    """
    path = Path(file.path)
    if file.apart:
        with explained(f"write to {path}"), reach(path / A_NAME, last="itself") as place:
            return _put_apart(file, lists, place.directory)
    content = lists.together
    with explained(f"write {path}"), reach(path) as place:
        found = place.look(LIMIT)
        if found is not None and found.content == content:
            return False
        if found is not None and not holds_crls(found.content):
            raise _foreign(path)
        if found is not None and (file.in_place or Mounts.read().of(found.path)):
            _write_into(place, content, found)
        else:
            _replace(place, content, _ownership(file, found), found)
        return True


def check(file: CrlFile) -> None:
    """Check that `put` can write it, as far as that can be known. Raises KeystoreError."""
    path = Path(file.path)
    with explained(f"write to {path}"), reach(path / A_NAME if file.apart else path, last="follow") as place:
        found = None if file.apart else place.look(LIMIT)
    if found is not None and not holds_crls(found.content):
        raise _foreign(path)
    _ownership(file, found)


def _foreign(path: Path) -> KeystoreError:
    return KeystoreError(
        f"{path} holds something other than CRLs, and certagent leaves it alone", "correct the path, or move it away"
    )


def _ownership(file: CrlFile, found: Look | None) -> durable.Ownership:
    return ownership(found, owner=file.owner, group=file.group, mode=file.mode, default=0o644)


def _put_apart(file: CrlFile, lists: Lists, directory: Directory) -> bool:
    """A file for each list: first write the new ones, then remove ours that are no longer wanted."""
    marked = _marked(file)
    found = dict(marked.look(directory))
    placed = marked.place(lists.every, found)
    own = {name: look for name, look in found.items() if look is not None}
    changed = [name for name, content in placed.items() if name not in own or own[name].content != content]
    for name in changed:
        look = own.get(name)
        _replace(Place(directory, name), placed[name], _ownership(file, look), look)
    gone = own.keys() - placed.keys()
    for name in gone:
        directory.unlink(name)
    if gone:
        durable.sync_directory(Path(), dir_fd=directory.descriptor)
    return bool(changed or gone)


def _marked(file: CrlFile) -> Marked:
    """Our files in a directory: their first line tells one keystore's files from another's, too."""
    whose = f"keystore {file.keystore}" if file.keystore else f"authority {file.authority}"
    return Marked(f"# certagent keeps this file, for {whose}\n".encode(), "r", LIMIT)


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
    """Not in one step: a reader may see a part, and after a power cut the next run writes the file again."""
    with place.directory.open(place.name, LIMIT) as (descriptor, now):
        if now.content != found.content:
            raise _changed(place)
        durable.write_at(descriptor, content)
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)


def _changed(place: Place) -> KeystoreError:
    return KeystoreError(
        f"{place.path} was changed by another program in the meantime", "the next run looks at it again"
    )


def read(file: CrlFile) -> bytes | None:
    """What the consumer reads; None if there is no file. Raises KeystoreError."""
    path = Path(file.path)
    with explained(f"read {path}"):
        try:
            if file.apart:
                with reach(path / A_NAME, last="itself") as place:
                    looks = [look for _, look in _marked(file).look(place.directory) if look is not None]
                return b"".join(look.content for look in looks)
            with reach(path) as place:
                found = place.look(LIMIT)
        except FileNotFoundError:
            return None
    return None if found is None else found.content


def signature(file: CrlFile) -> str:
    """A signature like `state.watch`'s: any change to the file changes it; for a directory, if a file is added,
    removed or replaced."""
    return state.watch([file.path])[file.path]


def holds_crls(content: bytes) -> bool:
    """Whether a file may be replaced by CRLs: it holds a CRL, whole or in part, or is empty."""
    if b"PRIVATE KEY-----" in content or b"CERTIFICATE-----" in content:
        return False
    return not content.strip() or content.lstrip().startswith(b"-----BEGIN X509 CRL-----") or crl.is_one(content)
