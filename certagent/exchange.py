"""The half of a transaction that talks to the CA: make the request, send it, poll, accept the answer.

Each step takes the transaction as the journal has it and returns it as the journal has it then.
`request` is durable before `send` puts it on the wire, and `send` sends the same bytes however often it is
repeated: a CA that answered before gives the same certificate again (draft-nourse-scep-11 appendix E).
"""

from __future__ import annotations

import contextlib

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent import certificate as facts
from certagent import durable, keys, scep, trust
from certagent.authorities import Contact
from certagent.definitions import KeyType
from certagent.errors import ConfigError, HttpError, RejectedError
from certagent.hooks import read_secret
from certagent.journal import Kind, Phase, Transaction
from certagent.keystore.base import Identity, Shadow
from certagent.scep import FailInfo, MessageType, Signer
from certagent.work import AbandonedError, Work, certificate_in_place

_ANEW = "a new request is made"


def request(work: Work, transaction: Transaction, *, plain: bool = False) -> Transaction:
    """STARTED → REQUESTED: the shadow's key, the request, and whatever signs it, all durable. Nothing is sent.

    `plain`: a renewal goes as PKCSReq whatever the CA advertises.
    """
    contact = work.contact()  # trust first: without it no key is made and no secret read
    identity = work.keystore.read() if transaction.kind is Kind.RENEWAL else None
    if transaction.kind is Kind.RENEWAL and identity is None:
        raise AbandonedError("the identity to renew is gone", "it will be enrolled anew if a subject is configured")
    work.say("making the key")
    shadow = work.shadow(transaction)
    subject, names = _wanted(work, transaction)
    signer = _new_signer(work, identity, shadow, subject)
    by_identity = identity is not None and signer.certificate == identity.certificate
    algorithms = contact.capabilities.algorithms()
    csr = scep.build_csr(
        shadow.key,
        subject,
        san=names,
        challenge=_challenge(work, needed=not by_identity),
        digest=algorithms.digest,
    )
    renewal = by_identity and contact.capabilities.renewal and not plain
    message_type = MessageType.RENEWAL_REQ if renewal else MessageType.PKCS_REQ
    # With the key kept, its hash would name the transaction of the certificate in place,
    # and some CAs (NDES, Dogtag) answer such a request with the old certificate.
    same_key = identity is not None and keys.match(shadow.key, identity.certificate.public_key())
    transaction_id = scep.random_transaction_id() if same_key else scep.new_transaction_id(shadow.key.public_key())
    nonce = scep.new_nonce()
    message = scep.encode_request(
        message_type,
        csr,
        transaction_id=transaction_id,
        sender_nonce=nonce,
        signer=signer,
        recipient=contact.believed.recipient,
        algorithms=algorithms,
    )
    return work.journal.write(
        transaction.at(
            Phase.REQUESTED,
            transaction_id=transaction_id,
            message_type=int(message_type),
            sender_nonce=nonce,
            request=message,
            recipient=facts.to_der(contact.believed.recipient),
            signer=facts.to_der(signer.certificate),
            nameless=not list(subject),
            names=tuple(sorted(facts.alternative_names(names))),
        )
    )


def send(work: Work, transaction: Transaction) -> Transaction:
    """REQUESTED → ISSUED or PENDING; raises RejectedError, TrustError, TransientError.

    Or REQUESTED again: a RenewalReq was refused, and the same is asked for as PKCSReq signed by the old
    certificate. Some CAs advertise Renewal and take only that (EJBCA answers HTTP 400, OpenXPKI badRequest).
    Whether it was the message type is not told, so a refusal on other grounds is heard twice, never more often.
    """
    contact = work.contact()
    if facts.to_der(contact.believed.recipient) != transaction.recipient:
        raise AbandonedError("the CA's encryption certificate changed since the request was made", _ANEW)
    work.say(f"asking {work.definition.authority} for a certificate")
    try:
        answer = contact.operate(transaction.request)
        return _answered(work, transaction, contact, transaction.sender_nonce, answer)
    except (HttpError, RejectedError) as error:
        if transaction.message_type != MessageType.RENEWAL_REQ or not _may_mean_the_type(error):
            raise
        work.log(f"{error}; trying once more with PKCSReq, signed by the old certificate")
        return request(work, transaction, plain=True)


def _may_mean_the_type(error: HttpError | RejectedError) -> bool:
    """Whether a refusal may be about the message type: a signed badRequest, or HTTP's words for a bad request."""
    if isinstance(error, HttpError):
        return error.status in (400, 405, 501)
    return error.fail_info in (FailInfo.BAD_REQUEST.word, FailInfo.BAD_MESSAGE_CHECK.word)


def poll(work: Work, transaction: Transaction) -> Transaction:
    """PENDING → ISSUED or PENDING again: CertPoll, RFC 8894 §3.3.3, in the same transaction.

    Raises what `send` raises, and AbandonedError if the CA has forgotten the transaction.
    """
    contact = work.contact()
    signer = _signer(work, transaction)
    nonce = scep.new_nonce()
    message = scep.encode_request(
        MessageType.CERT_POLL,
        scep.issuer_and_subject(contact.believed.issuer.subject, _subject(transaction)),
        transaction_id=transaction.transaction_id,
        sender_nonce=nonce,
        signer=signer,
        recipient=contact.believed.recipient,
        algorithms=contact.capabilities.algorithms(),
    )
    work.say(f"asking {work.definition.authority} whether it has decided")
    try:
        return _answered(work, transaction, contact, nonce, contact.operate(message))
    except RejectedError as error:
        if error.fail_info == FailInfo.BAD_CERT_ID.word:
            raise AbandonedError(f"the CA does not know the request it had to decide on: {error}", _ANEW) from None
        raise


