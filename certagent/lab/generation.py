"""The lab CA's own keys and certificates: read from its directory, or made there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec import Struct

from certagent.config.key_types import KeyType
from certagent.lab import issuing
from certagent.lab.store import Store
from certagent.scep import Signer


class Settings(Struct, frozen=True):
    """How a lab behaves. If `challenge` is None, the lab uses the one in its directory, made at the first start.

    `ca_lifetime`, `ca_key`, `intermediate` and `ra` only matter when the CA is made; `ra` may also be added to a CA
    made without one. If `ca_key` is not RSA there is always an RA, since requests must be encrypted to an RSA key.
    `accept`: the weak algorithms (`sha1`, `3des`, `des`) that requests may use; the replies use them too.
    `pss`: sign certificates and CRLs with RSASSA-PSS. `rollover`: this long before its end, the CA's next generation
    is made and announced, in the `flat_next_ca` form of the drafts or nested as in RFC 8894; it begins `overlap`
    before that end. `crl_lifetime`: until a CRL's nextUpdate. `makers`: CAs whose certificates may sign first requests.
    """

    lifetime: timedelta = timedelta(days=90)
    ca_lifetime: timedelta = timedelta(days=3650)
    ca_key: KeyType = KeyType.RSA_2048
    pss: bool = False
    intermediate: bool = False
    ra: bool = False
    manual: bool = False
    accept: frozenset[str] = frozenset()
    rollover: timedelta | None = None
    overlap: timedelta = timedelta(0)
    flat_next_ca: bool = False
    crl_lifetime: timedelta = timedelta(days=1)
    makers: tuple[x509.Certificate, ...] = ()
    challenge: str | None = None


class Generation(Struct, frozen=True):
    """A CA with its RA, if it has one; otherwise the first three are the CA itself.

    `issuer` signs certificates and CRLs, `signer` signs replies, and requests are enveloped to `recipient`. `above`:
    the root, if the issuer is an intermediate CA. The next CA of a rollover is another generation.
    """

    issuer: Signer
    signer: Signer
    recipient: Signer
    above: tuple[x509.Certificate, ...] = ()

    @property
    def has_ra(self) -> bool:
        return self.recipient is not self.issuer

    @property
    def crl_name(self) -> str:
        """The name of its CRL: each generation has one of its own."""
        key = self.issuer.certificate.public_key()
        return x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()[:16]

    @property
    def begins(self) -> datetime:
        return self.issuer.certificate.not_valid_before_utc

    @property
    def ends(self) -> datetime:
        return self.issuer.certificate.not_valid_after_utc

    @property
    def certificates(self) -> Sequence[x509.Certificate]:
        """The certificates the CA publishes: its own first, because some clients take only the first as the issuer."""
        ra = [each.certificate for each in (self.signer, self.recipient) if each is not self.issuer]
        return [self.issuer.certificate, *ra, *self.above]


def open_generation(store: Store, settings: Settings, now: datetime, *, begins: datetime | None = None) -> Generation:
    """Read the keys and certificates in `store`; make missing ones, valid from `begins` or a little before `now`."""
    root = _root(store, settings, now, begins)
    made_with_ra = settings.ra or settings.ca_key.family != "rsa" or store.has("ra-signing")
    issuer = store.pair(
        "ca",
        lambda key: issuing.ca_certificate(
            key, now, settings.ca_lifetime, begins=begins, recipient=not made_with_ra, issuer=root, pss=settings.pss
        ),
        settings.ca_key,
    )
    above = (root.certificate,) if root else ()
    has_ra = settings.ra or store.has("ra-signing") or not isinstance(issuer.key, rsa.RSAPrivateKey)
    if not has_ra:
        return Generation(issuer, issuer, issuer, above)

    def ra(role: str, use: str) -> Signer:
        return store.pair(
            role, lambda key: issuing.ra_certificate(key.public_key(), issuer, now, use, pss=settings.pss)
        )

    signer = ra("ra-signing", "digital_signature")
    return Generation(issuer, signer, ra("ra-encryption", "key_encipherment"), above)


def _root(store: Store, settings: Settings, now: datetime, begins: datetime | None) -> Signer | None:
    """The root above the CA, if there is one or the settings ask for one."""
    if not (store.has("root") or (settings.intermediate and not store.has("ca"))):
        return None
    return store.pair(
        "root",
        lambda key: issuing.ca_certificate(
            key, now, 2 * settings.ca_lifetime, begins=begins, recipient=False, root=True, pss=settings.pss
        ),
        settings.ca_key,
    )
