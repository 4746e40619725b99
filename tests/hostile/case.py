"""One hostile case: what is done, and all that must hold after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from asn1crypto import core

from certagent.lab import Settings
from certagent.transaction.journal import Journal
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Outcome, Result
from tests.hostile.conftest import Enrolled, hostile
from tests.hostile.lab import (
    Fault,
    Forge,
    Hostile,
    replying,
)
from tests.renewal.site import Site

TEXT, UTF8 = core.PrintableString, core.UTF8String
NEVER = "nothing was installed"
FORGED = "somebody in between may have changed it; it was not used"
MIXED_UP = "it answers another request, or somebody is replaying an old answer; it was not used"
STRANGER = "only the CA, its RA or its proven successor may sign"
TRY_AGAIN = "try again"
BROKEN = "the CA, or something in between, sends broken data"
ADDRESS = "is the authority's url the CA's SCEP address?"
Configure = Callable[[Hostile], str]


@dataclass(frozen=True)
class Case:
    """`error` is the class's word and what its message holds; `authority`, `keystore`: lines of configuration."""

    fault: Fault
    error: tuple[str, str]
    hint: str = ""
    ra: bool = False
    renewed_before: bool = False
    authority: Configure = lambda _: ""
    keystore: str = ""
    settings: Settings | None = None


def case(name: str, fault: Fault, kind: str, message: str, hint: str = "", **more: Any) -> object:
    return pytest.param(Case(fault, (kind, message), hint, **more), id=name)


def reply(name: str, forge: Forge, message: str, hint: str = "", **more: Any) -> object:
    """A reply that is not believed."""
    return case(name, replying(forge), "trust", message, hint, **more)


def accepting(*words: str) -> Configure:
    return lambda _: f"accept: [{', '.join(words)}]"


def soon(_: Hostile) -> str:
    return "timeout: 1s"


def consumers_files(site: Site) -> dict[str, tuple[int, bytes]]:
    return {
        str(each): (each.stat().st_mode, each.read_bytes())
        for each in sorted(site.path("files").rglob("*"))
        if each.is_file()
    }


def prepare(enrolled: Enrolled, wanted: Case) -> Site:
    site = enrolled(wanted.settings, ra=wanted.ra)
    site.write(wanted.keystore, wanted.authority(hostile(site)))
    if wanted.renewed_before:
        assert site.run(Wish.RENEW).result is Result.RENEWED
    return site


def assert_clear(outcome: Outcome, site: Site, wanted: Case) -> None:
    """One line of what, one of what to do, and nothing in them that a terminal would obey."""
    message, hint = outcome.message, outcome.hint
    assert message
    assert hint
    assert (message + hint).isprintable()
    assert len(message) < 400
    kind, fragment = wanted.error
    assert fragment in message
    assert wanted.hint in hint
    kept = site.state.last_error
    assert kept is not None
    assert (kept.kind, kept.message) == (kind, message)
    assert site.ca.challenge not in "".join([message, hint, *site.log])


def successors(site: Site) -> list[bytes]:
    """Certificates that wait to be put in place."""
    journals = (Journal(site.keystore_directory, name).open() for name in ("transaction", "rollover"))
    return [each.certificate for each in journals if each is not None and each.certificate]


def assert_refused(enrolled: Enrolled, wanted: Case) -> None:
    """The whole way: a renewal is asked for, the CA does what it should not, and nothing comes of it."""
    site = prepare(enrolled, wanted)
    before = consumers_files(site)
    wanted.fault(hostile(site))
    outcome = site.run(Wish.RENEW)
    assert outcome.result is Result.FAILED
    assert_clear(outcome, site, wanted)
    assert consumers_files(site) == before
    assert successors(site) == []
    assert outcome.next_action_at is not None
    assert outcome.next_action_at > site.clock()
