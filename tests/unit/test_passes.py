"""What CAs of the world are like, and is taken: from GetCACert to the certificate that comes back, by the rules."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from certagent import certificate as facts
from certagent import keys
from certagent.config.key_types import KeyType
from certagent.scep.asn1 import tlv
from certagent.trust.fitness import Asked, Terms, accept_certificate, roles
from certagent.trust.proof_of_use import prove_use
from certagent.trust.rules import Pins, believe

from .paths import AKI, BASIC, SKI, UNKNOWN, USAGE, altered, basic, constraints, leaf, root, sub, usage
from .pki import CMC_RA, DAY, NOW, Party, key, remade, rsa_8192, rsa_key

PURPOSE = (x509.ExtendedKeyUsage([CMC_RA]), False)
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)


@dataclass(frozen=True)
class World:
    """What is sent, what is pinned, who issues. `signing`: how the issuer signs, in `made`'s words."""

    issuer: Party
    sent: Sequence[Party]
    pinned: Sequence[Party] = ()
    anchors: Sequence[Party] = ()
    above: Sequence[Party] = ()
    signing: dict[str, Any] | None = None

    def issued(self, name: str, *changes: Any, own: Any) -> Party:
        return leaf(self.issuer, *changes, subject=name, own=own, **(self.signing or {}))


def alone(top: Party, **signing: Any) -> World:
    """A root that is pinned and issues."""
    return World(top, [top], [top], signing=signing)


def with_serial(number: int) -> World:
    top = root()
    return alone(altered(top, top, serial=core.Integer(number).dump()))


def pure(key_type: KeyType) -> World:
    return alone(root(own=key("root", key_type), digest=None), digest=None)


def cross_signed(*, other_pinned: bool) -> World:
    top, other = root(), root(subject="CN=other")
    cross = sub(other, subject="CN=root", own=key("CN=root"))
    issuing = sub(top)
    if other_pinned:
        return World(issuing, [issuing, cross, top], anchors=[other], above=[cross, other])
    return World(issuing, [issuing, cross, top], [top], above=[top])


def expired_in_the_bundle() -> World:
    old, top = root(ends=NOW - DAY, own=key("old root")), root()
    issuing = sub(top)
    return World(issuing, [issuing, old, top, sub(top, ends=NOW - DAY)], [top], above=[top])


def expired_root_above_a_pin() -> World:
    top = root(ends=NOW - DAY)
    issuing = sub(top)
    return World(issuing, [issuing, top], [issuing])


def missing_root(*, anchor: bool) -> World:
    top = root()
    issuing = sub(top)
    return World(issuing, [issuing], [] if anchor else [issuing], [top] if anchor else [], [top] if anchor else [])


def missing_between() -> World:
    """The anchor is the sub CA's file, its root is nowhere to be had."""
    issuing = sub(root())
    lower = sub(issuing, subject="CN=lower")
    return World(lower, [lower], anchors=[issuing], above=[issuing])


def renewed() -> World:
    old, new = root(), root(ends=NOW + 99 * DAY)
    return World(new, [old, new], [old])


def renewed_alone() -> World:
    old, new = root(), root(ends=NOW + 99 * DAY)
    return World(new, [new], anchors=[old])


def beside_unreadable() -> World:
    top = root()
    broken = altered(sub(top), top, subject=bytes.fromhex("300f310d300b06035504030c045afc7269"))
    return World(top, [top, broken], [top])


def with_letters(tag: int, text: bytes) -> World:
    top = root()
    subject = tlv(tlv(tlv(b"\x06\x03\x55\x04\x03" + tlv(text, tag), 0x30)), 0x30)
    return alone(altered(top, top, subject=subject, issuer=subject))


def constrained() -> World:
    top = root(constraints(["dns:example.com"]))
    return World(top, [top], [top])


def with_policies() -> World:
    policies = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.55555.9"), None)])
    top = root()
    issuing = sub(top, (policies, True), (x509.PolicyConstraints(0, None), True))
    return World(issuing, [issuing, top], [top], above=[top])


