"""The durable record of one open transaction: `transaction/transaction.json`, to which each step appends (records.py).

    STARTED ─→ REQUESTED ─→ ISSUED ─→ STAGING ─→ ACTIVATING ─→ ACTIVATED ─→ closed
                  │  ↑  └────↗  ↑         │                        │  ↑
                  ↓  │       PENDING      └ undo → ISSUED          ↓  └ undo
                 PENDING (polls)                               RESTORING → REVERTING → REVERTED ─→ closed

A phase names what is *durably true or about to be done*; every step after it can be repeated. The right
half can be carried on without a network or cryptography: `recovery.py` does so, at boot and before each run.
"""

from __future__ import annotations

import os
from collections.abc import Container
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import msgspec

from certagent import durable
from certagent.errors import CertagentError, DamagedError, StateError
from certagent.host import Host
from certagent.keystore.swap_plan import Record
from certagent.moments import Moment
from certagent.state_directory import StateDirectory
from certagent.transaction import records

_ONE_RECORD = 1  # the version of releases 0.1 and 0.2, whose journal is one record, replaced at each step


class Kind(StrEnum):
    ENROLLMENT = "enrollment"
    RENEWAL = "renewal"
    ROLLOVER = "rollover"
    TRUST = "trust"  # only ca_file
    ADJUSTMENT = "adjustment"  # brings the files in line with the definition; the identity stays
    PUT_BACK = "put back"  # the old identity, from previous/


class Phase(StrEnum):
    STARTED = "started"  # decided; the shadow's key may or may not exist yet
    REQUESTED = "requested"  # the request is kept; it may or may not have been sent
    PENDING = "pending"  # somebody has to decide at the CA; poll
    ISSUED = "issued"  # the certificate is kept in the shadow
    STAGING = "staging"  # new files may lie beside the targets; undo
    ACTIVATING = "activating"  # the commit point is passed; finish
    ACTIVATED = "activated"  # the shadow is the identity; hooks are owed
    RESTORING = "restoring"  # the probe failed: old files are being staged again; undo
    REVERTING = "reverting"  # going back is committed; finish
    REVERTED = "reverted"  # the old identity is back; hooks are owed


NOT_ISSUED = (Phase.STARTED, Phase.REQUESTED, Phase.PENDING)


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """One enrollment or renewal from decision to the last hook. Bytes are DER (base64 in the file).

    `id` names it on this host (shadow, temporary files, history); `transaction_id` is the one in the messages. `signer`
    is the certificate that signs the request: the reply is encrypted to its key. `signed_at` is the time in the request
    (None: it has no time, like all of release 0.1.0). `names` are the alternative names asked for, `usages` and
    `purposes` the key usages and purposes, `nameless` says that the subject asked for is empty, `asked` is the digest
    of all that (asked.py); `forced` says that a person wants it now, `compromised` that others know the key in place.
    `rung` says what authenticates an enrollment (ladder.py; empty: the challenge, or `source`). `subject` is the one
    asked for, if it is not the signer's.
    `certificate` was issued, and `chain` are the CAs above it (releases 0.1 and 0.2 kept them in the shadow).
    `refused` is an issued certificate that is not fit, with the CAs that came with it; `vetoed` says that a pre hook
    refused an issued certificate. `unheard` counts the answers in a row that did not come, `polls` those that the CA
    has not decided yet, `polls_in_vain` says that the CA does not accept polls, `poll_wait` is how long the CA asked
    certagent to wait. A rollover is activated at `switch_at`; at `checked_at` its CA was last seen announced. `source`
    names the keystore whose identity signs an enrollment, if one does. `endpoint` is the address where it was begun, or
    the one whose answer was PENDING. `host` is the host where it was begun; None: begun by a release that did not
    record it. `hooks_succeeded` names the entries that are no longer owed (owed_hooks.py); release 0.1.0 only counted
    them: `hooks_done`. No private key is in here:
    the shadow's is in shadow/, a transport key (EC subjects) in transport.pem.
    """

    id: str
    kind: Kind
    phase: Phase
    started_at: Moment
    authority: str
    endpoint: str
    host: Host | None = None
    source: str = ""
    rung: str = ""
    subject: bytes = b""
    old_serial: str = ""
    old_not_after: Moment | None = None
    transaction_id: str = ""
    message_type: int = 0
    sender_nonce: bytes = b""
    request: bytes = b""
    signed_at: Moment | None = None
    signer: bytes = b""
    recipient: bytes = b""
    asked: str = ""
    nameless: bool = False
    names: tuple[str, ...] = ()
    usages: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    forced: bool = False
    compromised: bool = False
    refused: tuple[bytes, ...] = ()
    unheard: int = 0
    polls_in_vain: bool = False
    polls: int = 0
    poll_at: Moment | None = None
    poll_wait: timedelta | None = None
    certificate: bytes = b""
    chain: tuple[bytes, ...] = ()
    switch_at: Moment | None = None
    checked_at: Moment | None = None
    serial: str = ""
    not_after: Moment | None = None
    swap: Record | None = None
    changes_ca: bool = False
    hooks_succeeded: tuple[str, ...] = ()
    hooks_done: int = 0
    attempt: int = 0
    reason: str = ""
    vetoed: bool = False

    @property
    def succeeds(self) -> bool:
        """Whether it makes a successor of the identity in place, which signs the request."""
        return self.kind in (Kind.RENEWAL, Kind.ROLLOVER)

    def at(self, phase: Phase, **changes: object) -> Transaction:
        """The same transaction in another phase, with these fields changed."""
        return msgspec.structs.replace(self, phase=phase, **changes)


