"""`certagent scep getcert` and `getcrl`: certificates that a CA issued earlier, and what it revoked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certagent import certificate as facts
from certagent import scep
from certagent.cli.assemble import clock
from certagent.cli.scep import files
from certagent.cli.scep.contact import ask, describe, pins, progress, reach, refused, say, signer
from certagent.errors import CertagentError, ConfigError, TransientError, TrustError
from certagent.scep import Issued, MessageType, Signer
from certagent.trust import crl
from certagent.trust.authorities import Contact
from certagent.trust.proof import check_fit, comes_from


def getcert(arguments: argparse.Namespace) -> int:
    """GetCert, RFC 8894 §3.3.4: a certificate by its serial number."""
    serial = _serial(arguments, None)
    contact = reach(arguments)
    reply = _query(arguments, contact, MessageType.GET_CERT, contact.believed.issuer.subject, serial)
    found = [each for each in reply.certificates if facts.is_readable(each) and each.serial_number == serial]
    mine = next((each for each in found if any(comes_from(each, ca) for ca in contact.believed.chain)), None)
    if mine is None:
        raise TrustError(
            f"the CA's answer holds no certificate of its own with the serial number {serial:X}", "nothing was written"
        )
    check_fit(mine, arguments.accept)
    files.write(arguments.out, files.encoded([mine], der=arguments.der))
    for line in describe(mine):
        say(line, beside=arguments.out)
    return 0


def getcrl(arguments: argparse.Namespace) -> int:
    """GetCRL, RFC 8894 §3.3.4; or with --from-certificate the list at the certificate's distribution points."""
    subject = files.certificate(arguments.certificate) if arguments.certificate else None
    now = clock()
    if arguments.from_certificate:
        if subject is None:
            raise ConfigError("--from-certificate needs a certificate", "give --certificate")
        found, issuer = _from_points(arguments, subject, now)
        serial: int | None = subject.serial_number
    else:
        if not arguments.url:
            raise ConfigError("no address is given", "give --url; or --certificate and --from-certificate")
        serial = _serial(arguments, subject)
        contact = reach(arguments)
        name = subject.issuer if subject is not None else contact.believed.issuer.subject
        reply = _query(arguments, contact, MessageType.GET_CRL, name, serial)
        found, issuer = _believed(reply.revocations, contact.believed.chain, arguments, now)
    files.write(arguments.out, found.public_bytes(Encoding.DER if arguments.der else Encoding.PEM))
    for line in _description(found, issuer, serial, now):
        say(line, beside=arguments.out)
    return 0


def _serial(arguments: argparse.Namespace, certificate: x509.Certificate | None) -> int:
    """--serial, or the serial number of --certificate, or of the certificate that signs."""
    if arguments.serial is not None:
        return int(arguments.serial)
    if certificate is None and arguments.certificate:
        certificate = files.certificate(arguments.certificate)
    if certificate is None and arguments.sign_certificate:
        certificate = files.certificate(arguments.sign_certificate)
    if certificate is None:
        raise ConfigError("no certificate is named", "give --serial, or --certificate")
    return certificate.serial_number


def _query(
    arguments: argparse.Namespace, contact: Contact, message_type: MessageType, issuer: x509.Name, serial: int
) -> Issued:
    by = _asker(arguments)
    progress(f"asking {arguments.url}")
    content = scep.issuer_and_serial(issuer, serial)
    reply = ask(arguments, contact, message_type, content, transaction_id=scep.random_transaction_id(), signer=by)
    if isinstance(reply, scep.Rejected):
        raise refused(reply)
    if isinstance(reply, scep.Pending):
        raise TransientError("the CA answers a query with PENDING", "only requests can be pending; check the CA's log")
    return reply


def _asker(arguments: argparse.Namespace) -> Signer:
    by = signer(arguments)
    if by is None:
        raise ConfigError(
            "a query must be signed with a certificate that the CA knows", "give --sign-key and --sign-certificate"
        )
    return by


def _from_points(
    arguments: argparse.Namespace, subject: x509.Certificate, now: datetime
) -> tuple[x509.CertificateRevocationList, x509.Certificate]:
    """The first valid list at the certificate's distribution points. If there is none, raises the last one's error."""
    issuers = [
        each
        for each in _pool(arguments)
        if comes_from(subject, each) or (each == subject and facts.is_self_signed(each))
    ]
    if not issuers:
        raise TrustError(
            f"{arguments.certificate} is not issued by the pinned CA", "give --ca with the certificate of its issuer"
        )
    uris = crl.distribution_points(subject)
    if not uris:
        raise ConfigError(
            f"{arguments.certificate} does not name a distribution point", "ask the CA: GetCRL, with --url"
        )
    failures: list[CertagentError] = []
    for uri in uris:
        progress(f"fetching {uri}")
        try:
            found = crl.fetch(uri, timeout=timedelta(seconds=arguments.timeout), proxy=arguments.proxy)
            return _believed([found], issuers, arguments, now)
        except CertagentError as error:
            failures.append(error)
            if uri != uris[-1]:
                progress(str(error))
    raise failures[-1]


def _pool(arguments: argparse.Namespace) -> Sequence[x509.Certificate]:
    """The trusted CA certificates: those of --ca, or with --url what the authority proves."""
    if arguments.url:
        return reach(arguments).believed.chain
    anchors = pins(arguments).anchors
    if not anchors:
        raise ConfigError("no trusted CA is given", "give --ca with the CA's certificate")
    return anchors


def _believed(
    found: Sequence[x509.CertificateRevocationList],
    issuers: Sequence[x509.Certificate],
    arguments: argparse.Namespace,
    now: datetime,
) -> tuple[x509.CertificateRevocationList, x509.Certificate]:
    """The newest of the lists that one of the issuers signed."""
    newest = max(found, key=lambda each: each.last_update_utc)
    return newest, crl.check(newest, issuers, arguments.accept, now)


def _description(
    found: x509.CertificateRevocationList, issuer: x509.Certificate, serial: int | None, now: datetime
) -> list[str]:
    lines = [f"CRL of {facts.subject_text(issuer)}, signature verified, {len(found)} revoked"]
    until = found.next_update_utc
    fresh = f"of {found.last_update_utc:%F %T} UTC"
    if until is None:
        lines.append(f"    {fresh}; it does not say when the next one is due")
    elif crl.is_stale(found, now):
        lines.append(f"    STALE: {fresh}, and the next one was due {until:%F %T} UTC: ask the CA's operator")
    else:
        lines.append(f"    {fresh}, fresh until {until:%F %T} UTC")
    if serial is not None:
        lines.append(f"    serial {serial:X}: {crl.verdict(found, serial)}")
    return lines
