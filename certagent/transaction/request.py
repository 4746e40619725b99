"""What certagent asks the CA for: the shadow's key, the names, who signs, the message; stored before it is sent."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography import x509

from certagent import certificate as facts
from certagent import durable, keys, lenient, scep
from certagent.config.key_types import KeyType
from certagent.errors import CertagentError, ConfigError
from certagent.hooks import read_secret
from certagent.keystore.base import Identity, Shadow
from certagent.scep import Capabilities, MessageType, Signer
from certagent.text import with_hint
from certagent.transaction import ladder
from certagent.transaction.asked import Wanted, digest, wanted
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import AbandonedError, Context
from certagent.transaction.journal import Phase, Transaction
from certagent.transaction.ladder import Rung
from certagent.transaction.planned_request import PlannedRequest, SignedBy, plan_request
from certagent.trust.authorities import Contact
from certagent.trust.proof import comes_from
from certagent.trust.usages import asked_usages

ANEW = "a new request is made"


def make_request(context: Context, transaction: Transaction, *, plain: bool = False) -> Transaction:
    """STARTED → REQUESTED: the shadow's key, the request, and its signer, all durable. Nothing is sent.

    `plain`: a renewal goes as PKCSReq whatever the CA advertises.
    """
    context.configured.keystore.check_targets()  # certagent asks for no certificate that it cannot put in place
    contact = _reach(context, transaction)  # trust first: without it, no key is made and no secret is read
    predecessor = context.predecessor(transaction)
    introduced = _introduction(context, transaction)
    identity = predecessor.read() if predecessor else None
    if predecessor and identity is None:
        raise AbandonedError("the identity to renew is gone", "certagent will enroll again if a subject is configured")
    there, signs = certificate_in_place(context.configured.keystore), identity.certificate if identity else None
    plain = plain or (introduced is not None and is_foreign(introduced.certificate, contact.believed.chain))
    what, planned = _plan(context, transaction, signs, there, contact.capabilities, plain=plain)
    _foresee_challenge(context, planned)
    context.say("making the key")
    shadow = context.shadow(transaction)
    if not _is_for(planned, identity, shadow):
        raise AbandonedError("its key was made before `key_type` or `rekey` changed", ANEW)
    signer = _signer(context, planned, introduced or identity, shadow, what.subject)
    usages, purposes = asked_usages(what.extensions)
    csr = scep.build_csr(
        shadow.key,
        what.subject,
        san=what.names,
        challenge=_challenge(context) if planned.challenge else None,
        extensions=what.extensions,
        digest=contact.capabilities.algorithms().digest,
    )
    transaction = transaction.at(
        Phase.REQUESTED,
        transaction_id=transaction.transaction_id or _transaction_id(identity, shadow),
        message_type=int(planned.message or MessageType.PKCS_REQ),
        sender_nonce=scep.new_nonce(),
        recipient=contact.recipient,
        signer=facts.to_der(signer.certificate),
        asked=digest_of(context, what, planned),
        nameless=not list(what.subject),
        subject=what.subject.public_bytes() if introduced is not None else b"",
        names=tuple(sorted(facts.alternative_names(what.names))),
        usages=tuple(sorted(usages)),
        purposes=tuple(sorted(purposes)),
    )
    signed_at = context.signing_time(signer.certificate)
    message = encode(context, transaction, contact, signer, csr, signing_time=signed_at)
    return context.journal.write(transaction.at(Phase.REQUESTED, request=message, signed_at=signed_at))


def _reach(context: Context, transaction: Transaction) -> Contact:
    contact = context.contact(transaction)
    for each in contact.news:
        context.log(with_hint(each.text, each.hint))
    return contact


def _introduction(context: Context, transaction: Transaction) -> Identity | None:
    """The factory identity, if it signs this request. Raises CannotIntroduceError, and what reading it raises."""
    if ladder.rung_of(transaction) is not Rung.INTRODUCTION:
        return None
    context.say("reading the factory identity")
    found = context.introduction()
    ladder.check_introduction(keys.type_of(found.certificate.public_key()), context.configured.authority)
    return found


def is_foreign(certificate: x509.Certificate, cas: Sequence[x509.Certificate]) -> bool:
    """Whether none of these CAs issued it: then it cannot be renewed there, only introduce (RFC 8894 §2.3)."""
    return not any(comes_from(certificate, ca) for ca in cas)


def digest_of(context: Context, what: Wanted, planned: PlannedRequest) -> str:
    """What the request asks for, and how, as one digest."""
    configured = context.configured
    return digest(what, planned, configured.authority, configured.introduction)


def asked_now(context: Context, transaction: Transaction) -> str:
    """The digest of what would be asked for now instead; empty if that is not known at the moment."""
    found = wanted_now(context, transaction)
    return digest_of(context, *found) if found is not None else ""


def wanted_now(context: Context, transaction: Transaction) -> tuple[Wanted, PlannedRequest] | None:
    """What would be asked for now instead, and how; None if that is not known at the moment."""
    keystore = context.configured.keystore
    try:
        predecessor = context.predecessor(transaction)
        signs = predecessor.read_certificate() if predecessor else None
        if (predecessor and signs is None) or keystore.lost_what_links_lead_to():
            return None
        return _plan(context, transaction, signs, keystore.read_certificate())
    except CertagentError:
        return None


def _plan(
    context: Context,
    transaction: Transaction,
    predecessor: x509.Certificate | None,
    replaced: x509.Certificate | None,
    capabilities: Capabilities | None = None,
    *,
    plain: bool = False,
) -> tuple[Wanted, PlannedRequest]:
    """What to ask for, and how. `predecessor`: what gets a successor; `replaced`: what is in place."""
    definition = context.configured.definition
    if transaction.compromised:  # whatever the definition says
        definition = msgspec.structs.replace(definition, rekey="always")
    planned = plan_request(
        definition,
        context.configured.authority,
        capabilities,
        keys.type_of(predecessor.public_key()) if predecessor else None,
        moves=bool(transaction.source),
        introduces=ladder.rung_of(transaction) is Rung.INTRODUCTION and context.configured.introduction is not None,
        plain=plain,
    )
    return wanted(context.configured.name, definition, predecessor, replaced), planned


def _is_for(planned: PlannedRequest, identity: Identity | None, shadow: Shadow) -> bool:
    """Whether the shadow's key, which an earlier run may have made, is of the right kind."""
    if planned.keeps_key:
        return identity is not None and keys.match(shadow.key, identity.certificate.public_key())
    return keys.type_of(shadow.key.public_key()) == planned.key