WORLDS: dict[str, Callable[[], World]] = {
    "an X.509 v1 root": lambda: alone(remade(root(), version="v1", extensions=None)),
    "a root without basicConstraints": lambda: alone(root(but=[BASIC])),
    "a root without key usage": lambda: alone(root(but=[USAGE])),
    "basicConstraints that are not critical": lambda: alone(root(basic(True, critical=False))),
    "no key identifiers": lambda: alone(root(but=[SKI, AKI]), but=[SKI, AKI]),
    "an unknown extension": lambda: alone(root((UNKNOWN, False))),
    "serial number 0": lambda: with_serial(0),
    "a negative serial number": lambda: with_serial(-7),
    "a serial number of 30 bytes": lambda: with_serial(1 << 238),
    "no end": lambda: alone(root(ends=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))),
    "RSA-PSS": lambda: alone(root(own=rsa_key("root"), scheme=PSS), scheme=PSS),
    "SHA-3": lambda: alone(root(own=rsa_key("root"), digest=hashes.SHA3_256()), digest=hashes.SHA3_256()),
    "SHA-512": lambda: alone(root(own=rsa_key("root"), digest=hashes.SHA512()), digest=hashes.SHA512()),
    "RSA of 8192 bits": lambda: alone(root(own=rsa_8192())),
    "RSA of 1024 bits, pinned": lambda: alone(root(own=rsa.generate_private_key(65537, 1024))),
    "P-521": lambda: alone(root(own=ec.generate_private_key(ec.SECP521R1()))),
    "brainpool": lambda: alone(root(own=ec.generate_private_key(ec.BrainpoolP384R1()))),
    "Ed25519": lambda: pure(KeyType.ED25519),
    "Ed448": lambda: pure(KeyType.ED448),
    "ML-DSA-44": lambda: pure(KeyType.ML_DSA_44),
    "ML-DSA-65": lambda: pure(KeyType.ML_DSA_65),
    "ML-DSA-87": lambda: pure(KeyType.ML_DSA_87),
    "a root's own signature over SHA-1": lambda: alone(remade(root(), digest="sha1")),
    "cross-signed, its own root pinned": lambda: cross_signed(other_pinned=False),
    "cross-signed, the other root pinned": lambda: cross_signed(other_pinned=True),
    "expired CAs in the bundle": expired_in_the_bundle,
    "an expired root above the pinned CA": expired_root_above_a_pin,
    "the root is missing, and the anchor": lambda: missing_root(anchor=True),
    "the root is missing, the issuing CA pinned": lambda: missing_root(anchor=False),
    "what is above the anchor is missing": missing_between,
    "renewed with its key, both sent": renewed,
    "renewed with its key, the old one the anchor": renewed_alone,
    "an unreadable certificate beside it": beside_unreadable,
    "a name with & _ @ in a PrintableString": lambda: with_letters(0x13, b"R&D_1@x"),
    "a name in Latin-1": lambda: with_letters(0x14, b"Z\xfcrich"),
    "name constraints that allow the name": constrained,
    "policies that nobody asks for": with_policies,
}


@pytest.mark.parametrize("name", WORLDS)
def test_it_is_taken(name: str) -> None:
    """Whatever the order: the CA is believed, its RA gets the request, and what it issues is accepted."""
    world = WORLDS[name]()
    ra = world.issued("CN=ra", PURPOSE, usage("digital_signature", "key_encipherment"), own=rsa_key("ra"))
    mine = world.issued("CN=example.com", own=key("device"))
    pins = Pins(
        tuple(facts.fingerprint(each.certificate) for each in world.pinned),
        tuple(each.certificate for each in world.anchors),
    )
    asked = Asked(
        keys.public_bytes(key("device").public_key()),
        x509.Name.from_rfc4514_string("CN=example.com"),
        frozenset({"dns:example.com"}),
    )
    for sent in itertools.islice(itertools.permutations([*world.sent, ra]), 24):
        believed = believe([each.certificate for each in sent], pins, NOW)
        assert believed.issuer == world.issuer.certificate
        assert believed.above == tuple(each.certificate for each in world.above)
        assert believed.recipient == ra.certificate
        got, chain = accept_certificate([mine.certificate], asked, believed, (), NOW)
        assert got == mine.certificate
        assert chain == believed.chain
    wanted = roles(got, asked, Terms())
    assert prove_use(key("device"), got, chain, roles=wanted, at=NOW) == ""


def test_a_renewed_ca_signs_under_either_certificate() -> None:
    world = renewed()
    sent = [each.certificate for each in world.sent]
    believed = believe(sent, Pins((facts.fingerprint(sent[0]),), ()), NOW)
    assert believed.signers == (world.issuer.certificate, sent[0])
