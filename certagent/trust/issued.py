"""Whether what a CA sent back is what was asked for: pure. Values and `now` in; a certificate or TrustError out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from certagent import certificate as facts
from certagent.errors import TrustError
from certagent.keys import public_bytes
from certagent.trust.proof import UnprovenError, prove
from certagent.trust.rules import SKEW, Believed, soon


@dataclass(frozen=True)
class Asked:
    """What the certificate that comes back is held against. `key`: DER SubjectPublicKeyInfo; `names`: words.

    `subject` None: the CA may write the subject its own way (`check_subject: key`).
    """

    key: bytes
    subject: x509.Name | None
    names: frozenset[str]
    old: x509.Certificate | None = None


def accept_certificate(
    received: Sequence[x509.Certificate],
    asked: Asked,
    authority: Believed,
    accept: Collection[str],
    now: datetime,
    *,
    may_begin: datetime | None = None,
) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """Rule 5: the one certificate for our key, with the chain above it; or TrustError.

    `may_begin`: how late its validity may begin; only a rollover's may begin in the future.
    """
    received = [each for each in dict.fromkeys(received) if facts.is_readable(each)]
    ours = [each for each in received if public_bytes(each.public_key()) == asked.key]
    if len(ours) != 1:
        found = "no certificate for our key" if not ours else f"{len(ours)} certificates for our key"
        raise TrustError(f"the CA's answer holds {found}", "nothing was installed; the CA's operator should look")
    mine = ours[0]
    chain = _chain(mine, received, authority, accept, now, until=max(now, may_begin or now) + SKEW)
    if mine == asked.old:
        raise TrustError("the CA sent the certificate in place once more", "it may want a new key: rekey: always")
    if facts.is_ca(mine):
        raise TrustError("the CA issued a CA certificate to us", "nothing was installed; the CA's operator should look")
    if asked.subject is not None and mine.subject != asked.subject:
        raise TrustError(
            f"the CA issued {_quoted(mine.subject)}, not {_quoted(asked.subject)} as asked",
            "ask for the subject as this CA writes it, or set check_subject: key",
        )
    unasked = facts.alternative_names(mine) - asked.names
    if unasked:
        raise TrustError(
            f"the certificate has names nobody asked for: {facts.names_text(unasked)}", "nothing was installed"
        )
    return mine, chain


def _quoted(name: x509.Name) -> str:
    return repr(facts.name_text(name) if list(name) else "(no subject)")


def _chain(
    mine: x509.Certificate,
    received: Sequence[x509.Certificate],
    authority: Believed,
    accept: Collection[str],
    now: datetime,
    *,
    until: datetime,
) -> tuple[x509.Certificate, ...]:
    """The path from our certificate up to where the authority's own chain ends."""
    *below, top = authority.chain
    begins = max(each.not_valid_before_utc for each in (mine, *authority.chain))
    pool = (*below, *received)
    try:
        return soon(lambda at: prove(mine, pool, (top,), at, accept=accept), now, min(begins, until)).above
    except UnprovenError as error:
        if error.why == "stranger":
            raise TrustError("the certificate is not issued by the pinned CA", "nothing was installed") from None
        raise