def encode(
    context: Context,
    transaction: Transaction,
    contact: Contact,
    signer: Signer,
    content: bytes,
    *,
    poll_nonce: bytes | None = None,
    signing_time: datetime | None = None,
) -> bytes:
    """The message of a request, or of a poll for it, which gets its own nonce."""
    return scep.encode_request(
        MessageType(transaction.message_type) if poll_nonce is None else MessageType.CERT_POLL,
        content,
        transaction_id=transaction.transaction_id,
        sender_nonce=poll_nonce or transaction.sender_nonce,
        signer=signer,
        recipient=contact.believed.recipient,
        algorithms=contact.capabilities.algorithms(),
        key_transport=context.configured.authority.key_transport,
        password=password(context),
        signing_time=signing_time,
    )


def password(context: Context) -> bytes | None:
    """The password for envelopes that RSA cannot lock: the challenge (RFC 8894 §3.1)."""
    if context.configured.authority.key_transport != "password" or context.configured.authority.challenge is None:
        return None
    return read_secret(context.configured.authority.challenge)


def subject_of(transaction: Transaction) -> x509.Name:
    """The subject asked for: if not recorded, that of the signer, which is the identity's, or made for this request."""
    if transaction.nameless:
        return x509.Name([])
    if transaction.subject:
        return lenient.name(transaction.subject)
    return lenient.proper(facts.load_der(transaction.signer).subject)


def signer_of(context: Context, transaction: Transaction) -> Signer:
    """The signer of a request made earlier. Raises AbandonedError if its key is no longer available."""
    certificate = facts.load_der(transaction.signer)
    file = context.journal.directory / "transport.pem"
    if file.exists():
        key = keys.load_private(file.read_bytes(), None, str(file))
        if keys.match(key, certificate.public_key()):
            return Signer(key, certificate)
    shadow = context.shadow(transaction)
    if keys.match(shadow.key, certificate.public_key()):
        return Signer(shadow.key, certificate)
    if ladder.rung_of(transaction) is Rung.INTRODUCTION:
        introduced = context.introduction()
        if introduced.certificate == certificate:
            return Signer(introduced.key, certificate, introduced.chain)
        raise AbandonedError("the factory identity that signed the request is another one now", ANEW)
    identity = (context.predecessor(transaction) or context.configured.keystore).read()
    if identity is not None and keys.match(identity.key, certificate.public_key()):
        return Signer(identity.key, certificate)
    raise AbandonedError("the identity that signed the request has been replaced", ANEW)


def _transaction_id(identity: Identity | None, shadow: Shadow) -> str:
    # If the key is kept, its hash would name the transaction of the certificate in place,
    # and some CAs (NDES, Dogtag) answer such a request with the old certificate.
    if identity is not None and keys.match(shadow.key, identity.certificate.public_key()):
        return scep.random_transaction_id()
    return scep.new_transaction_id(shadow.key.public_key())


def _challenge(context: Context) -> str | None:
    """The challenge password, fetched only now that the CA is trusted and a request is about to be made."""
    authority = context.configured.authority
    if authority.challenge is None:
        return None
    try:
        return read_secret(authority.challenge).decode()
    except UnicodeDecodeError:
        raise ConfigError(
            f"the challenge of authority {context.configured.definition.authority} is not text",
            "use a password in UTF-8",
        ) from None


def _foresee_challenge(context: Context, planned: PlannedRequest) -> None:
    """Raise before a key is made what reading it would raise. No command is run, for its output may be one-time."""
    secret = context.configured.authority.challenge
    if planned.challenge and secret is not None and secret.command is None:
        _challenge(context)


def _signer(
    context: Context, planned: PlannedRequest, identity: Identity | None, shadow: Shadow, subject: x509.Name
) -> Signer:
    introduces = planned.signed_by is SignedBy.INTRODUCTION
    if identity is not None and planned.signed_by.authenticates:
        return Signer(identity.key, identity.certificate, identity.chain if introduces else ())
    key = _transport_key(context) if planned.signed_by is SignedBy.TRANSPORT_KEY else shadow.key
    return Signer(key, scep.self_signed(key, subject, context.clock()))


def _transport_key(context: Context) -> keys.PrivateKey:
    """The RSA key stored with the transaction."""
    file = context.journal.directory / "transport.pem"
    with contextlib.suppress(FileNotFoundError):
        return keys.load_private(file.read_bytes(), None, str(file))
    key = _made_for(context.configured.definition.authority)
    durable.write_early(file, keys.to_pem(key))  # the record of the request makes its name durable
    return key


@functools.cache
def _made_for(authority: str) -> keys.PrivateKey:
    """One for all requests of this process to one authority (docs/decisions/0007)."""
    return keys.generate(KeyType.RSA_2048)
