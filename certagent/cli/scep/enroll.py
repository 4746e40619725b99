"""`certagent scep enroll`: one certificate, requested by hand; the first one, or a successor.

    trust → key → request → signer → send → poll while pending → compare the answer with the request → write

A run that ends while the request is pending (exit code 3) is continued by running the same command again: the
transaction ID is derived from the key, so the CA sees the same transaction.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from certagent import certificate as facts
from certagent import keys, lenient, scep
from certagent.cli.assemble import clock
from certagent.cli.scep import files
from certagent.cli.scep.contact import ask, check_pair, describe, progress, reach, refused, say, signer, warn
from certagent.config.key_types import KeyType
from certagent.config.parts import Secret
from certagent.errors import ConfigError, HttpError, TransientError
from certagent.hooks import read_secret
from certagent.keys import PrivateKey
from certagent.scep import FailInfo, MessageType, Reply, Signer
from certagent.trust.authorities import Contact
from certagent.trust.fitness import Asked, Terms, accept_certificate, lacks

Names = x509.SubjectAlternativeName | None


class Wanted(Struct, frozen=True):
    """What is requested, and with what."""

    csr: bytes
    key: bytes  # SubjectPublicKeyInfo
    subject: x509.Name
    names: Names
    transaction_id: str
    signer: Signer
    is_renewal: bool


def enroll(arguments: argparse.Namespace) -> int:
    """Raises what its steps raise; writes nothing to --out but an accepted certificate."""
    _check_usage(arguments)
    old = signer(arguments)
    request = files.request(arguments.request) if arguments.request else None
    subject, names = _subject_and_names(arguments, request, old)
    contact = reach(arguments)  # trust first: without it, make no key and read no secret
    key = _key(arguments, request)
    csr = (
        request.public_bytes(Encoding.DER) if request else _make_request(arguments, contact, key, (subject, names), old)
    )
    public = keys.public_bytes(key.public_key())
    # If the key is kept, its hash would identify the transaction that made the old certificate.
    same_key = old is not None and keys.match(key, old.certificate.public_key())
    transaction_id = scep.random_transaction_id() if same_key else scep.new_transaction_id(key.public_key())
    by = old or _self_signed(arguments, key, subject)
    wanted = Wanted(csr, public, subject, names, transaction_id, by, old is not None)
    try:
        reply = _obtain(arguments, contact, wanted)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the CA may have the request; run the same command again to go on with it") from None
    if isinstance(reply, scep.Rejected):
        raise refused(reply)
    if isinstance(reply, scep.Pending):
        warn("still pending: the CA has not decided yet; run the same command again later")
        return 3
    asked = Asked(public, subject, facts.alternative_names(names), old.certificate if old else None)
    terms = Terms(accept_names=arguments.accept_name, may_lose=("san",))
    mine, _ = accept_certificate(reply.certificates, asked, contact.believed, arguments.accept, clock(), terms=terms)
    if missing := [each.word for each in lacks(mine, asked)]:
        warn(f"the certificate lacks {', '.join(missing)}, which was requested")
    files.write(arguments.out, files.encoded([mine], der=arguments.der))
    for line in ("issued:", *describe(mine)):
        say(line, beside=arguments.out)
    return 0


def _check_usage(arguments: argparse.Namespace) -> None:
    """Checks that argparse cannot do. Raises ConfigError."""
    if arguments.request and (arguments.subject or arguments.san or arguments.challenge_file):
        raise ConfigError(
            "--request already contains the subject, names and challenge password",
            "drop --subject, --san and --challenge-file, or --request",
        )
    if arguments.resume and not (arguments.self_signed or arguments.sign_key):
        raise ConfigError(
            "--resume needs the certificate that signed the earlier request",
            "give --self-signed, or --sign-key and --sign-certificate",
        )
    for word in ("key", "sign_key"):
        name = getattr(arguments, word)
        if name and arguments.out != files.STANDARD and Path(name).resolve() == Path(arguments.out).resolve():
            raise ConfigError(f"--out would overwrite the key in {name}", "write the certificate to another file")


def _subject_and_names(
    arguments: argparse.Namespace, request: x509.CertificateSigningRequest | None, old: Signer | None
) -> tuple[x509.Name, Names]:
    """From the request, from --subject and --san, or from the certificate to renew."""
    if request is not None:
        try:
            return request.subject, request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return request.subject, None
    if old is None and not (arguments.subject or arguments.san):
        raise ConfigError(
            "there is nothing to request", "give --request or --subject; a renewal takes them from --sign-certificate"
        )
    if arguments.subject:
        subject = facts.parse_subject(arguments.subject)
    else:
        subject = lenient.proper(old.certificate.subject) if old is not None else x509.Name([])
    if arguments.san or arguments.subject or old is None:
        return subject, facts.general_names(arguments.san)
    return subject, facts.san_extension(old.certificate)


def _key(arguments: argparse.Namespace, request: x509.CertificateSigningRequest | None) -> PrivateKey:
    """The key in the file; if there is none yet, a new one, written to disk before it is used."""
    path = Path(arguments.key)
    if arguments.key == files.STANDARD or path.exists() or path.is_symlink():
        key = files.private_key(arguments.key)
        if request is not None and not keys.match(key, request.public_key()):
            raise ConfigError("--key is not the key of --request", "give the key the request was made with")
        return key
    if request is not None:
        raise ConfigError(f"{arguments.key}: no such file", "give the key the request was made with")
    key = keys.generate(KeyType(arguments.key_type))
    files.write_key(arguments.key, key)
    progress(f"made a new {arguments.key_type} key: {arguments.key}")
    return key


def _make_request(
    arguments: argparse.Namespace,
    contact: Contact,
    key: PrivateKey,
    wanted: tuple[x509.Name, Names],
    old: Signer | None,
) -> bytes:
    subject, names = wanted
    challenge = None
    if arguments.challenge_file:
        try:
            challenge = read_secret(Secret(file=arguments.challenge_file), may_be_open=True).decode()
        except UnicodeDecodeError:
            raise ConfigError("the challenge in --challenge-file is not text", "use a password in UTF-8") from None
    kept = scep.kept_extensions(old.certificate) if old is not None else ()
    digest = contact.capabilities.algorithms().digest
    return scep.build_csr(key, subject, san=names, challenge=challenge, extensions=kept, digest=digest)


def _self_signed(arguments: argparse.Namespace, key: PrivateKey, subject: x509.Name) -> Signer:
    """The signer of a first request, and of all its polls: the key with a self-signed certificate.

    A reply can only be encrypted to an RSA key, so one made for this run replaces another kind.
    """
    if not isinstance(key, rsa.RSAPrivateKey):
        if arguments.self_signed:
            raise ConfigError(
                "--self-signed needs an RSA key", "drop it: for other keys, certagent makes an RSA transport key"
            )
        key = keys.generate(KeyType.RSA_2048)
    name = arguments.self_signed
    if name and Path(name).exists():
        made = Signer(key, files.certificate(name))
        check_pair(made, "--key", "--self-signed")
        return made
    if arguments.resume:
        raise ConfigError(f"{name}: no such file", "the earlier request was made with another one, or not at all")
    made = Signer(key, scep.self_signed(key, subject, clock()))
    if name:
        files.write(name, files.encoded([made.certificate], der=False))
    return made


def _obtain(arguments: argparse.Namespace, contact: Contact, wanted: Wanted) -> Reply:
    """Send the request, unless it is resumed, and poll; the last answer."""
    reply: Reply = scep.Pending() if arguments.resume else _send(arguments, contact, wanted)
    polls = 0
    while isinstance(reply, scep.Pending) and polls < arguments.poll_count:
        if polls or not arguments.resume:
            progress(f"pending: the CA has not decided yet; asking again in {arguments.poll_interval:g} s")
            time.sleep(arguments.poll_interval)
        polls += 1
        try:
            reply = _poll(arguments, contact, wanted)
        except TransientError as error:
            if polls == arguments.poll_count:
                raise
            progress(f"poll {polls} failed: {error}")
    return reply


def _send(arguments: argparse.Namespace, contact: Contact, wanted: Wanted) -> Reply:
    """Send a PKCSReq, or a RenewalReq if the CA supports it; if refused, once more as PKCSReq (EJBCA, OpenXPKI)."""

    def send(message_type: MessageType) -> Reply:
        return ask(
            arguments, contact, message_type, wanted.csr, transaction_id=wanted.transaction_id, signer=wanted.signer
        )

    if wanted.is_renewal and contact.capabilities.renewal:
        progress(f"asking {arguments.url} for a successor")
        try:
            reply = send(MessageType.RENEWAL_REQ)
        except HttpError as error:
            if error.status not in (400, 405, 501):
                raise
            refusal: Exception = error
        else:
            if not isinstance(reply, scep.Rejected) or reply.fail_info not in _MAY_MEAN_THE_TYPE:
                return reply
            refusal = refused(reply)
        progress(f"{refusal}; trying once more with PKCSReq")
    else:
        progress(f"asking {arguments.url} for a certificate")
    return send(MessageType.PKCS_REQ)


_MAY_MEAN_THE_TYPE = (FailInfo.BAD_REQUEST, FailInfo.BAD_MESSAGE_CHECK)


def _poll(arguments: argparse.Namespace, contact: Contact, wanted: Wanted) -> Reply:
    """CertPoll, RFC 8894 §3.3.3: the same transaction, signed as the request was."""
    return ask(
        arguments,
        contact,
        MessageType.CERT_POLL,
        scep.issuer_and_subject(contact.believed.issuer.subject, wanted.subject),
        transaction_id=wanted.transaction_id,
        signer=wanted.signer,
    )
