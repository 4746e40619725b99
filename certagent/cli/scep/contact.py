"""What the commands of `certagent scep` share: contacting an authority, verifying it, sending it requests."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec.structs import replace

from certagent import certificate as facts
from certagent import keys, scep
from certagent.cli import streams
from certagent.cli.assemble import clock
from certagent.cli.scep import files
from certagent.errors import ConfigError, RejectedError
from certagent.policy import Lifetime
from certagent.scep import Algorithms, Client, MessageType, Reply, Signer
from certagent.text import printable
from certagent.trust.authorities import Contact
from certagent.trust.rules import Pins, believe
from certagent.wall_clock import may_say


def say(text: str, *, beside: str | None = "", lines: bool = False) -> None:
    """Print a line for people: to stdout, or to stderr if `beside`, the output file, is stdout itself.

    `lines`: the text has several lines, and is already printable.
    """
    stream = sys.stderr if beside == files.STANDARD else sys.stdout
    print(text if lines else printable(text), file=stream, flush=True)


def progress(line: str) -> None:
    """Print a line about progress to stderr; -q turns it off."""
    if not streams.hushed.get():
        warn(line)


def warn(line: str) -> None:
    """Print a line that everybody should see to stderr."""
    print(printable(line), file=sys.stderr, flush=True)


def client(arguments: argparse.Namespace) -> Client:
    """Raises ConfigError for a URL that is invalid or contains a password, or an unusable capture directory."""
    for word in ("url", "proxy"):
        if "@" in (getattr(arguments, word) or ""):
            raise ConfigError(f"--{word} contains a user or password that everybody can see", "give a URL without one")
    return Client(
        arguments.url,
        ca_identifier=arguments.ca_identifier,
        timeout=timedelta(seconds=arguments.timeout),
        proxy=arguments.proxy,
        witness=files.Capture(Path(arguments.capture)) if arguments.capture else None,
    )


def pins(arguments: argparse.Namespace) -> Pins:
    """What --fingerprint and --ca allow us to trust; perhaps nothing."""
    anchors = tuple(found for name in arguments.ca for found in files.certificates(name))
    return Pins(tuple(arguments.fingerprint), anchors, frozenset(arguments.accept))


def reach(arguments: argparse.Namespace) -> Contact:
    """GetCACert and GetCACaps of an authority that is trusted. Raises ConfigError, TransientError, TrustError."""
    if not (arguments.fingerprint or arguments.ca):
        raise ConfigError("no trusted CA is given", "give --fingerprint, or --ca with the CA's certificate")
    named, made = pins(arguments), client(arguments)
    offered = made.get_ca_certificates()
    believed = believe(offered, named, clock())
    if arguments.encryption_certificate:
        # The user vouches for it, as with a fingerprint.
        believed = replace(believed, recipient=files.certificate(arguments.encryption_certificate))
    return Contact(made, made.get_capabilities(), believed, offered)


def algorithms(arguments: argparse.Namespace, contact: Contact) -> Algorithms:
    """The best algorithms that both sides have, unless --cipher and --digest say otherwise."""
    best = contact.capabilities.algorithms()
    return Algorithms(arguments.cipher or best.cipher, arguments.digest or best.digest)


def ask(
    arguments: argparse.Namespace,
    contact: Contact,
    message_type: MessageType,
    content: bytes,
    *,
    transaction_id: str,
    signer: Signer,
) -> Reply:
    """One PKIOperation, request and reply, everything verified. Raises TransientError, TrustError."""
    nonce, now = scep.new_nonce(), clock()
    message = scep.encode_request(
        message_type,
        content,
        transaction_id=transaction_id,
        sender_nonce=nonce,
        signer=signer,
        recipient=contact.believed.recipient,
        algorithms=algorithms(arguments, contact),
        signing_time=now if may_say(now, Lifetime.of(signer.certificate)) else None,
    )
    return scep.decode_reply(
        contact.operate(message),
        transaction_id=transaction_id,
        sender_nonce=nonce,
        signers=contact.believed.signers,
        decrypter=signer,
        accept=arguments.accept,
        message_type=message_type,
    )


def refused(reply: scep.Rejected) -> RejectedError:
    """FAILURE, as an error to raise."""
    word = reply.fail_info.word if reply.fail_info is not None else "no reason given"
    hint = reply.fail_info.meaning if reply.fail_info is not None else "ask the CA's operator"
    return RejectedError(f"the CA refused: {word}{f' ({reply.text})' if reply.text else ''}", hint, word)


def signer(arguments: argparse.Namespace) -> Signer | None:
    """The pair of --sign-key and --sign-certificate; None without them. Raises ConfigError, KeystoreError."""
    if not (arguments.sign_key or arguments.sign_certificate):
        return None
    if not (arguments.sign_key and arguments.sign_certificate):
        raise ConfigError("--sign-key and --sign-certificate belong together", "give both, or neither")
    made = Signer(files.private_key(arguments.sign_key), files.certificate(arguments.sign_certificate))
    check_pair(made, "--sign-key", "--sign-certificate")
    return made


def check_pair(pair: Signer, key: str, certificate: str) -> None:
    """Check that the signer can decrypt the reply. Raises ConfigError."""
    if not isinstance(pair.key, rsa.RSAPrivateKey):
        raise ConfigError(f"the key of {key} is not RSA, so replies cannot be encrypted to it", "sign with an RSA key")
    if not keys.match(pair.key, pair.certificate.public_key()):
        raise ConfigError(f"{key} and {certificate} do not belong together", "give the key of that certificate")


def describe(certificate: x509.Certificate) -> tuple[str, ...]:
    """Two lines: the name and the validity; the fingerprint, for people to compare."""
    valid = f"{certificate.not_valid_before_utc:%F %T} to {certificate.not_valid_after_utc:%F %T} UTC"
    return (
        f"{facts.subject_text(certificate)}, serial {facts.serial_hex(certificate)}, valid {valid}",
        f"    {facts.fingerprint(certificate)}",
    )
