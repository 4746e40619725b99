"""What certagent remembers of a keystore between runs: state.json and history.jsonl. No cryptography is loaded here.

The agent plans from `next_action_at`; the worker always looks at the real files again.
Times are UTC.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import msgspec

from certagent import durable
from certagent.errors import CertagentError, DamagedError, StateError
from certagent.host import Host
from certagent.moments import Moment
from certagent.policy import Arrival, Condition, Lifetime, Past
from certagent.state_directory import STATE, KeystoreDirectory

VERSION = 1
_CHANGED = "+"  # in a signature, before the inode's time of change; signatures of older releases end there
HISTORY_VERSION = 1


class LastError(msgspec.Struct, frozen=True, kw_only=True):
    """Why the newest attempt failed. `kind` is the error class's word (errors.py)."""

    kind: str
    message: str
    hint: str
    at: Moment

    @classmethod
    def of(cls, error: CertagentError, now: datetime) -> Self:
        return cls(kind=error.kind, message=str(error), hint=error.hint, at=now)


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """How the attempts went at something that never stops a renewal: a rollover, or the CRLs."""

    failures: int = 0
    retry_at: Moment | None = None
    last_error: LastError | None = None
    wait: timedelta | None = None

    @property
    def past(self) -> Past:
        return Past(self.failures, self.retry_at, self.last_error.kind if self.last_error else "", self.wait)


class Ca(msgspec.Struct, frozen=True):
    """A current, next or previous CA. `subject` in RFC 4514 form, `fingerprint` as the configuration writes it.

    `proof`: why a next CA is trusted, in words. `renewed`: the same CA goes on, with the same key in a new certificate.
    """

    subject: str
    fingerprint: str
    lifetime: Lifetime
    proof: str = ""
    renewed: bool = False


class Cas(msgspec.Struct, frozen=True):
    """The authority's CAs, as one certificate sees them.

    `above` issued it; None if another CA did. `is_old`: that is a previous one. `next`: the CA that takes over, if one
    is known. `old`: the others that `ca_file` still holds.
    """

    above: Ca | None = None
    is_old: bool = False
    next: Ca | None = None
    old: tuple[Ca, ...] = ()


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker saw of the certificate in place. It stays true while `definition`, `watched` and `authority` of the
    State stay the same. Names are in RFC 4514 form, `serial` in hex, `key` as configured (rsa:2048).

    `lacks`: what the definition asks for and it lacks, each by kind and word. `exposed`: a line for each file that lets
    everybody read the key.
    """

    subject: str
    issuer: str
    serial: str
    key: str
    not_before: Moment
    not_after: Moment
    cas: Cas = Cas()
    lacks: tuple[tuple[str, str], ...] = ()
    exposed: tuple[str, ...] = ()


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One keystore's memory. `failures` counts failed attempts in a row; certagent makes none before `retry_at`.
    `wait`: how long the other side asked us to wait.

    `definition`, `watched` and `authority` stand for its configuration, its files and its authority's CAs at the
    last look, and `seen` is the certificate found then. `host` is the host of that look; `shared_key` the digest of a
    key that came from another host.
    """

    version: int = VERSION
    condition: Condition = Condition.MISSING
    next_action: str | None = None
    next_action_at: Moment | None = None
    failures: int = 0
    retry_at: Moment | None = None
    last_error: LastError | None = None
    definition: str = ""
    authority: str = ""
    watched: dict[str, str] = {}
    expiring_told_at: Moment | None = None
    arrival: Arrival | None = None
    rollover: Track = Track()
    host: Host | None = None
    shared_key: str = ""
    seen: Seen | None = msgspec.field(default=None, name="in_place")  # earlier releases kept less, as `seen`
    wait: timedelta | None = None

    @property
    def past(self) -> Past:
        """How the attempts at an enrollment or a renewal went."""
        kind = self.last_error.kind if self.failures and self.last_error else ""
        return Past(self.failures, self.retry_at, kind, self.wait)


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of history."""

    at: Moment
    event: str
    transaction: str = ""
    kind: str = ""
    message: str = ""
    serial: str = ""
    subject: str = ""
    not_after: Moment | None = None


def load(directory: Path) -> State | None:
    """The state of the keystore in this directory; None before its first run. Raises StateError."""
    return read(f"{directory}/{STATE}")  # no Path: with ten thousand keystores it would cost too much


def read(file: Path | str) -> State | None:
    """Like `load`, for the file itself."""
    return durable.read_versioned(file, State, VERSION)


def recall(directory: Path) -> State:
    """Like `load`, but a new State if there is none or it is damaged. Raises StateError."""
    try:
        return load(directory) or State()
    except DamagedError:
        return State()


def set_aside(directory: Path, damaged: DamagedError) -> str:
    """Put a damaged memory aside, so that somebody can look at it; returns what was done, in words."""
    kept = durable.set_aside(KeystoreDirectory(directory).state)
    return f"{damaged}; it is kept as {kept.name}, and certagent rebuilds what was in it"


def save(directory: Path, state: State) -> None:
    durable.make_directory(directory)
    durable.write(KeystoreDirectory(directory).state, msgspec.json.encode(state))


def watch(paths: Iterable[Path | str]) -> dict[str, str]:
    """A signature of each file by path: any change to the file changes it, also one that restores its size and time;
    but so does whatever else moves the inode's time of change (see `differ`). Cheap: one stat each.
    """
    signatures = {}
    for path in paths:
        try:
            facts = os.stat(path)
            whose = f"{facts.st_mode:o}.{facts.st_uid}.{facts.st_gid}"
            content = f"{facts.st_mtime_ns}.{facts.st_size}.{facts.st_ino}"
            signatures[str(path)] = f"{content}.{whose}{_CHANGED}{facts.st_ctime_ns}"
        except (OSError, ValueError):  # ValueError: a NUL, in a damaged memory
            signatures[str(path)] = "absent"
    return signatures


def differ(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether files differ in more than the inode's time of change: a backup's hard link and a chmod to the mode that
    is there already move that too. They are worth a look, but no reason to ask a CA again before its time.
    """
    return _without_time(before) != _without_time(now)


