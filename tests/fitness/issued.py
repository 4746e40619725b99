"""Certificates that a CA might issue for our key: an honest one, and one for each defect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from asn1crypto import keys as asn1_keys
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from certagent.keys import PrivateKey, PublicKey, public_bytes
from certagent.scep import asn1
from tests.unit.pki import TLS, Party, _usage, key, remade

DAY = timedelta(days=1)
NAME = "CN=web.example.net,O=Example"
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
_RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")


@dataclass(frozen=True)
class Leaf:
    """What the CA puts into a certificate. `usage`, `purposes` None: without the extension."""

    name: str = NAME
    names: Sequence[x509.GeneralName] = (x509.DNSName("web.example.net"), x509.DNSName("www.example.net"))
    usage: Sequence[str] | None = ("digital_signature", "key_encipherment")
    purposes: Sequence[x509.ObjectIdentifier] | None = TLS
    ca: bool | None = False
    more: Sequence[tuple[x509.ExtensionType, bool]] = ()
    start: timedelta = -DAY
    life: timedelta = 90 * DAY

    def issue(self, issuer: Party, public: PublicKey, begins: datetime) -> x509.Certificate:
        subject = x509.Name.from_rfc4514_string(self.name)
        return _built(issuer, subject, public, (begins + self.start, begins + self.life), self._extensions())

    def _extensions(self) -> list[tuple[x509.ExtensionType, bool]]:
        found: list[tuple[x509.ExtensionType, bool]] = list(self.more)
        if self.ca is not None:
            found.append((x509.BasicConstraints(self.ca, None), True))
        if self.usage is not None:
            found.append((_usage(tuple(self.usage)), True))
        if self.purposes is not None:
            found.append((x509.ExtendedKeyUsage(self.purposes), False))
        if self.names:
            found.append((x509.SubjectAlternativeName(self.names), not self.name))
        return found


def _built(
    issuer: Party,
    subject: x509.Name,
    public: PublicKey,
    life: tuple[datetime, datetime],
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    above = issuer.certificate.not_valid_before_utc
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(life[0], above))
        .not_valid_after(life[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer.key, hashes.SHA256())


@cache
def _weak_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


def below(
    issuer: Party,
    begins: datetime,
    *more: tuple[x509.ExtensionType, bool],
    own: PrivateKey | None = None,
    usage: Sequence[str] = ("key_cert_sign",),
) -> Party:
    """A CA below another one."""
    made = own or key("intermediate")
    extensions = [(x509.BasicConstraints(True, None), True), (_usage(tuple(usage)), True), *more]
    subject = x509.Name.from_rfc4514_string("CN=intermediate")
    return Party(
        _built(issuer, subject, made.public_key(), (begins - DAY, begins + 400 * DAY), extensions),
        made,
    )


Make = Callable[[Party, PublicKey, datetime], Sequence[x509.Certificate]]


def leaf(**changes: object) -> Make:
    """The honest certificate but for `changes`."""
    return lambda issuer, public, begins: [Leaf(**changes).issue(issuer, public, begins)]  # type: ignore[arg-type]


def under(*more: tuple[x509.ExtensionType, bool], weak: bool = False, **changes: object) -> Make:
    """An honest certificate below an intermediate CA that comes with it."""

    def make(issuer: Party, public: PublicKey, begins: datetime) -> Sequence[x509.Certificate]:
        between = below(issuer, begins, *more, own=_weak_key() if weak else None)
        return [Leaf(**changes).issue(between, public, begins), between.certificate]  # type: ignore[arg-type]

    return make


def under_another_algorithm(issuer: Party, public: PublicKey, begins: datetime) -> Sequence[x509.Certificate]:
    """Our RSA key under RSASSA-PSS' identifier, which no TLS server loads with a key of ours."""
    honest = Leaf().issue(issuer, public, begins)
    bits = asn1_keys.PublicKeyInfo.load(public_bytes(public))["public_key"].dump()
    info = asn1.tlv(asn1.tlv(_RSASSA_PSS, tag=0x30) + bits, tag=0x30)
    made = remade(Party(honest, issuer.key), issuer, subject_public_key_info=asn1_keys.PublicKeyInfo.load(info))
    return [made.certificate]


