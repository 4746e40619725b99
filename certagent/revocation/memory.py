"""What certagent remembers of an authority's CRLs: crl.json, next to the lists. No cryptography is loaded here.

    state_dir/authorities/NAME/crl.json   when they were fetched, with what result, which files hold them
                               crl/ID     each CA's list as last verified (DER): older ones are refused

The lists are what counts, and are verified each time; crl.json is a convenience, made again if it is damaged or lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from certagent import durable
from certagent.errors import CertagentError, DamagedError
from certagent.moments import Moment
from certagent.revocation import freshness
from certagent.revocation.freshness import Validity
from certagent.state import LastError, Track
from certagent.state_directory import AuthorityDirectory, StateDirectory

VERSION = 1


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """One CA's list. `issuer` in RFC 4514 form; `number` as text, empty if it has none; `points`: where certificates
    say the list is, remembered because the last of these certificates may be gone."""

    issuer: str
    this_update: Moment
    next_update: Moment | None = None
    number: str = ""
    revoked: int = 0
    points: tuple[str, ...] = ()

    @property
    def validity(self) -> Validity:
        return self.this_update, self.next_update


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a consumer: the SHA-256 (hex) of what was put there, its signature then, and the hooks that have
    succeeded for it. `owes`: some have not."""

    digest: str = ""
    seen: str = ""
    succeeded: tuple[str, ...] = ()
    owes: bool = False
    attempts: Track = Track()


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of ours that is on a list. `serial` in hex."""

    keystore: str
    serial: str
    since: Moment


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """`issues` by CA (its name and key), `files` by path; `definition` stands for their configuration, `share` for the
    host: commands that only look use it."""

    version: int = VERSION
    fetched_at: Moment | None = None
    attempts: Track = Track()
    issues: dict[str, Issue] = {}
    files: dict[str, Placed] = {}
    revoked: tuple[Revoked, ...] = ()
    definition: str = ""
    share: float = 0

    @property
    def points(self) -> dict[str, tuple[str, ...]]:
        """Where certificates said that each CA's list is."""
        return {ca: issue.points for ca, issue in self.issues.items()}

    @property
    def validities(self) -> list[Validity]:
        return [issue.validity for issue in self.issues.values()]

    @property
    def ends(self) -> datetime | None:
        """When the first of the lists expires; None if no list says so."""
        return min((end for _, end in self.validities if end is not None), default=None)

    @property
    def errors(self) -> list[LastError]:
        """The last errors, of the fetch and of each file."""
        every = (self.attempts, *(each.attempts for each in self.files.values()))
        return [each.last_error for each in every if each.last_error is not None and each.failures]

    @property
    def failures(self) -> int:
        return self.attempts.failures + sum(each.attempts.failures for each in self.files.values())


def next_look(memory: Memory, now: datetime) -> datetime:
    """When a worker has something to do next: a fetch, a file, or a hook that failed."""
    moments = [freshness.next_fetch(memory.validities, memory.fetched_at, memory.attempts.past, memory.share, now)]
    for each in memory.files.values():
        if each.attempts.failures:
            moments.append(file_due(each, now))
        elif each.owes:
            moments.append(now)
    return min(moments)


def file_due(placed: Placed, now: datetime) -> datetime:
    """When to try again what failed for a file."""
    past = placed.attempts.past
    if not past.failures or past.retry_at is None:
        return now
    return past.retry_at if past.retry_at <= freshness.pause(past, (), now) else now


def load(directory: Path) -> Memory | None:
    """None before the first attempt. Raises StateError, DamagedError."""
    return durable.read_versioned(AuthorityDirectory(directory).crl_memory, Memory, VERSION)


def recall(directory: Path) -> Memory:
    """A new one if there is none, or it is damaged. Raises StateError."""
    try:
        return load(directory) or Memory()
    except DamagedError:
        return Memory()


def save(directory: Path, memory: Memory) -> None:
    durable.write(AuthorityDirectory(directory).crl_memory, msgspec.json.encode(memory))


def somebody_changed(memory: Memory, signatures: Mapping[str, str]) -> bool:
    """Whether a file changed since the last worker; a file that could not be written waits for the next try."""
    known = {path: placed for path, placed in memory.files.items() if not placed.attempts.failures}
    return any(path in known and known[path].seen != seen for path, seen in signatures.items())


class Revocations:
    """What the last fetch found about the certificates in place; each authority's memory is read once."""

    def __init__(self, state_dir: Path) -> None:
        self._authorities = StateDirectory(state_dir).authorities
        self._known: dict[str, Memory] = {}

    def since(self, authority: str, keystore: str, serial: str) -> datetime | None:
        """Since when the keystore's certificate with this serial number (hex) is revoked; None if it is not."""
        if authority not in self._known:
            try:
                self._known[authority] = recall(self._authorities / authority)
            except CertagentError:  # whoever maintains it reports it
                self._known[authority] = Memory()
        for each in self._known[authority].revoked:
            if (each.keystore, each.serial) == (keystore, serial):
                return each.since
        return None
