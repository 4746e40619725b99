"""A lab CA that dates its certificates as a test says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent.lab import LabCA
from tests.renewal.site import Site

Dates = Callable[[datetime], tuple[datetime, datetime]]
"""The moment of issue → notBefore and notAfter."""


class DatingCA(LabCA):
    """Its certificates are valid as `dates` says at the moment of issue."""

    dates: Dates

    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        made, (begins, ends) = super().issue(csr), self.dates(self.clock().replace(microsecond=0))
        builder = x509.CertificateBuilder(made.issuer, made.subject, made.public_key(), made.serial_number)
        builder = builder.not_valid_before(begins).not_valid_after(ends)
        for each in made.extensions:
            builder = builder.add_extension(each.value, each.critical)
        return builder.sign(self.generation.issuer.key, hashes.SHA256())


def date_by(site: Site, dates: Dates) -> None:
    """The CA of this site, from now on."""
    assert isinstance(site.ca, DatingCA)
    site.ca.dates = dates
