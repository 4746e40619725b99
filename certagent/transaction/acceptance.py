"""Check what the CA issued against the request, and keep it: as the shadow's certificate, or as a refused one.

The rules are in `trust.fitness`, the trial in `trust.proof_of_use`; this module gathers what they need to know.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from certagent import certificate as facts
from certagent import durable, keys, policy
from certagent.errors import UnfitError
from certagent.keystore.base import Identity, Shadow
from certagent.policy import Past
from certagent.state import Track
from certagent.state_directory import KeystoreDirectory
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import AbandonedError, Context
from certagent.transaction.journal import Kind, Phase, Transaction
from certagent.transaction.request import ANEW, digest_of, subject_of, wanted_now
from certagent.trust.authorities import Contact
from certagent.trust.fitness import Asked, Terms, accept_certificate, roles
from certagent.trust.proof import MAX_CAS
from certagent.trust.proof_of_use import prove_use
from certagent.trust.usages import asked_usages, purpose_words

_KEPT = 4  # refused certificates; older ones are removed


def accept(
    context: Context, transaction: Transaction, contact: Contact, received: tuple[x509.Certificate, ...]
) -> Transaction:
    """Accept the answer if it is fit to take its place: ISSUED.

    Raises UnfitError, and keeps the certificates; AbandonedError if they can never become fit: the CA sent a
    certificate that was refused before, or one that has expired since the request was made.
    """
    try:
        return _accepted(context, transaction, contact, received)
    except UnfitError as error:
        ours = _for(context.shadow(transaction), received)
        came = tuple(map(facts.to_der, ours or received))[:MAX_CAS]
        if not set(came).difference(transaction.refused):
            raise AbandonedError(f"the CA sent the same certificate that was refused before: {error}", ANEW) from None
        if ours and transaction.started_at < ours[0].not_valid_after_utc <= context.clock():
            raise AbandonedError(f"the certificate that the CA issued has already expired: {error}", ANEW) from None
        cas = [facts.to_der(each) for each in received if each not in ours and facts.is_ca(each)]
        refused = (*came, *cas[:MAX_CAS]) if ours else came
        context.journal.write(transaction.at(transaction.phase, refused=refused))
        raise _refused(context, ours or received, error) from None


def _for(shadow: Shadow, received: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """The certificates for the shadow's key."""
    key = keys.public_bytes(shadow.key.public_key())
    return tuple(each for each in received if facts.is_readable(each) and keys.public_bytes(each.public_key()) == key)


def accept_after_all(context: Context, transaction: Transaction) -> Transaction | None:
    """Accept what was refused earlier, if it is fit under the current configuration; None if it is not."""
    received = tuple(map(facts.load_der, transaction.refused))
    try:
        return _accepted(context, transaction, context.contact(transaction), received)
    except UnfitError:
        return None


def accept_instead(context: Context, transaction: Transaction) -> Transaction | None:
    """Accept what was refused earlier, if it is what the definition asks for now, and has the names that the original
    request asked for. None otherwise.
    """
    found = wanted_now(context, transaction)
    if not transaction.refused or found is None:
        return None
    what, how = found
    key = context.shadow(transaction).key.public_key()
    if how.keeps_key or keys.type_of(key) != how.key or what.subject != subject_of(transaction):
        return None
    usages, purposes = asked_usages(what.extensions)
    instead = transaction.at(
        transaction.phase,
        asked=digest_of(context, what, how),
        names=tuple(sorted(facts.alternative_names(what.names))),
        usages=tuple(sorted(usages)),
        purposes=tuple(sorted(purposes)),
    )
    return accept_after_all(context, instead)