@dataclass(frozen=True)
class Defect:
    """`says`: a part of the refusal. `first`: whether a first enrollment is refused for it too, or installed."""

    make: Make
    says: str
    first: bool = True
    lifted_by: Sequence[str] = field(default=())


_CONSTRAINED = x509.NameConstraints(None, [x509.DNSName("example.net")])
DEFECTS = {
    "an unknown critical extension": Defect(leaf(more=[(UNKNOWN, True)]), "critical extension"),
    "outside its CA's name constraints": Defect(under((_CONSTRAINED, True)), "excluded subtree"),
    "an RSA-1024 intermediate": Defect(under(weak=True), "an RSA key of 1024 bits"),
    "our key as RSASSA-PSS": Defect(under_another_algorithm, "with another algorithm"),
    "keyUsage cRLSign alone": Defect(leaf(usage=["crl_sign"]), "its key usage is crl_sign"),
    "keyUsage of nothing for TLS": Defect(
        leaf(usage=["content_commitment"]), "lacks digital_sig|do not allow its use for"
    ),
    "a key usage fewer": Defect(
        leaf(usage=["digital_signature"]), "lacks key_encipherment", first=False, lifted_by=["key_encipherment"]
    ),
    "no keyUsage": Defect(leaf(usage=None), "lacks digital_signature, key_enc", first=False, lifted_by=["key_usage"]),
    "clientAuth alone": Defect(leaf(purposes=[Purpose.CLIENT_AUTH]), "lacks server_auth", lifted_by=["server_auth"]),
    "serverAuth alone": Defect(
        leaf(purposes=[Purpose.SERVER_AUTH]), "lacks client_auth", lifted_by=["extended_key_usage"]
    ),
    "no purposes": Defect(leaf(purposes=None), "lacks client_auth, server_auth", lifted_by=["extended_key_usage"]),
    "purposes of others": Defect(leaf(purposes=[Purpose.CODE_SIGNING]), "lacks client_auth, server_auth"),
    "every name dropped": Defect(leaf(names=()), "lacks dns:web.example.net, dns:www", lifted_by=["san"]),
    "a name dropped": Defect(
        leaf(names=[x509.DNSName("web.example.net")]), "lacks dns:www.example.net", lifted_by=["dns:www.example.net"]
    ),
    "a name more": Defect(
        leaf(names=[*Leaf.names, x509.DNSName("mail.example.net")]), "not requested: dns:mail.example.net"
    ),
    "ends in a second": Defect(leaf(life=timedelta(seconds=1)), "expires almost at once"),
    "expires before the current one": Defect(leaf(life=15 * DAY), "before the current one", first=False),
    "a CA certificate": Defect(leaf(ca=True), "issued a CA certificate"),
}

# What honest CAs do.
HONEST = {
    "as asked": leaf(),
    "names in another order": leaf(names=tuple(reversed(Leaf.names))),
    "the common name besides, which was requested": leaf(
        names=[*Leaf.names, x509.DNSName("WEB.example.net")],
    ),
    "a purpose added by a template": leaf(purposes=[*TLS, Purpose.IPSEC_IKE]),
    "policies, and where to ask": leaf(
        more=[
            (x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), None)]), False),
            (UNKNOWN, False),
        ]
    ),
    "a usage added": leaf(usage=["digital_signature", "key_encipherment", "data_encipherment"]),
    "without basicConstraints": leaf(ca=None),
    "dated back by a day": leaf(start=-DAY),
    "under an intermediate": under(),
    "a longer life": leaf(life=300 * DAY),
}
