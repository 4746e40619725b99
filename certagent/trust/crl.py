"""Certificate revocation lists (RFC 5280 §5): where a certificate says they are, fetching one, whether to trust it.

A CRL is proven by its signature, so it does not matter how it came: GetCRL, HTTP, LDAP. Only this module uses
`ldap3`, which is the extra `ldap`, and imports it only for an ldap: or ldaps: URI.
"""

from __future__ import annotations

import binascii
import math
import threading
import warnings
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import unquote, urlsplit

from cryptography import x509

from certagent import certificate as facts
from certagent import scep  # its client is only loaded for a fetch
from certagent.errors import CertagentError, ConfigError, TransientError, TrustError
from certagent.scep.asn1 import load_revocations
from certagent.text import one_line
from certagent.trust.rules import SKEW

MAX_SIZE = 64 * 1024 * 1024  # bytes; the largest public CRLs have about 50 MiB
Scope = Literal["BASE", "LEVEL", "SUBTREE"]  # the words that ldap3 uses
_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
_MAX_LISTS = 20  # read from one file: an authority has only a few CAs
_SCHEMES = ("http", "https", "ldap", "ldaps")

# RFC 4511 §4.2.2, RFC 2252: the attribute for a CA's list.
_ATTRIBUTE = "certificateRevocationList"


def distribution_points(certificate: x509.Certificate) -> tuple[str, ...]:
    """The HTTP and LDAP URIs where the issuer publishes the CRL (RFC 5280 §4.2.1.13), in their order.

    Names that are not URIs, and URIs of other kinds, are left out. TrustError if the extensions cannot be read.
    """
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return ()
    except facts.UNREADABLE:
        raise TrustError("the certificate's extensions cannot be read", "ask the CA's operator") from None
    names = [name for point in points for name in point.full_name or ()]
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    return tuple(dict.fromkeys(uri for uri in uris if _scheme(uri) in _SCHEMES))


def _scheme(uri: str) -> str:
    return uri.partition(":")[0].lower()


def fetch(uri: str, *, timeout: timedelta, proxy: str | None = None) -> x509.CertificateRevocationList:
    """The CRL at an http:, https:, ldap: or ldaps: URI, not yet trusted. `timeout` is for the whole fetch.

    Raises TransientError; ConfigError for a URI of another kind, or if LDAP needs the extra that is not installed;
    TrustError if the answer is not a CRL.
    """
    if _scheme(uri) in ("ldap", "ldaps"):
        return read(_from_directory(uri, timeout), uri)
    if _scheme(uri) not in ("http", "https"):
        raise ConfigError(f"{uri} cannot be fetched", "only http:, https:, ldap: and ldaps: can be fetched")
    transport = scep.Transport(uri, timeout=timeout, proxy=proxy, max_size=MAX_SIZE)
    try:
        return read(transport.download(), uri)
    except TransientError as error:
        failure = TransientError(f"{uri}: {error}", "is the CRL published there, and is the server up?")
        failure.wait = error.wait
        raise failure from None


def read(data: bytes, where: str) -> x509.CertificateRevocationList:
    """A DER or PEM CRL; `where` names it in the TrustError for anything else. Its entries are not read."""
    try:
        found = load_revocations(_der(data) if data.lstrip().startswith(b"-----BEGIN ") else data)
    except facts.UNREADABLE:
        raise TrustError(
            f"what {where} serves is not a CRL", "certagent reads DER and PEM; ask the CA's operator"
        ) from None
    return found


def read_all(content: bytes) -> list[x509.CertificateRevocationList]:
    """The CRLs in a file, DER or PEM; those that cannot be read are left out. None of them is trusted yet."""
    parts = content.split(_BEGIN)[1 : _MAX_LISTS + 1]
    found = []
    for part in [_BEGIN + each for each in parts] or [content]:
        try:
            found.append(read(part, "a file"))
        except TrustError:
            continue
    return found


def is_one(content: bytes) -> bool:
    """Whether this is a CRL, DER or PEM."""
    try:
        read(content, "a file")
    except TrustError:
        return False
    return True


def _der(pem: bytes) -> bytes:
    """The first CRL in PEM text. Raises ValueError."""
    return binascii.a2b_base64(pem[pem.index(_BEGIN) + len(_BEGIN) : pem.index(_END)])


