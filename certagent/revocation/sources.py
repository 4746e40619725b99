"""Where to get the CRL of each CA: as configured, or as the certificates that it issued say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certagent.errors import TrustError
from certagent.trust import crl
from certagent.trust.proof import comes_from

# With ten thousand keystores, at most this many certificates are read; they should all say the same.
_LOOKS = 25


def ca_id(ca: x509.Certificate) -> str:
    """Identifies a CA by its name and key: a CA that was renewed with the same key has one list."""
    key = ca.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(ca.subject.public_bytes() + key).hexdigest()[:32]


def points(
    cas: Sequence[x509.Certificate],
    certificates: Iterable[x509.Certificate],
    remembered: Mapping[str, tuple[str, ...]],
) -> dict[str, tuple[str, ...]]:
    """The addresses of each CA's list, by `ca_id`; leaves out CAs whose address is not known.

    `certificates`: of keystores, in use or staged; no more of them are read than necessary.
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
