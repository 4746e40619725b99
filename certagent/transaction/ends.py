"""When an open transaction ends without a certificate in place, because its reason is gone. Pure.

docs/decisions/0042 lists every reason that keeps a transaction open, and what ends it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from msgspec import Struct, field

from certagent.host import Host
from certagent.moments import later
from certagent.transaction import copies
from certagent.transaction.journal import NOT_ISSUED, Kind, Phase, Transaction
from certagent.transaction.wish import Wish

_ASKS = (Kind.ENROLLMENT, Kind.RENEWAL, Kind.ROLLOVER)


class Present(Struct, frozen=True):
    """The current facts. `asked`: the digest of what would be asked for now; empty if that is not known.

    `replaced`: somebody else replaced the certificate in place. `moves_from`: the keystore whose identity is to sign.
    """

    authority: str
    endpoints: Collection[str]
    poll_limit: timedelta
    host: Host = field(default_factory=Host)
    asked: str = ""
    replaced: bool = False
    moves_from: str = ""


class End(Struct, frozen=True):
    """Why a transaction is given up. `stands`: what it was begun for is still wanted; `may_fit`: a certificate that it
    refused may be what is wanted now.
    """

    reason: str
    stands: bool = True
    may_fit: bool = False


def why_ends(transaction: Transaction, present: Present, now: datetime, wish: Wish = Wish.DUE) -> End | None:
    """Why an open transaction is not carried on; None if it is.

    A transaction whose certificate is in place is always finished: this is not about its hooks.
    """
    reason = not_ours(transaction, present.authority, present.host)
    if reason or transaction.kind not in _ASKS:
        return End(reason, stands=False) if reason else None
    if transaction.phase is Phase.ISSUED:
        return _first(*_of_any(transaction, present, wish), *_of_issued(transaction, present, now, wish))
    if transaction.phase in NOT_ISSUED:
        return _first(*_of_any(transaction, present, wish), *_of_asked(transaction, present, now, wish))
    return None


_Reason = tuple[bool, End]


def _first(*reasons: _Reason) -> End | None:
    return next((end for holds, end in reasons if holds), None)


def _of_any(transaction: Transaction, present: Present, wish: Wish) -> Iterator[_Reason]:
    """While the certificate that was there at the beginning is still in place."""
    replaced = present.replaced and transaction.kind is not Kind.ROLLOVER
    yield replaced, End("another program replaced the certificate in the meantime", stands=False)
    compromised = wish is Wish.COMPROMISED and not transaction.compromised
    yield compromised, End("the key in place is compromised: certagent makes a new one")


def _of_issued(transaction: Transaction, present: Present, now: datetime, wish: Wish) -> Iterator[_Reason]:
    """An issued certificate is put in place, for it was paid for, unless that is impossible or it is not wanted now."""
    expired = transaction.not_after is not None and transaction.not_after <= now
    yield expired, End("the new certificate expired before it could be put in place")
    enrolls, by_force = transaction.kind is Kind.ENROLLMENT, _gives_way(transaction, wish)
    changed = _changed(transaction, present) and (enrolls or by_force)
    yield changed, End("the configuration has changed since the certificate was issued")
    yield transaction.vetoed and by_force, End("a pre hook vetoed it, and --force asks for another")


def _of_asked(transaction: Transaction, present: Present, now: datetime, wish: Wish) -> Iterator[_Reason]:
    yield transaction.endpoint not in present.endpoints, End("the authority's url has changed since it was started")
    refused = transaction.refused != () and not wish.begins_anew
    yield _changed(transaction, present), End("the configuration now asks for something else", may_fit=refused)
    yield wish.enrolls and transaction.kind is Kind.RENEWAL, End("you asked for an enrollment instead")
    other = wish.enrolls and transaction.kind is Kind.ENROLLMENT and transaction.source != present.moves_from
    yield other, End("you asked for an enrollment signed by another identity instead")
    # Without a request, there is nothing to ask for again.
    yield transaction.request != b"" and _gives_way(transaction, wish), End("--force asks for another")
    late = later(transaction.started_at, present.poll_limit) < now
    yield late, End("the CA did not answer within poll_limit")


def _gives_way(transaction: Transaction, wish: Wish) -> bool:
    """Whether --force replaces it. A rollover in preparation gives way only if its CA's answer was refused."""
    return wish.begins_anew and (transaction.kind is not Kind.ROLLOVER or bool(transaction.refused))


def _changed(transaction: Transaction, present: Present) -> bool:
    """Whether the request has changed. A transaction of an earlier release, or without a request, cannot tell."""
    return "" not in {transaction.asked, present.asked} and transaction.asked != present.asked


def not_ours(transaction: Transaction, authority: str, host: Host) -> str:
    """Why it is not carried on here, whatever its CA says; empty if it is."""
    moved = _was_moved(transaction, authority)
    return copies.was_copied(transaction, host) or moved


def _was_moved(transaction: Transaction, authority: str) -> str:
    """Why a request to another authority, or its certificate, is not put in place; empty if it is this authority's."""
    if transaction.authority == authority or transaction.kind not in _ASKS:
        return ""
    if transaction.phase not in (*NOT_ISSUED, Phase.ISSUED):
        return ""
    return f"the keystore was moved from {transaction.authority} to {authority}"


def wanted_still(transaction: Transaction, wish: Wish) -> Wish:
    """The wish to go on with after this transaction was given up, if what it was begun for is still wanted.

    What a person wanted, and did not get, counts for more than what is due.
    """
    if not transaction.forced or wish.enrolls or wish in (Wish.COMPROMISED, Wish.FINISH):
        return wish
    if transaction.compromised:
        return Wish.COMPROMISED
    return Wish.ENROLL if transaction.kind is Kind.ENROLLMENT else Wish.RENEW