def _answered(work: Work, transaction: Transaction, contact: Contact, nonce: bytes, answer: bytes) -> Transaction:
    reply = scep.decode_reply(
        answer,
        transaction_id=transaction.transaction_id,
        sender_nonce=nonce,
        signers=contact.believed.signers,
        decrypter=_signer(work, transaction),
        accept=work.authority.accept,
    )
    match reply:
        case scep.Issued():
            return _accept(work, transaction, contact, reply.certificates)
        case scep.Pending():
            poll_at = work.clock() + work.authority.poll_interval
            return work.journal.write(transaction.at(Phase.PENDING, poll_at=poll_at))
        case scep.Rejected():
            word = reply.fail_info.word if reply.fail_info is not None else "no reason given"
            detail = f" ({reply.text})" if reply.text else ""
            raise RejectedError(f"the CA refused the request: {word}{detail}", _refusal_hint(work, reply), word)


def _refusal_hint(work: Work, reply: scep.Rejected) -> str:
    meaning = reply.fail_info.meaning if reply.fail_info is not None else "ask the CA's operator"
    if work.authority.challenge is not None and work.authority.send_challenge == "enrollment":
        return f"{meaning}; if this CA wants the challenge on renewals too, set send_challenge: always"
    return meaning


def _accept(
    work: Work, transaction: Transaction, contact: Contact, received: tuple[x509.Certificate, ...]
) -> Transaction:
    """Hold the answer against what was asked, and keep it: ISSUED."""
    shadow = work.shadow(transaction)
    asked = trust.Asked(
        key=keys.public_bytes(shadow.key.public_key()),
        subject=_subject(transaction),
        names=frozenset(transaction.names),
        old=certificate_in_place(work.keystore),
    )
    mine, chain = trust.accept_certificate(received, asked, contact.believed, work.authority.accept, work.clock())
    work.keystore.complete_shadow(transaction.id, mine, chain)
    return work.journal.write(
        transaction.at(
            Phase.ISSUED,
            poll_at=None,
            certificate=facts.to_der(mine),
            trusted=tuple(map(facts.to_der, contact.believed.chain)),
            serial=facts.serial_hex(mine),
            not_after=mine.not_valid_after_utc,
        )
    )


def _wanted(work: Work, transaction: Transaction) -> tuple[x509.Name, x509.SubjectAlternativeName | None]:
    """Subject and names: a renewal's come from the certificate in place, whoever put it there."""
    definition = work.definition
    in_place = certificate_in_place(work.keystore)
    if in_place is not None and (transaction.kind is Kind.RENEWAL or definition.subject is None):
        return in_place.subject, facts.san_extension(in_place)
    if definition.subject is None:
        raise ConfigError(f"keystore {work.name} has no subject to enroll with", "set `subject` in its definition")
    return facts.parse_subject(definition.subject), facts.general_names(definition.san)


def _challenge(work: Work, *, needed: bool) -> str | None:
    """The challenge password, fetched only now that the CA is believed and a request is about to be made."""
    authority = work.authority
    if authority.challenge is None or not (needed or authority.send_challenge == "always"):
        return None
    try:
        return read_secret(authority.challenge).decode()
    except UnicodeDecodeError:
        raise ConfigError(
            f"the challenge of authority {work.definition.authority} is not text", "use a password in UTF-8"
        ) from None


def _subject(transaction: Transaction) -> x509.Name:
    """The subject asked for: the signer's, which is the identity's or made for this request."""
    return x509.Name([]) if transaction.nameless else x509.load_der_x509_certificate(transaction.signer).subject


def _new_signer(work: Work, identity: Identity | None, shadow: Shadow, subject: x509.Name) -> Signer:
    """Who signs the request, and so receives the reply's envelope: always an RSA key (RFC 8894 §3.1).

    Renewal: the identity. Enrollment: the new key with a self-signed certificate. Where that key is an EC key,
    which no envelope can be made for, an RSA transport key stands in, and the challenge has to authenticate.
    """
    if identity is not None and isinstance(identity.key, rsa.RSAPrivateKey):
        return Signer(identity.key, identity.certificate)
    key: keys.PrivateKey = shadow.key
    if not isinstance(key, rsa.RSAPrivateKey):
        key = _transport_key(work)
    return Signer(key, scep.self_signed(key, subject, work.clock()))


def _transport_key(work: Work) -> keys.PrivateKey:
    """The RSA key kept with the transaction; made once."""
    file = work.journal.directory / "transport.pem"
    with contextlib.suppress(FileNotFoundError):
        return keys.load_private(file.read_bytes(), None, str(file))
    key = keys.generate(KeyType.RSA_2048)
    durable.write(file, keys.to_pem(key))
    return key


def _signer(work: Work, transaction: Transaction) -> Signer:
    """The signer of a request made earlier. Raises AbandonedError if its key is no longer to be had."""
    certificate = x509.load_der_x509_certificate(transaction.signer)
    file = work.journal.directory / "transport.pem"
    if file.exists():
        key = keys.load_private(file.read_bytes(), None, str(file))
        if keys.match(key, certificate.public_key()):
            return Signer(key, certificate)
    shadow = work.shadow(transaction)
    if keys.match(shadow.key, certificate.public_key()):
        return Signer(shadow.key, certificate)
    identity = work.keystore.read()
    if identity is not None and keys.match(identity.key, certificate.public_key()):
        return Signer(identity.key, certificate)
    raise AbandonedError("the identity that signed the request was replaced by somebody else", _ANEW)
