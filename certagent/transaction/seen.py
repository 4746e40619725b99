"""The certificate in place, as values: made by whoever reads it, kept in state.json, used while nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from certagent import certificate as facts
from certagent import keys
from certagent.config.keystores import KeystoreDefinition
from certagent.errors import CertagentError, KeystoreError
from certagent.policy import Lifetime
from certagent.state import Seen, State
from certagent.trust.fitness import lacks_of
from certagent.trust.memory import Known
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
            above=str(facts.fingerprint(above)) if above else "",
            lacks=_lacks(definition, certificate),
            exposed=exposed,
        )
    except ValueError as error:  # cryptography parses some parts only when they are used
        raise KeystoreError(f"the certificate in place cannot be read: {error}", facts.WRITTEN_WRONG) from None


def issuers(known: Known | None) -> Iterator[x509.Certificate]:
    """The CAs that may have issued the certificate in place: after a switch the next one, until the CA is asked."""
    if known is not None:
        yield from (*known.chain[:1], *known.next_chain[:1], *known.old)


def remembered(memory: State, digest: str, authority: str, signatures: Callable[[], dict[str, str]]) -> Seen | None:
    """What was seen, if everything it depends on is unchanged; `signatures` is called only if the rest matches.

    `digest` of the definition and `authority` (`state.signature_of`) are the current ones.
    """
    if memory.seen is None or (memory.definition, memory.authority) != (digest, authority):
        return None
    return memory.seen if memory.watched == signatures() else None


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
