"""The certificate in place, as values: made by whoever reads it, kept in state.json, used while nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from msgspec.structs import replace

from certagent import certificate as facts
from certagent import keys, policy
from certagent.config.keystores import KeystoreDefinition
from certagent.errors import CertagentError, KeystoreError
from certagent.policy import Arrival, Lifetime
from certagent.state import Ca, Cas, Seen
from certagent.transaction.next_step import arrival_of_serial
from certagent.trust.fitness import lacks_of
from certagent.trust.memory import Known
from certagent.trust.next_ca import RENEWED
from certagent.trust.proof import comes_from


def see(
    certificate: x509.Certificate, known: Known | None, definition: KeystoreDefinition, exposed: tuple[str, ...]
) -> Seen:
    """Raises KeystoreError for a certificate with a part that cannot be read."""
    above = next((ca for ca in issuers(known) if comes_from(certificate, ca)), None)
    try:
        lifetime = Lifetime.of(certificate)
        return Seen(
            subject=facts.subject_text(certificate),
            issuer=facts.name_text(certificate.issuer),
            serial=facts.serial_hex(certificate),
            key=_key_words(certificate),
            not_before=lifetime.not_before,
            not_after=lifetime.not_after,
            cas=cas_of(above, known),
            lacks=_lacks(definition, certificate),
            exposed=exposed,
        )
    except ValueError as error:  # cryptography parses some parts only when they are used
        raise KeystoreError(f"the certificate in place cannot be read: {error}", facts.WRITTEN_WRONG) from None


def cas_of(above: x509.Certificate | None, known: Known | None) -> Cas:
    """`above`: the one that issued the certificate in place, if any did."""
    if known is None:
        return Cas()
    return Cas(
        above=_ca(above) if above else None,
        is_old=above in known.old,
        next=_next(known, above),
        old=tuple(_old(known, each) for each in known.old if each != above),
    )


def _next(known: Known, above: x509.Certificate | None) -> Ca | None:
    """The CA that takes over: the announced one; or the authority's own if the certificate is still from an old one."""
    following = known.issuer if above in known.old else next(iter(known.next_chain), None)
    if following is None or following == above:
        return None
    name = str(facts.fingerprint(following))
    proofs = [change.proof for change in known.memory.changes if change.successor == name]
    return _ca(following, proofs[-1] if proofs else "")


def _old(known: Known, certificate: x509.Certificate) -> Ca:
    ca = _ca(certificate)
    followed = [each.proof for each in known.memory.changes if each.predecessor == ca.fingerprint]
    return replace(ca, renewed=RENEWED in followed)


def _ca(certificate: x509.Certificate, proof: str = "") -> Ca:
    name, fingerprint = facts.subject_text(certificate), str(facts.fingerprint(certificate))
    return Ca(name, fingerprint, Lifetime.of(certificate), proof)


def issuers(known: Known | None) -> Iterator[x509.Certificate]:
    """The CAs that may have issued the certificate in place: after a switch the next one, until the CA is asked."""
    if known is not None:
        yield from (*known.chain[:1], *known.next_chain[:1], *known.old)


def arrival_of(certificate: x509.Certificate | None, remembered: Arrival | None, now: datetime) -> Arrival | None:
    """As `next_step.arrival_of_serial`, for a certificate."""
    if certificate is None:
        return None
    return arrival_of_serial(facts.serial_hex(certificate), certificate.not_valid_after_utc, remembered, now)


def is_arrival_of(certificate: x509.Certificate, arrival: Arrival) -> bool:
    return arrival.is_of(facts.serial_hex(certificate), certificate.not_valid_after_utc)


def ca_above(certificate: x509.Certificate | None, known: Known | None) -> Lifetime | None:
    """The life of the CA that issued the certificate in place; None if it is not one of the authority's.

    After the switch, that is the next CA until the authority is asked again.
    """
    if certificate is None or known is None:
        return None
    issuers = (known.issuer, *known.next_chain[:1])
    return policy.lifetime_of(next((each for each in issuers if comes_from(certificate, each)), None))


def _lacks(definition: KeystoreDefinition, certificate: x509.Certificate) -> tuple[tuple[str, str], ...]:
    names, usages, purposes = definition.san, definition.key_usage, definition.extended_key_usage
    if not (names or usages or purposes):
        return ()
    try:
        return tuple((lack.kind, lack.word) for lack in lacks_of(certificate, names, usages, purposes))
    except CertagentError:  # for impossible names; whoever asks for them gets the error
        return ()


def _key_words(certificate: x509.Certificate) -> str:
    try:
        return keys.type_of(certificate.public_key())
    except UnsupportedAlgorithm:
        return "unknown"
