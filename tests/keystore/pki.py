"""A root, an intermediate, and identities under it; made once per session."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent import keys
from certagent.config.key_types import KeyType
from certagent.keys import PrivateKey
from certagent.keystore.base import Identity

_START = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)


def certify(
    name: str, key: PrivateKey, issuer: Identity | None, *, ca: bool = False, key_ids: bool = False
) -> x509.Certificate:
    """`key_ids`: of several issuers of one name, it says which one's it is."""
    subject = x509.Name.from_rfc4514_string(f"CN={name}")
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_START)
        .not_valid_after(_START + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    signer = issuer.key if issuer else key
    if key_ids:
        own, by = x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier
        builder = builder.add_extension(own.from_public_key(key.public_key()), critical=False)
        builder = builder.add_extension(by.from_issuer_public_key(signer.public_key()), critical=False)
    return builder.sign(signer, hashes.SHA256())


@dataclass(frozen=True)
class Pki:
    root: Identity
    intermediate: Identity
    old: Identity
    new: Identity
    rsa: Identity

    @property
    def trusted(self) -> tuple[x509.Certificate, ...]:
        return (self.root.certificate,)


@cache
def make_pki() -> Pki:
    def identity(
        name: str, issuer: Identity | None, *, ca: bool = False, key_type: KeyType = KeyType.EC_P256
    ) -> Identity:
        key = keys.generate(key_type)
        chain = (issuer.certificate, *issuer.chain) if issuer else ()
        return Identity(key, certify(name, key, issuer, ca=ca), chain)

    root = identity("root", None, ca=True)
    intermediate = identity("intermediate", root, ca=True)
    return Pki(
        root,
        intermediate,
        identity("web", intermediate),
        identity("web", intermediate),
        identity("web", intermediate, key_type=KeyType.RSA_2048),
    )
