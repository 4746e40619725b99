"""The ways back to a certificate, in the order in which they are tried: rungs of a ladder. Pure.

    its certificate → the factory identity → the challenge → a person

A rung exists only if the configuration names it. The CA's refusal leads to the next one; what goes wrong before the CA
has answered (the network, a file, a PIN, a certificate that is not fit) does not, and is tried again on the same rung
(docs/decisions/0049). The worker takes these steps, and `plan`, `status` and `check` show them.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from certagent.config.authority import Authority
from certagent.config.key_types import KeyType
from certagent.errors import ConfigError, RejectedError
from certagent.transaction.journal import Kind, Transaction

_FAMILIES = frozenset(each.family for each in KeyType)


class Rung(StrEnum):
    """What authenticates a request. The words are kept in journals."""

    CERTIFICATE = "certificate"
    INTRODUCTION = "introduction"
    CHALLENGE = "challenge"
    PERSON = "person"

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    Rung.CERTIFICATE: "its certificate",
    Rung.INTRODUCTION: "the factory identity",
    Rung.CHALLENGE: "the challenge",
    Rung.PERSON: "a person",
}


class Standing(StrEnum):
    """The certificate in place, as far as it matters here. REPLACED: revoked, or a person wants another enrollment."""

    NONE = "none"
    VALID = "valid"
    EXPIRED = "expired"
    REPLACED = "replaced"


class Named(Struct, frozen=True):
    """What the configuration names. `introduction`: a factory identity that can be used with this CA.

    `renews` False: a request for a successor of the certificate in place is not authenticated by it (`renews_with`).
    """

    introduction: bool = False
    challenge: bool = False
    renews: bool = True


def rungs(standing: Standing, named: Named) -> tuple[Rung, ...]:
    """The rungs that certagent climbs by itself, the first to be tried first.

    A valid certificate renews itself, and a refusal of that is only waited for: it may end, and a challenge may be
    usable once. PERSON is climbed only if the configuration names no other way to enroll: then the request goes
    without anything that authenticates it, and somebody at the CA has to approve it.
    """
    if standing is Standing.VALID:
        return (Rung.CERTIFICATE if named.renews else Rung.INTRODUCTION,)
    enrolls = [Rung.INTRODUCTION] * named.introduction + [Rung.CHALLENGE] * named.challenge
    if standing is Standing.EXPIRED and named.renews:
        return (Rung.CERTIFICATE, *enrolls)
    return tuple(enrolls) or (Rung.PERSON,)


def told(standing: Standing, named: Named) -> tuple[Rung, ...]:
    """The same, with the person who has to help if nothing else does: the last rung of every ladder."""
    found = rungs(Standing.EXPIRED if standing is Standing.VALID else standing, named)
    return found if Rung.PERSON in found else (*found, Rung.PERSON)


def receives(key: str, authority: Authority) -> bool:
    """Whether a key of this type can open the reply's envelope."""
    family = key.partition(":")[0]
    return family == "rsa" or (family in _FAMILIES and authority.key_transport == "password")


def renews_with(key: str, authority: Authority, named: Named) -> Rung:
    """What authenticates the request for a successor of a certificate with this type of key: CERTIFICATE, or
    INTRODUCTION.

    An EC key, for example, cannot open the CA's answer, so it signs no request. Then the challenge tells who asks
    (`plan_request`); without one, the factory identity does, before the certificate expires and not after.
    """
    on_its_own = receives(key, authority) or named.challenge or not named.introduction
    return Rung.CERTIFICATE if on_its_own else Rung.INTRODUCTION


def rung_of(transaction: Transaction) -> Rung:
    """The rung that a transaction is on. An enrollment of an earlier release, or a move, is not on the ladder:
    CHALLENGE.
    """
    if transaction.rung:
        return Rung(transaction.rung)
    return Rung.CHALLENGE if transaction.kind is Kind.ENROLLMENT else Rung.CERTIFICATE


def below(transaction: Transaction, named: Named, now: datetime) -> Rung | None:
    """The rung after that of a transaction; None if there is none."""
    if transaction.source or transaction.kind not in (Kind.ENROLLMENT, Kind.RENEWAL):
        return None
    rung, standing = rung_of(transaction), Standing.NONE
    if transaction.kind is Kind.RENEWAL:
        expired = transaction.old_not_after is not None and transaction.old_not_after <= now
        standing = Standing.EXPIRED if expired else Standing.VALID
    found = rungs(standing, named)
    return next(iter(found[found.index(rung) + 1 :]), None) if rung in found else None


def at_the_end(transaction: Transaction, named: Named) -> str:
    """What to say when the last of several rungs is refused; empty where there was only one."""
    several = named.introduction and rung_of(transaction) is not Rung.CERTIFICATE
    return "the configuration names no other way to a certificate, so somebody has to help" if several else ""


class CannotIntroduceError(ConfigError):
    """A factory identity whose key cannot be used with this CA."""

    @property
    def kind(self) -> str:
        return "config"


LEADS_DOWN = (RejectedError, CannotIntroduceError)
"""What leads to the next rung: the CA's refusal (`refusals.way`), or a rung that can never work."""


def check_introduction(key: str, authority: Authority) -> None:
    """Whether a factory identity with this type of key can introduce anybody over SCEP. Raises CannotIntroduceError."""
    if receives(key, authority):
        return
    hint = "if the CA can lock envelopes with the challenge, set key_transport: password; else use an RSA identity"
    raise CannotIntroduceError(
        f"the factory identity's {key} key can sign the request, but the CA's answer cannot be encrypted to it", hint
    )
