"""Where the CRL of each CA is to be had: as configured, or as the certificates say that it issued."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certagent.errors import TrustError
from certagent.trust import crl
from certagent.trust.proof import comes_from

# Of an authority with ten thousand keystores as many certificates are looked at for what they all say.
_LOOKS = 25


def ca_id(ca: x509.Certificate) -> str:
    """Of a CA by its name and key: one that was renewed with its key has one list."""
    key = ca.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(ca.subject.public_bytes() + key).hexdigest()[:32]


def points(
    cas: Sequence[x509.Certificate],
    certificates: Iterable[x509.Certificate],
    remembered: Mapping[str, tuple[str, ...]],
) -> dict[str, tuple[str, ...]]:
    """The addresses of each CA's list, by `ca_id`; CAs of which nothing says where are left out.

    `certificates`: of keystores, in use or staged; no more of them are read than there is need for.
    """
    found: dict[str, tuple[str, ...]] = {}
    wanted = {ca_id(ca) for ca in cas}
    for each in (*cas, *islice(certificates, _LOOKS)) if wanted else ():
        if each in cas and each.issuer == each.subject:
            continue
        issuer = next((ca for ca in cas if ca != each and comes_from(each, ca)), None)
        if issuer is None or ca_id(issuer) in found:
            continue
        try:
            uris = crl.distribution_points(each)
        except TrustError:
            continue
        if uris:
            found[ca_id(issuer)] = uris
    return {**{ca: uris for ca, uris in remembered.items() if ca in wanted and uris}, **found}