def check(
    revocations: x509.CertificateRevocationList,
    issuers: Sequence[x509.Certificate],
    accept: Collection[str],
    now: datetime,
) -> x509.Certificate:
    """The one of the trusted `issuers` that signed the list, or TrustError.

    Refuses a list from the future, and a weak digest that `accept` does not name. A list past its nextUpdate is
    accepted as the CA's: `is_stale` reports it.
    """
    signer = next((each for each in issuers if facts.crl_issued_by(revocations, each, accept)), None)
    if signer is None:
        raise TrustError(
            f"the CRL of {facts.name_text(revocations.issuer)!r} is not signed by the pinned CA",
            "it was not used; was the CA's certificate replaced?",
        )
    if revocations.last_update_utc > now + SKEW:
        raise TrustError(
            f"the CRL is dated {revocations.last_update_utc:%F %T} UTC, in the future", "is the clock right?"
        )
    return signer


def is_stale(revocations: x509.CertificateRevocationList, now: datetime) -> bool:
    """Whether its nextUpdate has passed: a newer list exists, or should exist."""
    return revocations.next_update_utc is not None and revocations.next_update_utc <= now


_KNOWN_CRITICAL = frozenset({x509.CRLNumber.oid, x509.AuthorityKeyIdentifier.oid, x509.IssuingDistributionPoint.oid})


def check_whole(revocations: x509.CertificateRevocationList) -> None:
    """Check that consumers can use this list alone. Raises TrustError for what is not supported: delta CRLs, indirect
    ones, those for some reasons only, unknown critical extensions (RFC 5280 §5.2), and what cannot be read.

    A list that covers only part of its CA's certificates (users', CAs', those of one distribution point) passes.
    """
    try:
        extensions = list(revocations.extensions)
        for entry in revocations:
            entry.serial_number, entry.revocation_date_utc  # noqa: B018 -- the library parses each on access
    except facts.UNREADABLE:
        raise TrustError("a part of the CRL cannot be read", "ask the CA's operator to publish a new one") from None
    hint = "certagent handles plain, complete CRLs only; set `crl_url` to where the CA publishes one"
    for extension in extensions:
        point = extension.value
        if extension.oid == x509.DeltaCRLIndicator.oid:
            raise TrustError("the CRL is a delta CRL, useless without its base", hint)
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            name = extension.oid.dotted_string
            raise TrustError(f"the CRL has an unknown critical extension, {name}", hint)
        if isinstance(point, x509.IssuingDistributionPoint):
            if point.indirect_crl:
                raise TrustError("the CRL is an indirect one: it covers other CAs' certificates too", hint)
            if point.only_some_reasons or point.only_contains_attribute_certs:
                raise TrustError("the CRL does not cover all reasons, or only attribute certificates", hint)


def number(revocations: x509.CertificateRevocationList) -> int | None:
    """Its CRLNumber (RFC 5280 §5.2.3); None if it has none."""
    try:
        return revocations.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def follows(found: x509.CertificateRevocationList, kept: x509.CertificateRevocationList) -> bool:
    """Whether `found` is newer than `kept`, both of one CA; False if they are the same issue.

    Raises TrustError if it is older: neither number nor thisUpdate ever go back.
    """
    numbers = (number(kept), number(found))
    back = numbers[0] is not None and numbers[1] is not None and numbers[1] < numbers[0]
    if back or found.last_update_utc < kept.last_update_utc:
        raise TrustError(f"{_issue(found)} is older than the one we have, {_issue(kept)}: it was not used")
    return (numbers[1], found.last_update_utc, found.next_update_utc) != (
        numbers[0],
        kept.last_update_utc,
        kept.next_update_utc,
    )


def _issue(revocations: x509.CertificateRevocationList) -> str:
    counted = number(revocations)
    return f"the CRL {'' if counted is None else f'number {counted} '}of {revocations.last_update_utc:%F %T} UTC"


def revoked_among(revocations: x509.CertificateRevocationList, serials: Collection[int]) -> dict[int, datetime]:
    """Which of these serial numbers the list has, and since when. One pass: a list may have 100,000 entries."""
    wanted = frozenset(serials)
    if not wanted:
        return {}
    return {each.serial_number: each.revocation_date_utc for each in revocations if each.serial_number in wanted}


def verdict(revocations: x509.CertificateRevocationList, serial: int) -> str:
    """What a trusted list says about a certificate of its issuer, in words."""
    entry = revocations.get_revoked_certificate_by_serial_number(serial)
    if entry is not None:
        try:
            reason = f", {entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value}"
        except (x509.ExtensionNotFound, *facts.UNREADABLE):
            reason = ""
        return f"revoked on {entry.revocation_date_utc:%F %T} UTC{reason}"
    partly = [each for each in revocations.extensions if each.critical and _limits(each)]
    if partly:
        return "not on the list, but the list covers only some of the CA's certificates, so this proves nothing"
    return "not revoked"


