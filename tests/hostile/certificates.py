"""Certificates that a CA should not issue to us, in replies that are honest otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent.keys import PublicKey
from certagent.lab import issuing
from certagent.scep import Signer
from tests.hostile.lab import Fault, Forger, replying
from tests.hostile.replies import namesake, sibling
from tests.unit.pki import TLS, Party, party, remade, rsa_key

DAY = timedelta(days=1)
NAME = "CN=web.example.net,O=Example"
SAN = (x509.DNSName("web.example.net"),)


def sending(certificates: Callable[[Forger], Sequence[x509.Certificate]]) -> Fault:
    """An honest reply, but for the certificates in it."""
    return replying(lambda forger: forger.reply(certificates=certificates(forger)))


def leaf(**changes: Any) -> Fault:
    """The certificate asked for, but for `changes`."""
    return sending(lambda forger: [ours(forger, **changes).certificate])


def living(start: timedelta, end: timedelta) -> Fault:
    """One that is valid from `start` to `end`, counted from now."""
    return sending(lambda forger: [ours(forger, start=forger.now + start, end=forger.now + end).certificate])


def weakly_signed(digest: str) -> Fault:
    return sending(lambda forger: [remade(ours(forger), forger.ca.issuer, digest=digest).certificate])


def ours(forger: Forger, name: str = NAME, issuer: Party | None = None, **changes: Any) -> Party:
    """A certificate for the key of the request."""
    usual: dict[str, Any] = {"usage": ("digital_signature", "key_encipherment"), "purposes": TLS}
    fields: dict[str, Any] = {**usual, "san": SAN, "start": forger.now - DAY, "end": forger.now + 90 * DAY}
    own: Any = _Public(forger.issued)
    return party(name, issuer or forger.ca.issuer, with_key=own, **{**fields, **changes})


class _Public:
    """Stands for the key of the request, whose private half the CA does not have."""

    def __init__(self, certificate: x509.Certificate) -> None:
        self._key = certificate.public_key()

    def public_key(self) -> Any:
        return self._key


def for_another_key(forger: Forger) -> Sequence[x509.Certificate]:
    return [_for(forger, rsa_key("stranger").public_key())]


def for_almost_our_key(forger: Forger) -> Sequence[x509.Certificate]:
    """Our modulus under another exponent."""
    public = forger.issued.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    return [_for(forger, rsa.RSAPublicNumbers(3, public.public_numbers().n).public_key())]


def _for(forger: Forger, public: PublicKey) -> x509.Certificate:
    made = issuing._builder(
        x509.Name.from_rfc4514_string(NAME),
        forger.ca.issuer.certificate.subject,
        public,
        forger.now - DAY,
        forger.now + 90 * DAY,
    )
    return made.sign(forger.ca.issuer.key, hashes.SHA256())


def two_for_our_key(forger: Forger) -> Sequence[x509.Certificate]:
    return [forger.issued, ours(forger).certificate]


def the_old_one(forger: Forger) -> Sequence[x509.Certificate]:
    """The request's signer, which is what is in place; its key is not the new one."""
    return [forger.request.signer]


def a_hundred_of_others(forger: Forger) -> Sequence[x509.Certificate]:
    return [sibling(forger).certificate] * 100


def from_(issuer: Callable[[Forger], Signer]) -> Fault:
    """Issued by somebody else."""

    def certificates(forger: Forger) -> Sequence[x509.Certificate]:
        chosen = issuer(forger)
        return [ours(forger, issuer=Party(chosen.certificate, chosen.key)).certificate, chosen.certificate]

    return sending(certificates)


def unsent(issuer: Callable[[Forger], Signer]) -> Fault:
    """Issued by somebody else, whose certificate is not in the reply."""

    def certificates(forger: Forger) -> Sequence[x509.Certificate]:
        chosen = issuer(forger)
        return [ours(forger, issuer=Party(chosen.certificate, chosen.key)).certificate]

    return sending(certificates)


def intermediate_of_a_stranger(forger: Forger) -> Signer:
    """A CA certificate that a stranger made under the name of our CA."""
    fake = namesake(forger)
    made = party(
        "CN=intermediate",
        Party(fake.certificate, fake.key),
        with_key=rsa_key("intermediate"),
        ca=True,
        start=forger.now - DAY,
        end=forger.now + 90 * DAY,
    )
    return Signer(made.key, made.certificate)


def expired_intermediate(forger: Forger) -> Signer:
    made = party(
        "CN=intermediate",
        forger.ca.issuer,
        with_key=rsa_key("intermediate"),
        ca=True,
        start=forger.now - 2 * DAY,
        end=forger.now - DAY,
    )
    return Signer(made.key, made.certificate)


def intermediate(*usage: str) -> Callable[[Forger], Signer]:
    """A CA that ours vouches for, with this key usage; ours allows none below it (path length 0)."""

    def issuer(forger: Forger) -> Signer:
        made = party(
            "CN=intermediate",
            forger.ca.issuer,
            with_key=rsa_key("intermediate"),
            ca=True,
            usage=usage,
            start=forger.now - DAY,
            end=forger.now + 90 * DAY,
        )
        return Signer(made.key, made.certificate)

    return issuer


def signed_by_another(forger: Forger) -> Sequence[x509.Certificate]:
    """Our CA's name as the issuer, a stranger's signature."""
    fake = Party(forger.ca.issuer.certificate, rsa_key("stranger"))
    return [ours(forger, issuer=fake).certificate]


def self_signed(forger: Forger) -> Sequence[x509.Certificate]:
    """Issuer and subject are ours; somebody else signed."""
    made = party(NAME, with_key=rsa_key("stranger"), start=forger.now - DAY, end=forger.now + 90 * DAY)
    return [ours(forger, issuer=made).certificate]


def address(text: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(text))