_FILE = "transaction.json"
# A request may be polled for weeks: what is longer is replaced by its newest record.
_LIMIT = 128 * 1024


class Journal:
    """The open transaction of one keystore. Its caller holds the keystore's lock.

    A rollover in preparation has its own journal (`name="rollover"`), because it may wait for weeks while the
    identity in place is renewed as usual; for the switch it moves into the first journal.
    """

    def __init__(self, keystore_directory: Path, name: str = "transaction") -> None:
        self._place = f"{keystore_directory}/{name}"  # not a Path, which is slow for ten thousand keystores

    @cached_property
    def directory(self) -> Path:
        return Path(self._place)

    @cached_property
    def _file(self) -> Path:
        return Path(self._place, _FILE)

    def open(self) -> Transaction | None:
        """The open transaction, or None. Raises StateError if its file is damaged or newer than known."""
        try:
            return self._opened()
        except DamagedError:
            # Who does not hold the lock may have read the old end, and then the rest of the record written over it.
            return self._opened()

    def _opened(self) -> Transaction | None:
        place = f"{self._place}/{_FILE}"
        content = durable.read_own(place)
        if content is None:
            return None
        if not records.is_journal(content):
            return _older(place, content)
        newest = self._read(content).newest
        return None if newest is None else durable.decoded(place, newest, Transaction, None)

    def write(self, transaction: Transaction) -> Transaction:
        """Make this the record; it is durable on return."""
        return self._write(transaction, durably=True)

    def write_early(self, transaction: Transaction) -> Transaction:
        """Make this the record. A power cut may bring back the one before it, or none, until the next is written.

        For a step that may as well be made again from the record before it.
        """
        return self._write(transaction, durably=False)

    def settle(self) -> None:
        """Make what is found durable before it is acted on: a run may have been killed just before that.

        Raises OSError.
        """
        durable.sync_file(self._file)
        durable.sync_directory(self.directory)
        durable.sync_directory(self.directory.parent)

    def _write(self, transaction: Transaction, *, durably: bool) -> Transaction:
        record = msgspec.json.encode(transaction)
        content = durable.read_own(self._file)
        if content is None and not durably:
            durable.make_directory(self.directory)
            durable.begin(self._file, records.begun(record))
            return transaction
        found = self._read(content or b"")
        if content is None or not found.whole or len(content) > _LIMIT:
            durable.make_directory(self.directory)
            (durable.write if durably else durable.write_early)(self._file, records.begun(record))
            return transaction
        durable.write_from(self._file, *records.appended(content, record), durably=durably)
        if found.number == 1:  # the first may have been written early: then the file's name is not durable yet
            durable.sync_directory(self.directory)
        return transaction

    def _read(self, content: bytes) -> records.Found:
        try:
            return records.read(content)
        except ValueError as damage:
            raise durable.damaged(self._file, damage) from None

    def close(self) -> None:
        """The transaction is over and none of it is needed any longer. Its record goes first."""
        if self.close_early():
            durable.sync_directory(self.directory.parent)

    def close_early(self) -> bool:
        """Like `close`, but until the keystore's directory is next made durable, a power cut may bring its record back.

        For one that would only be closed again. Returns whether there was anything.
        """
        if durable.discard(self._file) and any(self.directory.iterdir()):
            durable.sync_directory(self.directory)
        return durable.discard(self.directory)

    def sweep(self) -> None:
        """If no transaction is open, remove what a kill left while one was begun or closed."""
        if self.directory.is_dir():
            durable.remove(self.directory)


def _older(place: str, content: bytes) -> Transaction:
    """Read a file that is not in the format of records.py. Raises StateError, also for a newer version."""
    version = durable.decoded(place, content, durable.Versioned, None).version
    if version != _ONE_RECORD:
        durable.check_version(place, version, records.VERSION)
        raise durable.damaged(place, "its records are not where certagent writes them")
    return durable.decoded(place, content, Transaction, None)


def keystore_names(keystores: Path) -> list[str]:
    """The names of keystores that have a directory. Raises StateError."""
    try:
        return sorted(os.listdir(keystores))  # noqa: PTH208  for ten thousand, Path objects would cost half a second
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StateError(
            f"{error.filename or keystores} cannot be read: {error.strerror}", durable.remedy(error)
        ) from None


def open_transactions(state_dir: Path, apart_from: Container[str] = ()) -> dict[str, Transaction]:
    """Open transactions by keystore name, unreadable ones left out; nothing is locked or changed.

    Nothing is read for the keystores in `apart_from`.

    Raises StateError if the state directory itself cannot be read.
    """
    found = {}
    place = StateDirectory(state_dir)
    for name in keystore_names(place.keystores):
        if name in apart_from:
            continue
        try:
            transaction = Journal(place.keystore(name).path).open()
        except CertagentError:
            continue
        if transaction:
            found[name] = transaction
    return found
