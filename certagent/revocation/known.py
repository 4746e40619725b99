"""Whether a certificate is revoked, according to the lists we have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509

from certagent import certificate as facts
from certagent import durable
from certagent.errors import CertagentError
from certagent.revocation import sources
from certagent.state_directory import AuthorityDirectory
from certagent.trust import crl


def revoked_since(
    directory: Path, certificate: x509.Certificate, cas: Sequence[x509.Certificate], accept: frozenset[str]
) -> datetime | None:
    """Since when this certificate, of any keystore, is revoked, according to the list we have; None if it is not.

    `directory`: of its authority in the state directory; `cas`: those that are trusted now.
    """
    for ca in cas:
        if ca.subject != certificate.issuer:
            continue
        try:
            revocations = kept_list(directory, ca, accept)
        except (CertagentError, OSError):
            continue
        if revocations is not None and (found := crl.revoked_among(revocations, [certificate.serial_number])):
            return found[certificate.serial_number]
    return None


def kept_list(directory: Path, ca: x509.Certificate, accept: frozenset[str]) -> x509.CertificateRevocationList | None:
    """The list of this CA as last verified; None if there is none, or it no longer verifies. `directory`: of the
    authority in the state directory. Raises TrustError for a damaged one; OSError."""
    path = AuthorityDirectory(directory).crls / sources.ca_id(ca)
    try:
        with durable.open_own(path) as file:
            revocations = crl.read(file.read(crl.MAX_SIZE + 1), str(path))
    except FileNotFoundError:
        return None
    return revocations if facts.crl_issued_by(revocations, ca, accept) else None