def _without_time(signatures: Mapping[str, str]) -> dict[str, str]:
    return {path: each.partition(_CHANGED)[0] for path, each in signatures.items()}


def signature_of(authority: Path) -> str:
    """A signature of the CAs in an authority's directory, which decide what its keystores trust; empty for none."""
    found = hashlib.sha256()
    kept = False
    for name in ("ca.pem", "next-ca.pem", "old-ca.pem"):
        with suppress(StateError):
            content = durable.read_own(authority / name)
            if content is None:
                continue
            found.update(f"{name} {len(content)} ".encode() + content)
            kept = True
    return found.hexdigest() if kept else ""


def append_history(directory: Path, event: Event) -> None:
    """Add a line, unless the newest line already records the same event of the same transaction."""
    durable.make_directory(directory)
    last = next(_events(directory, reversed(_lines(directory, tail=_TAIL))), None)
    if event.transaction and last and (last.transaction, last.event) == (event.transaction, event.event):
        return
    path = KeystoreDirectory(directory).history
    durable.append_line(path, msgspec.json.encode(event))
    if path.stat().st_size > _HISTORY_LIMIT:
        _, *newest = _lines(directory, tail=_HISTORY_LIMIT // 2)  # the first may be incomplete
        with suppress(OSError):  # a full disk: the next line tries again
            durable.write(path, b"".join(line + b"\n" for line in newest))


def read_history(directory: Path) -> list[Event]:
    """Every readable line, oldest first. Skips a line that a power cut left incomplete. Raises StateError."""
    return list(_events(directory, _lines(directory)))


# A router whose CA is gone for years writes some lines a day. The older half is dropped.
_HISTORY_LIMIT = 1024 * 1024
# Enough for many lines: a history of years must not be read whole for each new line.
_TAIL = 64 * 1024


def _lines(directory: Path, tail: int | None = None) -> list[bytes]:
    """The lines of the history, or only its last `tail` bytes; then the first line may be incomplete."""
    path = KeystoreDirectory(directory).history
    try:
        with durable.open_own(path) as file:
            if tail is not None:
                file.seek(max(0, file.seek(0, os.SEEK_END) - tail))
            return file.read().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}", durable.remedy(error)) from None


class _Line(msgspec.Struct):
    """Only the version; lines of the first version do not contain it."""

    version: int = HISTORY_VERSION


def _events(directory: Path, lines: Iterable[bytes]) -> Iterator[Event]:
    path = KeystoreDirectory(directory).history
    for line in lines:
        try:
            # A newer line may contain anything; older lines stay as they are: no version converts them.
            version = msgspec.json.decode(line, type=_Line).version
            durable.check_version(path, max(version, HISTORY_VERSION), HISTORY_VERSION)
            yield msgspec.json.decode(line, type=Event)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
