"""`swap: in-place`: new content written into the files themselves, for readers that hold a file by its inode.

Such readers use a hard link of a file, or a mount of the file alone. Nothing makes this atomic: a reader may get half
a file, and a power cut may leave half a file. The new and the old content stay in the state directory until the
overwrite is complete, so that it can be finished or undone. No cryptography is loaded here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from certagent import durable
from certagent.directories import Look
from certagent.durable import ACCESS_LIST, Ownership
from certagent.errors import KeystoreError
from certagent.keystore.files import explained, read_file
from certagent.keystore.swap_plan import Change, Overwrite, Plan, Record
from certagent.keystore.targets import Targets, digest, sha256


def stage(plan: Plan, held: Targets) -> None:
    """Keep the new and the old content in the record's directory, durably. Raises OSError, KeystoreError."""
    room = Path(plan.record.generation)
    durable.make_directory(room.parent)
    durable.remove(room)
    room.mkdir(0o700)
    for file, change in zip(plan.files, plan.record.changes, strict=True):
        if change.overwrite is not None:
            with _opened(change, change.overwrite, held) as there:  # shows now whether it may be written into
                if sha256(there.look.content) != change.before:
                    raise _changed(change)
                durable.write_new(Path(change.old), there.look.content)
            if file.content is not None:
                durable.write_new(Path(change.staged), file.content)
    durable.sync_directory(room)
    durable.sync_directory(room.parent)


def undo(record: Record) -> None:
    """Remove what `stage` kept. Raises OSError."""
    durable.remove(Path(record.generation))


def write_all(record: Record, held: Targets) -> None:
    """Write the new content into each file, one right after the other, durably.

    All files are opened and compared before the first one is written. Raises KeystoreError.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(*each, held)) for each in _overwritten(record)]
        for file in files:
            file.check()
        for file in files:
            file.become(new=True)
        for file in files:
            file.sync()


def put_back(record: Record, held: Targets) -> None:
    """Write the old content into each file again, durably. If other programs changed some of the files meanwhile, only
    half-written files are touched. Raises KeystoreError."""
    with ExitStack() as stack:
        own = []
        for change, owners in _overwritten(record):
            if held.digest(change.target) is not None:  # otherwise it is gone, or somebody's link by now
                file = stack.enter_context(_opened(change, owners, held))
                own += [] if file.is_foreign else [file]
        alone = len(own) == len(_overwritten(record))
        for file in own:
            if alone or not file.is_whole:
                file.become(new=False)
                file.sync()


class _File(Struct, frozen=True):
    """A file to write into, as it was when it was opened."""

    change: Change
    owners: Overwrite
    descriptor: int
    look: Look

    @property
    def is_new(self) -> bool:
        return sha256(self.look.content) == self.change.sha256

    @property
    def is_whole(self) -> bool:
        return self.is_new or sha256(self.look.content) == self.change.before

    @property
    def is_foreign(self) -> bool:
        return not self.is_whole and not is_mixture(
            self.look.content, read_file(Path(self.change.old)) or b"", read_file(Path(self.change.staged)) or b""
        )

    def check(self) -> None:
        """Check that the file may be written. Raises KeystoreError."""
        if self.is_foreign:
            raise _changed(self.change)
        staged = self.change.staged
        if not self.is_new and digest(staged) != self.change.sha256:
            why = f"{staged}, made for {self.change.target}, was removed or changed"
            raise KeystoreError(why, "it is tried again")

    def become(self, *, new: bool) -> None:
        """Set owner and mode before the content, so that only the right people ever see a key. Raises KeystoreError."""
        source = self.change.staged if new else self.change.old
        with explained(f"write into {self.change.target}"):
            _give(self.descriptor, self.look, self.owners.new if new else self.owners.old)
            if sha256(self.look.content) != (self.change.sha256 if new else self.change.before):
                content = read_file(Path(source))
                if content is None:
                    raise KeystoreError(
                        f"{source}, the old content of {self.change.target}, is gone", "restore the pair"
                    )
                durable.write_at(self.descriptor, content)
                os.ftruncate(self.descriptor, len(content))

    def sync(self) -> None:
        """Raises KeystoreError."""
        with explained(f"make {self.change.target} durable"):
            os.fsync(self.descriptor)


def _changed(change: Change) -> KeystoreError:
    why = f"{change.target} was changed by another program while certagent was replacing it"
    return KeystoreError(why, "the file is left as it is; the next run looks at it again")


def is_mixture(found: bytes, old: bytes, new: bytes) -> bool:
    """Whether an interrupted write of `new` over `old` can have left `found`: each byte is from one of them, or 0 where
    a file system had made room for it."""
    if len(found) > max(len(old), len(new)):
        return False
    return all(byte in (0, *old[place : place + 1], *new[place : place + 1]) for place, byte in enumerate(found))


def _give(descriptor: int, look: Look, wanted: Ownership) -> None:
    """Set the ownership only if it differs: only the owner may change it, though others may well write the file."""
    status, rules = look.status, dict(wanted.attributes).get(ACCESS_LIST)
    same = (
        wanted.mode == status.st_mode & 0o777
        and wanted.uid in (None, status.st_uid)
        and wanted.gid in (None, status.st_gid)
        and rules == look.attributes.get(ACCESS_LIST)
    )
    if not same:
        durable.give(descriptor, wanted)


def _overwritten(record: Record) -> list[tuple[Change, Overwrite]]:
    return [(change, change.overwrite) for change in record.changes if change.overwrite is not None]


@contextmanager
def _opened(change: Change, owners: Overwrite, held: Targets) -> Iterator[_File]:
    with ExitStack() as stack:
        with explained(f"write into {change.target}"):
            descriptor, look = stack.enter_context(held.open(change.target))
        yield _File(change, owners, descriptor, look)
