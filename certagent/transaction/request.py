"""What is asked of the CA: the shadow's key, the names, who signs, the message; kept before it is sent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from cryptography import x509

from certagent import certificate as facts
from certagent import durable, keys, lenient, scep
from certagent.config.values import KeyType
from certagent.errors import ConfigError
from certagent.hooks import read_secret
from certagent.keystore.base import Identity, Shadow
from certagent.scep import MessageType, Signer
from certagent.text import with_hint
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import AbandonedError, Context
from certagent.transaction.journal import Phase, Transaction
from certagent.transaction.planned_request import PlannedRequest, SignedBy, plan_request
from certagent.trust.authorities import Contact
from certagent.trust.usages import asked_usages

ANEW = "a new request is made"
_USAGES = frozenset({x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid})


def make_request(context: Context, transaction: Transaction, *, plain: bool = False) -> Transaction:
    """STARTED → REQUESTED: the shadow's key, the request, and whatever signs it, all durable. Nothing is sent.

    `plain`: a renewal goes as PKCSReq whatever the CA advertises.
    """
    context.configured.keystore.check_targets()  # a certificate that cannot be put in place is not asked for
    contact = context.contact(transaction)  # trust first: without it no key is made and no secret read
    for each in contact.news:
        context.log(with_hint(each.text, each.hint))
    predecessor = context.predecessor(transaction)
    identity = predecessor.read() if predecessor else None
    if predecessor and identity is None:
        raise AbandonedError("the identity to renew is gone", "it will be enrolled anew if a subject is configured")
    context.say("making the key")
    shadow = context.shadow(transaction)
    subject, names = _wanted(context, transaction)
    planned = plan_request(
        context.configured.definition,
        context.configured.authority,
        contact.capabilities,
        keys.type_of(identity.certificate.public_key()) if identity else None,
        moves=bool(transaction.source),
        key=keys.type_of(shadow.key.public_key()),
        plain=plain,
    )
    signer = _signer(context, planned, identity, shadow, subject)
    extensions = tuple(_extensions(context, transaction))
    usages, purposes = asked_usages(extensions)
    csr = scep.build_csr(
        shadow.key,
        subject,
        san=names,
        challenge=_challenge(context) if planned.challenge else None,
        extensions=extensions,
        digest=contact.capabilities.algorithms().digest,
    )
    transaction = transaction.at(
        Phase.REQUESTED,
        transaction_id=_transaction_id(identity, shadow),
        message_type=int(planned.message or MessageType.PKCS_REQ),
        sender_nonce=scep.new_nonce(),
        recipient=contact.recipient,
        signer=facts.to_der(signer.certificate),
        nameless=not list(subject),
        names=tuple(sorted(facts.alternative_names(names))),
        usages=tuple(sorted(usages)),
        purposes=tuple(sorted(purposes)),
    )
    message = encode(context, transaction, contact, signer, csr)
    return context.journal.write(transaction.at(Phase.REQUESTED, request=message))


def encode(
    context: Context,
    transaction: Transaction,
    contact: Contact,
    signer: Signer,
    content: bytes,
    *,
    poll_nonce: bytes | None = None,
) -> bytes:
    """The message of a request, or with a nonce of its own of a poll for it."""
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
    )


def password(context: Context) -> bytes | None:
    """What envelopes are locked with where RSA does not do it: the challenge (RFC 8894 §3.1)."""
    if context.configured.authority.key_transport != "password" or context.configured.authority.challenge is None:
        return None
    return read_secret(context.configured.authority.challenge)


def subject_of(transaction: Transaction) -> x509.Name:
    """The subject asked for: the signer's, which is the identity's or made for this request."""
    return x509.Name([]) if transaction.nameless else lenient.proper(facts.load_der(transaction.signer).subject)


def signer_of(context: Context, transaction: Transaction) -> Signer:
    """The signer of a request made earlier. Raises AbandonedError if its key is no longer to be had."""
    certificate = facts.load_der(transaction.signer)
    file = context.journal.directory / "transport.pem"
    if file.exists():
        key = keys.load_private(file.read_bytes(), None, str(file))
        if keys.match(key, certificate.public_key()):
            return Signer(key, certificate)
    shadow = context.shadow(transaction)
    if keys.match(shadow.key, certificate.public_key()):
        return Signer(shadow.key, certificate)
    identity = (context.predecessor(transaction) or context.configured.keystore).read()
    if identity is not None and keys.match(identity.key, certificate.public_key()):
        return Signer(identity.key, certificate)
    raise AbandonedError("the identity that signed the request was replaced by another", ANEW)


def _transaction_id(identity: Identity | None, shadow: Shadow) -> str:
    # With the key kept, its hash would name the transaction of the certificate in place,
    # and some CAs (NDES, Dogtag) answer such a request with the old certificate.
    if identity is not None and keys.match(shadow.key, identity.certificate.public_key()):
        return scep.random_transaction_id()
    return scep.new_transaction_id(shadow.key.public_key())


def _wanted(context: Context, transaction: Transaction) -> tuple[x509.Name, x509.SubjectAlternativeName | None]:
    """Subject and names: a successor's come from the certificate in place, whoever put it there."""
    definition = context.configured.definition
    predecessor = context.predecessor(transaction)
    in_place = certificate_in_place(predecessor or context.configured.keystore)
    if in_place is not None and (predecessor or not definition.says_whom):
        return lenient.proper(in_place.subject), facts.san_extension(in_place)
    if not definition.says_whom:
        raise ConfigError(
            f"keystore {context.configured.name} has no subject to enroll with",
            "set `subject` or `san` in its definition",
        )
    if definition.subject is not None:
        subject = facts.parse_subject(definition.subject)
    else:
        subject = lenient.proper(in_place.subject) if in_place is not None else x509.Name([])
    return subject, facts.general_names(definition.san)


def _extensions(context: Context, transaction: Transaction) -> Iterable[x509.Extension[x509.ExtensionType]]:
    """The usages and the template: a successor keeps what the certificate in place has.

    An enrollment asks for what the definition says, and where that says nothing for what it replaces has.
    """
    predecessor = context.predecessor(transaction)
    in_place = certificate_in_place(predecessor) if predecessor else None
    if in_place is not None:
        return scep.kept_extensions(in_place)
    definition = context.configured.definition
    asked = facts.usage_extensions(definition.key_usage, definition.extended_key_usage)
    if (replaced := certificate_in_place(context.configured.keystore)) is not None:
        missing = _USAGES - {each.oid for each in asked}
        asked += [each for each in scep.kept_extensions(replaced) if each.oid in missing]
    return [*asked, scep.certificate_template(definition.template)] if definition.template else asked


def _challenge(context: Context) -> str | None:
    """The challenge password, fetched only now that the CA is believed and a request is about to be made."""
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


def _signer(
    context: Context, planned: PlannedRequest, identity: Identity | None, shadow: Shadow, subject: x509.Name
) -> Signer:
    if identity is not None and planned.signed_by.authenticates:
        return Signer(identity.key, identity.certificate)
    key = _transport_key(context) if planned.signed_by is SignedBy.TRANSPORT_KEY else shadow.key
    return Signer(key, scep.self_signed(key, subject, context.clock()))


def _transport_key(context: Context) -> keys.PrivateKey:
    """The RSA key kept with the transaction; made once."""
    file = context.journal.directory / "transport.pem"
    with contextlib.suppress(FileNotFoundError):
        return keys.load_private(file.read_bytes(), None, str(file))
    key = keys.generate(KeyType.RSA_2048)
    durable.write(file, keys.to_pem(key))
    return key
