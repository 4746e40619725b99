"""When an open transaction ends before it brought a certificate: every reason, for each kind and phase."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from certagent.host import Host
from certagent.transaction.ends import End, Present, wanted_still, why_ends
from certagent.transaction.journal import NOT_ISSUED, Kind, Phase, Transaction
from certagent.transaction.wish import Wish

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOST, THERE = (Host(product=each, machine_id=each) for each in "ab")
HERE, ELSEWHERE = "http://ca.example/scep", "http://other.example/scep"
AS_EVER = Present("lab", (HERE,), 7 * DAY, asked="this")
CHANGED = replace(AS_EVER, asked="that")
REPLACED = replace(AS_EVER, replaced=True)
DUE, NOW_, RENEW, ENROLL, ANEW, COMPROMISED, FINISH = Wish

URL = "the authority's url has changed since it was started"
LIMIT = "the CA did not answer within poll_limit"
EXPIRED = "the new certificate expired before it could be put in place"
OTHER = "the configuration now asks for something else"
OTHER_ISSUED = "the configuration has changed since the certificate was issued"
FORCE = "--force asks for another"
VETOED = "a pre hook vetoed it, and --force asks for another"
INSTEAD = "you asked for an enrollment instead"
SIGNED = "you asked for an enrollment signed by another identity instead"
KNOWN = "the key in place is compromised: certagent makes a new one"
SOMEBODY = "another program replaced the certificate in the meantime"
MOVED = "the keystore was moved from lab to corp"
COPIED = "it was started on another host, and this state directory is a copy"


def transaction(phase: Phase, kind: Kind = Kind.RENEWAL, **fields: Any) -> Transaction:
    asked = {} if phase is Phase.STARTED else {"asked": "this", "request": b"bytes"}
    given = {"id": "t1", "authority": "lab", "started_at": NOW, "endpoint": HERE, **asked, **fields}
    return Transaction(kind=kind, phase=phase, **given)


def row(name: str, it: Transaction, ends: str = "", *, present: Present = AS_EVER, wish: Wish = DUE) -> object:
    return pytest.param(it, present, wish, ends, id=name)


REQUESTED, PENDING, ISSUED = (transaction(each) for each in (Phase.REQUESTED, Phase.PENDING, Phase.ISSUED))
STARTED = transaction(Phase.STARTED)
TO_ENROLL = transaction(Phase.ISSUED, Kind.ENROLLMENT)
BY_OTHER = transaction(Phase.PENDING, Kind.ENROLLMENT, source="x")
MOVES = replace(AS_EVER, moves_from="x")
ENROLLMENT = transaction(Phase.REQUESTED, Kind.ENROLLMENT)
SHADOW = transaction(Phase.PENDING, Kind.ROLLOVER)


@pytest.mark.parametrize(
    ("it", "present", "wish", "ends"),
    [
        # time
        row("just begun", STARTED),
        row("pending, to the last moment of poll_limit", transaction(Phase.PENDING, started_at=NOW - 7 * DAY)),
        row("pending for longer", transaction(Phase.PENDING, started_at=NOW - 8 * DAY), LIMIT),
        row("no answer for longer", transaction(Phase.REQUESTED, started_at=NOW - 8 * DAY), LIMIT),
        row("a rollover for longer", transaction(Phase.PENDING, Kind.ROLLOVER, started_at=NOW - 8 * DAY), LIMIT),
        row("issued, and expired since", transaction(Phase.ISSUED, not_after=NOW), EXPIRED),
        row("in place: hooks are owed", transaction(Phase.ACTIVATED, not_after=NOW)),
        # where it was begun
        row("asked elsewhere", transaction(Phase.REQUESTED, endpoint=ELSEWHERE), URL),
        row("begun for elsewhere", transaction(Phase.STARTED, endpoint=ELSEWHERE), URL),
        row("issued, wherever", transaction(Phase.ISSUED, endpoint=ELSEWHERE, started_at=NOW - 99 * DAY)),
        row("moved", PENDING, MOVED, present=replace(AS_EVER, authority="corp")),
        row("moved, issued", ISSUED, MOVED, present=replace(AS_EVER, authority="corp")),
        row("moved, in place", transaction(Phase.ACTIVATED), present=replace(AS_EVER, authority="corp")),
        row(
            "of another host",
            transaction(Phase.PENDING, host=THERE),
            COPIED,
            present=replace(AS_EVER, host=HOST),
        ),
        # what is asked for
        row("the definition changed", REQUESTED, OTHER, present=CHANGED),
        row("the definition changed, pending", PENDING, OTHER, present=CHANGED),
        row("the definition changed, refused", transaction(Phase.REQUESTED, refused=(b"1",)), OTHER, present=CHANGED),
        row("the definition changed, a rollover", SHADOW, OTHER, present=CHANGED),
        row("the definition changed before anything was asked", STARTED, present=CHANGED),
        row("nobody knows what would be asked", PENDING, present=replace(AS_EVER, asked="")),
        row("an earlier release did not say what it asked", transaction(Phase.PENDING, asked=""), present=CHANGED),
        row("changed, issued by an enrollment", TO_ENROLL, OTHER_ISSUED, present=CHANGED),
        row("changed, issued by a renewal: it was paid for", ISSUED, present=CHANGED),
        row("changed, issued by a renewal, --force", ISSUED, OTHER_ISSUED, present=CHANGED, wish=RENEW),
        row("changed, a staged shadow", transaction(Phase.ISSUED, Kind.ROLLOVER), present=CHANGED),
        # what is in place
        row("somebody replaced it", PENDING, SOMEBODY, present=REPLACED),
        row("somebody replaced it, issued", ISSUED, SOMEBODY, present=REPLACED),
        row("a renewal replaced it, beside a rollover", SHADOW, present=REPLACED),
        # what a person wants
        row("renew", PENDING, wish=NOW_),
        row("renew --force", PENDING, FORCE, wish=RENEW),
        row("renew --force, no answer yet", REQUESTED, FORCE, wish=RENEW),
        row("renew --force, nothing asked yet", STARTED, wish=RENEW),
        row("renew --force, issued: it was paid for", ISSUED, wish=RENEW),
        row("renew --force, vetoed", transaction(Phase.ISSUED, vetoed=True), VETOED, wish=RENEW),
        row("renew, vetoed", transaction(Phase.ISSUED, vetoed=True), wish=NOW_),
        row("renew --force, a rollover's request", SHADOW, wish=RENEW),
        row(
            "renew --force, a rollover's answer that was refused",
            transaction(Phase.REQUESTED, Kind.ROLLOVER, refused=(b"1",)),
            FORCE,
            wish=RENEW,
        ),
        row("enroll, an enrollment", ENROLLMENT, wish=ENROLL),
        row("enroll --force, an enrollment", ENROLLMENT, FORCE, wish=ANEW),
        row("renew --force, an enrollment", ENROLLMENT, FORCE, wish=RENEW),
        row("enroll, a renewal", PENDING, INSTEAD, wish=ENROLL),
        row("enroll, a renewal that is issued", ISSUED, wish=ENROLL),
        row("enroll --into, a plain enrollment", ENROLLMENT, SIGNED, wish=ENROLL, present=MOVES),
        row("enroll, one that another identity signs", BY_OTHER, SIGNED, wish=ENROLL),
        row("--compromised", PENDING, KNOWN, wish=COMPROMISED),
        row("--compromised, issued", ISSUED, KNOWN, wish=COMPROMISED),
        row("--compromised, again", transaction(Phase.PENDING, compromised=True, forced=True), wish=COMPROMISED),
        row("what is open is to be finished", PENDING, wish=FINISH),
        # files alone
        row("ca_file", transaction(Phase.ISSUED, Kind.TRUST), present=REPLACED, wish=RENEW),
    ],
)
def test_why_it_ends(it: Transaction, present: Present, wish: Wish, ends: str) -> None:
    end = why_ends(it, present, NOW, wish)
    assert (end.reason if end else "") == ends


@pytest.mark.parametrize("phase", [each for each in Phase if each not in (*NOT_ISSUED, Phase.ISSUED)])
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("wish", Wish)
def test_what_is_in_place_is_brought_to_its_end(phase: Phase, kind: Kind, wish: Wish) -> None:
    everything = Present("corp", (ELSEWHERE,), 7 * DAY, HOST, "that", replaced=True)
    it = transaction(phase, kind, vetoed=True, refused=(b"1",), host=THERE, not_after=NOW)
    assert why_ends(it, everything, NOW, wish) is None


@pytest.mark.parametrize(
    ("present", "stands"),
    [
        pytest.param(CHANGED, True, id="the definition changed"),
        pytest.param(replace(AS_EVER, endpoints=(ELSEWHERE,)), True, id="the URL changed"),
        pytest.param(REPLACED, False, id="somebody replaced it"),
        pytest.param(replace(AS_EVER, authority="corp"), False, id="moved"),
    ],
)
def test_whether_it_is_wanted_still(present: Present, stands: bool) -> None:
    end = why_ends(PENDING, present, NOW)
    assert isinstance(end, End)
    assert end.stands is stands


@pytest.mark.parametrize(
    ("fields", "wish", "expected"),
    [
        pytest.param({}, DUE, DUE, id="what was due may be due still"),
        pytest.param({"forced": True}, DUE, RENEW, id="a renewal by hand"),
        pytest.param({"forced": True}, NOW_, RENEW, id="a renewal by hand, another command"),
        pytest.param({"forced": True, "kind": Kind.ENROLLMENT}, DUE, ENROLL, id="an enrollment by hand"),
        pytest.param({"forced": True, "kind": Kind.ENROLLMENT}, RENEW, ENROLL, id="the same, by renew --force"),
        pytest.param({"forced": True, "kind": Kind.ENROLLMENT}, ANEW, ANEW, id="the same, by enroll --force"),
        pytest.param({"forced": True, "compromised": True}, DUE, COMPROMISED, id="a key that others know"),
        pytest.param({"forced": True, "compromised": True}, RENEW, COMPROMISED, id="the same, by renew --force"),
        pytest.param({"forced": True, "compromised": True}, ENROLL, ENROLL, id="enroll: the CA revoked it already"),
        pytest.param({"forced": True}, COMPROMISED, COMPROMISED, id="known to others by now"),
        pytest.param({"forced": True}, FINISH, FINISH, id="nothing is begun"),
    ],
)
def test_by_what_wish_it_is_begun_anew(fields: dict[str, Any], wish: Wish, expected: Wish) -> None:
    it = transaction(Phase.PENDING, fields.pop("kind", Kind.RENEWAL), **fields)
    assert wanted_still(it, wish) is expected
