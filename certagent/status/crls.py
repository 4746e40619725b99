"""What is known of each authority's CRLs, for `status`, `health`, `plan` and the metrics. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from certagent.config.configuration import Configuration
from certagent.config.crl_files import crl_files
from certagent.errors import CertagentError
from certagent.policy import Lifetime
from certagent.revocation import memory
from certagent.revocation.memory import Memory
from certagent.state import LastError
from certagent.state_directory import StateDirectory
from certagent.status.forecast import Event, What
from certagent.text import date, iso


class CrlStatus(Struct, frozen=True):
    """If `memory` is None, nothing is known yet. `fault`: why it cannot be read."""

    authority: str
    memory: Memory | None
    fault: LastError | None = None

    @property
    def errors(self) -> list[LastError]:
        """What went wrong last, without duplicates."""
        told = {each.message: each for each in (*([self.fault] if self.fault else []), *self.known.errors)}
        return list(told.values())

    @property
    def known(self) -> Memory:
        return self.memory or Memory()

    @property
    def ends(self) -> datetime | None:
        """When the first of the lists expires."""
        return self.known.ends

    def ran_out(self, now: datetime) -> bool:
        return self.ends is not None and self.ends <= now

    def is_short(self, now: datetime) -> bool:
        """Whether some list has less than a tenth of its life left."""
        lives = [Lifetime(begins, ends) for begins, ends in self.known.validities if ends is not None]
        return any(each.remaining_share(now) < 0.1 for each in lives)

    def next_fetch(self, now: datetime) -> datetime:
        return memory.next_look(self.known, now)


def take_crls(configuration: Configuration, now: datetime, keystores: Collection[str] | None = None) -> list[CrlStatus]:
    """For each authority that has a crl_file; with `keystores`, only for the authorities that these use."""
    used = None if keystores is None else {configuration.keystores[name].authority for name in keystores}
    directory = StateDirectory(Path(configuration.state_dir))
    return [
        _status(name, directory.authority(name), now)
        for name in crl_files(configuration)
        if used is None or name in used
    ]


def _status(name: str, directory: Path, now: datetime) -> CrlStatus:
    try:
        return CrlStatus(name, memory.load(directory))
    except CertagentError as error:
        return CrlStatus(name, None, LastError.of(error, now))


def events(statuses: Iterable[CrlStatus], until: datetime, now: datetime) -> list[Event]:
    """The next fetch of each authority's CRLs, in order; under the authority's name."""
    found = []
    for each in statuses:
        at = max(each.next_fetch(now), now)
        hand = f"; the one in hand ends {date(each.ends, now)}" if each.ends else ""
        if at <= until:
            found.append(Event(at, each.authority, What.CRL, f"fetches the authority's CRL{hand}"))
    return sorted(found, key=lambda event: event.at)


def as_json(statuses: Iterable[CrlStatus], now: datetime) -> dict[str, Any]:
    """What `status --json` has under `crls`; times in UTC, null for what is not known."""
    return {each.authority: _entry(each, now) for each in statuses}


def _entry(it: CrlStatus, now: datetime) -> dict[str, Any]:
    known, error = it.known, next(iter(it.errors), None)
    return {
        "next_update": iso(it.ends) if it.ends else None,
        "fetched_at": iso(known.fetched_at) if known.fetched_at else None,
        "next_fetch_at": iso(it.next_fetch(now)),
        "failures": known.failures,
        "last_error": {"message": error.message, "hint": error.hint, "at": iso(error.at)} if error else None,
        "lists": [
            {
                "issuer": issue.issuer,
                "number": issue.number or None,
                "this_update": iso(issue.this_update),
                "next_update": iso(issue.next_update) if issue.next_update else None,
                "revoked": issue.revoked,
            }
            for issue in known.issues.values()
        ],
        "revoked": [
            {"keystore": each.keystore, "serial": each.serial, "since": iso(each.since)} for each in known.revoked
        ],
    }