def _accepted(
    context: Context, transaction: Transaction, contact: Contact, received: tuple[x509.Certificate, ...]
) -> Transaction:
    shadow = context.shadow(transaction)
    asked, terms = _asked(context, transaction, shadow), _terms(context, transaction)
    issuer = contact.believed.issuer
    mine, chain = accept_certificate(
        received,
        asked,
        contact.believed,
        context.configured.authority.accept,
        context.clock(),
        terms=terms,
        may_begin=issuer.not_valid_after_utc if transaction.kind is Kind.ROLLOVER else None,
    )
    tried = _try_out(context, Identity(shadow.key, mine, chain), asked, terms)
    context.configured.keystore.complete_shadow(shadow, mine, chain, tried=tried)
    return context.journal.write(
        transaction.at(
            Phase.ISSUED,
            poll_at=None,
            refused=(),
            certificate=facts.to_der(mine),
            chain=tuple(map(facts.to_der, chain)),
            switch_at=max(mine.not_valid_before_utc, issuer.not_valid_before_utc),
            serial=facts.serial_hex(mine),
            not_after=mine.not_valid_after_utc,
        )
    )


def check_use(context: Context, transaction: Transaction, shadow: Shadow) -> None:
    """Try out the certificate again before it takes its place. Raises AbandonedError, and keeps the certificate."""
    if shadow.certificate is None:
        return
    identity = Identity(shadow.key, shadow.certificate, shadow.chain)
    try:
        _try_out(context, identity, _asked(context, transaction, shadow), _terms(context, transaction))
    except UnfitError as error:
        refusal = _refused(context, [shadow.certificate], error)
        raise AbandonedError(f"the new certificate is no longer usable: {refusal}", refusal.hint) from None


def _try_out(context: Context, identity: Identity, asked: Asked, terms: Terms) -> bool:
    """Whether there was a TLS handshake, in which the key signed for its certificate. Raises UnfitError."""
    for_tls = roles(identity.certificate, asked, terms)
    untried = prove_use(
        identity.key,
        identity.certificate,
        identity.chain,
        roles=for_tls,
        at=context.clock(),
        weak=not {"sha1", "md5"}.isdisjoint(context.configured.authority.accept),
    )
    return bool(for_tls and identity.chain) and not untried


def _asked(context: Context, transaction: Transaction, shadow: Shadow) -> Asked:
    return Asked(
        key=keys.public_bytes(shadow.key.public_key()),
        subject=subject_of(transaction),
        names=frozenset(transaction.names),
        old=certificate_in_place(context.configured.keystore),
        exact=context.configured.definition.check_subject == "exact",
        usages=frozenset(transaction.usages),
        purposes=frozenset(transaction.purposes),
    )


def _terms(context: Context, transaction: Transaction) -> Terms:
    definition, predecessor = context.configured.definition, context.predecessor(transaction)
    in_place = certificate_in_place(predecessor) if predecessor else None
    return Terms(
        in_place=in_place,
        may_end_earlier=transaction.forced or _is_past_threshold(context, transaction, in_place),
        accept_names=definition.accept_names,
        may_lose=purpose_words(definition.may_lose),
        serves_tls=definition.probe is not None and definition.probe.tls is not None,
    )


def _is_past_threshold(context: Context, transaction: Transaction, in_place: x509.Certificate | None) -> bool:
    """Whether the certificate in place has to be renewed anyway: now, or before a shadow takes over."""
    situation = context.situation(in_place, Past(), Track())
    if situation.lifetime is None:
        return True
    then = max(context.clock(), transaction.switch_at or context.clock())
    return policy.renew_at(situation.lifetime, situation.rules) <= then


def _refused(context: Context, certificates: Sequence[x509.Certificate], error: UnfitError) -> UnfitError:
    """Keep the certificates so that somebody can look at them, and say where."""
    directory = KeystoreDirectory(context.configured.directory).refused
    file = directory / f"{facts.serial_hex(certificates[0])[:40]}.pem"
    durable.make_directory(directory)
    durable.write(file, f"{error}\n".encode() + facts.to_pem(certificates[:MAX_CAS]))
    for old in sorted(directory.glob("*.pem"), key=lambda each: each.stat().st_mtime_ns)[:-_KEPT]:
        durable.remove(old)
    again = f"`certagent renew {context.configured.name}` accepts it once it is permitted, or asks for another"
    return UnfitError(str(error), f"{error.hint}; it is kept in {file}; {again}")