def _limits(extension: x509.Extension[x509.ExtensionType]) -> bool:
    """Whether a critical extension means that the list does not cover everything its issuer revoked."""
    point = extension.value
    if isinstance(point, x509.IssuingDistributionPoint):
        return bool(
            point.only_contains_attribute_certs
            or point.only_contains_ca_certs
            or point.only_contains_user_certs
            or point.only_some_reasons
            or point.indirect_crl
            or point.full_name  # perhaps one of several lists
            or point.relative_name
        )
    return extension.oid != x509.CRLNumber.oid


# ── LDAP ──────────────────────────────────────────────────────────────────────────────────────────


def _from_directory(uri: str, timeout: timedelta) -> bytes:
    """The bytes of the attribute that an LDAP URL (RFC 4516) names."""
    try:
        with warnings.catch_warnings():
            # ldap3 uses names that its pyasn1 has deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            import ldap3  # noqa: F401, PLC0415 -- an extra
    except ImportError:
        raise ConfigError(f"{uri} needs LDAP, which is not installed", "pip install 'certagent[ldap]'") from None
    found: list[bytes | CertagentError] = []

    def search() -> None:
        try:
            found.append(_search(uri, timeout))
        except CertagentError as error:
            found.append(error)
        except Exception as error:  # noqa: BLE001 -- ldap3 raises anything for what a directory may send
            why = one_line(str(error)) or type(error).__name__
            found.append(
                TransientError(f"{uri}: the directory cannot be asked: {why}", "is it up, and does the network work?")
            )

    # As in the transport: with a time limit per read, a slow server could hold us for ever.
    thread = threading.Thread(target=search, name="crl-ldap", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise TransientError(f"{uri}: it cannot be asked: {error}", "the host has run out of processes") from None
    thread.join(timeout.total_seconds() + 0.5)
    if not found:
        raise TransientError(f"{uri}: no answer within {timeout.total_seconds():g} seconds", "is the directory up?")
    if isinstance(found[0], CertagentError):
        raise found[0]
    return found[0]


def _search(uri: str, timeout: timedelta) -> bytes:
    import ldap3  # noqa: PLC0415 -- as above

    host, port, name, attribute, scope, wanted = _parts(uri)
    seconds = math.ceil(timeout.total_seconds())  # it only accepts whole seconds
    # ldaps: has no CA to check the server with, and needs none: the list's signature proves it.
    server = ldap3.Server(
        host, port=port, use_ssl=_scheme(uri) == "ldaps", get_info=ldap3.NONE, connect_timeout=seconds
    )
    connection = ldap3.Connection(server, read_only=True, receive_timeout=seconds, auto_referrals=False)
    try:
        if not connection.bind():
            raise TransientError(f"{uri}: the directory requires a login", "certagent reads CRLs only without a login")
        connection.search(name, wanted, scope, attributes=[attribute], size_limit=1)
        for entry in connection.response or ():
            for values in entry.get("raw_attributes", {}).values():
                if values:
                    return bytes(values[0])
    finally:
        if connection.socket is not None:  # ldap3 does not close it after an error
            connection.socket.close()
    raise TransientError(f"{uri}: the directory does not have this CRL", "is it published there? Ask the CA's operator")


def _parts(uri: str) -> tuple[str, int, str, str, Scope, str]:
    """Host, port, entry, attribute, scope, filter. Raises ConfigError."""
    try:
        parts = urlsplit(uri)
        port = parts.port or (636 if _scheme(uri) == "ldaps" else 389)
    except ValueError:
        raise ConfigError(f"{uri} is not an LDAP address", "ask the CA's operator") from None
    if not parts.hostname:
        # Active Directory writes ldap:///CN=…, meaning any domain controller.
        raise ConfigError(f"{uri} does not name a server", "fetch the CRL with GetCRL, or over HTTP")
    attribute, scope, wanted, *_ = [*map(unquote, parts.query.split("?")), "", "", ""]
    scopes: dict[str, Scope] = {"one": "LEVEL", "sub": "SUBTREE"}
    name = unquote(parts.path.removeprefix("/"))
    return (
        parts.hostname,
        port,
        name,
        attribute or f"{_ATTRIBUTE};binary",
        scopes.get(scope.lower(), "BASE"),
        _filter(wanted),
    )


def _filter(text: str) -> str:
    """ldap3 needs the parentheses that RFC 4516 allows to leave out (Microsoft's CAs do)."""
    if not text:
        return "(objectClass=*)"
    return text if text.startswith("(") else f"({text})"
