"""What certificates in the world are like, and whether a path leads over them: `prove` on one case each.

Each is asked in several orders, and says the same in all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import cache, partial
from typing import Any

import pytest
from asn1crypto import core, parser
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, mlkem, padding, rsa, x25519

from certagent import keys
from certagent.config.key_types import KeyType
from certagent.scep.asn1 import split, tlv
from certagent.trust.proof import is_same_ca, is_twin

from .paths import (
    AKI,
    BASIC,
    SIGNS,
    SKI,
    UNKNOWN,
    USAGE,
    Digest,
    Extension,
    Question,
    altered,
    asked,
    basic,
    constraints,
    leaf,
    made,
    name,
    of_root,
    of_sub,
    root,
    san,
    sub,
    usage,
)
from .pki import DAY, NOW, Party, key, remade, rsa_8192, rsa_key

Make = Callable[[], Question]
PROVEN = "proven"
STRANGER, EXPIRED, EARLY, DIGEST, NOT_ALLOWED, OTHER = (
    f"refused: {why}" for why in ("stranger", "expired", "early", "digest", "not allowed", "other")
)
Table = dict[str, tuple[str, Make]]


# Chains


def line(count: int) -> list[Party]:
    """A root, so many CAs below each other, and a leaf."""
    found = [root()]
    for number in range(count):
        found.append(sub(found[-1], subject=f"CN=sub {number}"))
    return [*found, leaf(found[-1])]


def without(missing: int) -> Question:
    every = line(2)
    return asked(*(each for number, each in enumerate(every) if number != missing))


def by_a_namesake(*, of: int) -> Question:
    """A certificate of the line is signed by another key than the one above it has."""
    every = line(1)
    forged = Party(every[of - 1].certificate, key("forger"))
    every[of] = sub(forged, subject="CN=sub 0") if of == 1 else leaf(forged)
    if of == 1:
        every[2] = leaf(every[1])
    return asked(*every)


def target_is_anchor() -> Question:
    top = root()
    return Question(top, (), (top,))


def target_in_pool() -> Question:
    top = root()
    mine = leaf(top)
    return Question(mine, (mine, top), (top,))


def pinned_leaf() -> Question:
    mine = leaf(root())
    return Question(mine, (), (mine,))


def pinned_sub(**fields: Any) -> Question:
    middle = sub(root())
    return asked(middle, leaf(middle, **fields))


def nothing_pinned() -> Question:
    top = root()
    return Question(leaf(top), (top,), ())


def below_a_leaf(*changes: Extension, issuer: bool = False, **fields: Any) -> Question:
    top = root()
    device = leaf(top, *changes, **fields)
    false = sub(device, subject="CN=false")
    return asked(top, device, false, issuer=True) if issuer else asked(top, device, false, leaf(false))


def pinned_device() -> Question:
    """A person pinned a device's certificate: it makes no CA of it."""
    device = leaf(root())
    return asked(device, sub(device, subject="CN=false"))


CHAINS: Table = {
    "root and leaf": (PROVEN, lambda: asked(*line(0))),
    "one sub CA": (PROVEN, lambda: asked(*line(1))),
    "two sub CAs": (PROVEN, lambda: asked(*line(2))),
    "six sub CAs": (PROVEN, lambda: asked(*line(6))),
    "eight CAs is all": (STRANGER, lambda: asked(*line(8))),
    "a CA of the line is missing": (STRANGER, lambda: without(1)),
    "the lowest CA is missing": (STRANGER, lambda: without(2)),
    "nothing is pinned": (STRANGER, nothing_pinned),
    "the target is the anchor": (PROVEN, target_is_anchor),
    "the target lies about, too": (PROVEN, target_in_pool),
    "a leaf that is pinned": (PROVEN, pinned_leaf),
    "a sub CA that is pinned": (PROVEN, pinned_sub),
    "another key signed the leaf": (STRANGER, lambda: by_a_namesake(of=2)),
    "another key signed the sub CA": (STRANGER, lambda: by_a_namesake(of=1)),
    "a leaf as CA": (STRANGER, below_a_leaf),
    "a leaf as CA, asked as an issuer": (STRANGER, lambda: below_a_leaf(issuer=True)),
    "a leaf as CA that may sign certificates": (STRANGER, lambda: below_a_leaf(basic(False), usage(*SIGNS))),
    "a leaf as CA by key usage alone": (STRANGER, lambda: below_a_leaf(usage(*SIGNS), but=[BASIC])),
    "a pinned leaf as CA": (NOT_ALLOWED, pinned_device),
}


# Other paths beside the right one


def renewed(*, pinned: str, sent: str) -> Question:
    """A root and its renewal with the same key; what is pinned of them, and what signed as the issuer."""
    own = key("CN=root")
    old, new = root(own=own, ends=NOW + DAY), root(own=own, ends=NOW + 99 * DAY)
    which = {"old": old, "new": new}
    return asked(which[pinned], leaf(which[sent]), also=[old, new])


def expired_twin() -> Question:
    top = root()
    mine = sub(top)
    twin = sub(top, ends=NOW - DAY)
    return asked(top, mine, leaf(mine), also=[twin])


def namesake_of_the_sub() -> Question:
    top = root()
    mine, other = sub(top), sub(top, own=key("namesake"))
    return asked(top, mine, leaf(mine), also=[other])


def namesake_of_the_root(*, pinned: bool) -> Question:
    top, other = root(), root(own=key("namesake"))
    return asked(top, leaf(top), anchors=[other] if pinned else [], also=[] if pinned else [other])


def expired_root_and_cross() -> Question:
    """The root that everybody knew has expired, another one has certified its key."""
    old, new = root(ends=NOW - DAY), root(subject="CN=new root")
    cross = sub(new, subject="CN=root", own=key("CN=root"))
    middle = sub(old)
    return asked(new, cross, middle, leaf(middle), anchors=[old], also=[old])


def unpinned_root_and_cross() -> Question:
    old, new = root(), root(subject="CN=new root")
    cross = sub(new, subject="CN=root", own=key("CN=root"))
    middle = sub(old)
    return asked(new, cross, middle, leaf(middle), also=[old])


def crossed(*, pinned: str) -> Question:
    """Two roots that have certified each other; the leaf is under the first."""
    first, second = root(subject="CN=first"), root(subject="CN=second")
    crosses = [
        sub(second, subject="CN=first", own=key("CN=first")),
        sub(first, subject="CN=second", own=key("CN=second")),
    ]
    return asked(first if pinned == "first" else second, leaf(first), also=[*crosses, first, second])


def rolled_over(*, old_with_new: bool) -> Question:
    """RFC 4210's certificates at a change of key: one under the CA's own name joins old and new."""
    old, new = root(own=key("old")), root(own=key("new"))
    if old_with_new:
        return asked(new, sub(new, subject="CN=root", own=key("old")), leaf(old))
    return asked(old, sub(old, subject="CN=root", own=key("new")), leaf(new))


def one_way_blocked(*changes: Extension, **fields: Any) -> Question:
    """A sub CA certified by two roots, of whom one does not allow it."""
    first, second = root(*changes, subject="CN=first", **fields), root(subject="CN=second")
    own = key("CN=sub")
    ways = [sub(first, own=own), sub(second, own=own)]
    return asked(second, leaf(ways[0]), anchors=[first], also=ways)


def noise() -> Question:
    """What a careless CA sends along."""
    every = line(1)
    lost = Party(root(subject="CN=lost").certificate, key("CN=lost"))
    return asked(*every, also=[*line(2), lost, sub(lost, subject="CN=lost sub"), leaf(lost), every[-1], every[0]])


SEVERAL: Table = {
    "renewed, old pinned, by the old": (PROVEN, lambda: renewed(pinned="old", sent="old")),
    "renewed, old pinned, by the new": (PROVEN, lambda: renewed(pinned="old", sent="new")),
    "renewed, new pinned, by the old": (PROVEN, lambda: renewed(pinned="new", sent="old")),
    "an expired twin of the sub CA": (PROVEN, expired_twin),
    "a namesake of the sub CA with another key": (PROVEN, namesake_of_the_sub),
    "a namesake of the root": (PROVEN, lambda: namesake_of_the_root(pinned=False)),
    "a namesake of the root, pinned": (PROVEN, lambda: namesake_of_the_root(pinned=True)),
    "an expired root, and a way around it": (PROVEN, expired_root_and_cross),
    "a root that is not pinned, and a way around it": (PROVEN, unpinned_root_and_cross),
    "crossed, the first pinned": (PROVEN, lambda: crossed(pinned="first")),
    "crossed, the second pinned": (PROVEN, lambda: crossed(pinned="second")),
    "old with new": (PROVEN, lambda: rolled_over(old_with_new=True)),
    "new with old": (PROVEN, lambda: rolled_over(old_with_new=False)),
    "one way without room": (PROVEN, lambda: one_way_blocked(basic(True, 0))),
    "one way without the right to sign": (PROVEN, lambda: one_way_blocked(usage("crl_sign"))),
    "one way under other names": (PROVEN, lambda: one_way_blocked(constraints(["dns:other.example"]))),
    "one way unreadable": (PROVEN, lambda: one_way_blocked((UNKNOWN, True))),
    "one way expired": (PROVEN, lambda: one_way_blocked(ends=NOW - DAY)),
    "one way not begun": (PROVEN, lambda: one_way_blocked(begins=NOW + DAY)),
    "what a careless CA sends along": (PROVEN, noise),
}


# Names, as they come in the subject of a CA, or of a leaf


def attribute(tag: int, value: bytes, oid: str = "2.5.4.3") -> bytes:
    """A name of one attribute in a string type of choice."""
    pair = tlv(core.ObjectIdentifier(oid).dump() + tlv(value, tag), 0x30)
    return tlv(tlv(pair, 0x31), 0x30)


def named(subject: bytes, *, ca: bool, says: bytes | None = None) -> Question:
    """`says`: how the leaf writes the name of its CA, where that is another way."""
    top = root()
    if not ca:
        return asked(top, altered(leaf(top), top, subject=subject))
    plain = sub(top)
    mine = altered(leaf(plain), plain, issuer=subject if says is None else says)
    return asked(top, altered(plain, top, subject=subject), mine)


TEXTS: dict[str, bytes] = {
    "UTF8String": attribute(0x0C, "Zürich".encode()),
    "PrintableString": attribute(0x13, b"Zuerich"),
    "PrintableString with & _ @ *": attribute(0x13, b"a&b_c@d*"),
    "PrintableString in UTF-8": attribute(0x13, "Zürich".encode()),
    "T61String": attribute(0x14, b"Zuerich"),
    "T61String in Latin-1": attribute(0x14, b"Z\xfcrich"),
    "IA5String": attribute(0x16, b"a@b.example"),
    "IA5String with eight bits": attribute(0x16, b"Z\xfcrich"),
    "BMPString": attribute(0x1E, "Zürich".encode("utf-16-be")),
    "UniversalString": attribute(0x1C, "Zürich".encode("utf-32-be")),
    "NumericString": attribute(0x12, b"12345"),
    "an attribute that is unknown": attribute(0x0C, b"x", "1.3.6.1.4.1.55555.7"),
    "a name of two lines": attribute(0x0C, b"one\ntwo"),
    "a long name": attribute(0x0C, b"x" * 2000),
    "several values in one": name("CN=a+OU=b,O=c").public_bytes(),
}
UNREADABLE_TEXTS = {
    "UTF8String that is Latin-1": attribute(0x0C, b"Z\xfcrich"),
    "an absurd length": attribute(0x0C, b"x" * 9000),
}
UPPER, LOWER, BLANKS = (attribute(0x0C, each) for each in (b"MY CA", b"my ca", b"My   CA"))
NAMES: Table = {
    **{
        f"{word}, {'a CA' if ca else 'a leaf'}": (PROVEN, partial(named, text, ca=ca))
        for word, text in TEXTS.items()
        for ca in (True, False)
    },
    "the issuer in another case": (PROVEN, lambda: named(UPPER, ca=True, says=LOWER)),
    "the issuer with other blanks": (PROVEN, lambda: named(UPPER, ca=True, says=BLANKS)),
    "the issuer in another string type": (
        PROVEN,
        lambda: named(attribute(0x13, b"My CA"), ca=True, says=attribute(0x0C, b"My CA")),
    ),
    "the issuer under another attribute": (
        STRANGER,
        lambda: named(attribute(0x0C, b"My CA"), ca=True, says=attribute(0x0C, b"My CA", "2.5.4.10")),
    ),
    "a leaf without a name": (PROVEN, lambda: named(b"\x30\x00", ca=False)),
    "a CA without a name": (STRANGER, lambda: named(b"\x30\x00", ca=True)),
}


# Numbers, dates, versions


def with_field(**fields: bytes) -> Question:
    top = root()
    return asked(top, altered(leaf(top), top, **fields))


def serial_of_the_ca(number: int) -> Question:
    top = root()
    middle = altered(sub(top), top, serial=core.Integer(number).dump())
    return asked(top, middle, leaf(middle))


def dates(begins: bytes, ends: bytes, at: datetime = NOW) -> Question:
    def time(text: bytes) -> bytes:
        return tlv(text, 0x17 if len(text) == 13 else 0x18)

    top = root(begins=datetime(1960, 1, 1, tzinfo=UTC), ends=datetime(9999, 12, 31, tzinfo=UTC))
    mine = altered(leaf(top), top, validity=tlv(time(begins) + time(ends), 0x30))
    return asked(top, mine, at=at)


def lasting(begins: timedelta, ends: timedelta, at: datetime = NOW) -> Question:
    top = root()
    return asked(top, leaf(top, begins=NOW + begins, ends=NOW + ends), at=at)


def version_one(*, anchor: bool) -> Question:
    old = remade(root(), version="v1", extensions=None) if anchor else None
    top = root(subject="CN=top")
    middle = old or remade(sub(top), top, version="v1", extensions=None)
    return asked(middle, leaf(middle)) if anchor else asked(top, middle, leaf(middle))


def version_one_leaf() -> Question:
    top = root()
    return asked(top, remade(leaf(top), top, version="v1", extensions=None))


SECOND, ZERO = timedelta(seconds=1), timedelta()
EAST = timezone(timedelta(hours=9))
NUMBERS: Table = {
    "serial number 0": (PROVEN, lambda: with_field(serial=b"\x02\x01\x00")),
    "a negative serial number": (PROVEN, lambda: with_field(serial=b"\x02\x01\xf9")),
    "a serial number of 21 bytes": (PROVEN, lambda: with_field(serial=core.Integer(1 << 166).dump())),
    "a serial number of 100 bytes": (PROVEN, lambda: with_field(serial=core.Integer(1 << 798).dump())),
    "serial number 0, of a CA": (PROVEN, lambda: serial_of_the_ca(0)),
    "a negative serial number, of a CA": (PROVEN, lambda: serial_of_the_ca(-7)),
    "UTCTime": (PROVEN, lambda: dates(b"270101000000Z", b"280101000000Z")),
    "GeneralizedTime before 2050": (PROVEN, lambda: dates(b"20270101000000Z", b"20280101000000Z")),
    "no end (RFC 5280 §4.1.2.5)": (PROVEN, lambda: dates(b"270101000000Z", b"99991231235959Z")),
    "UTCTime of the last century": (PROVEN, lambda: dates(b"650101000000Z", b"280101000000Z")),
    "asked after 2050": (
        PROVEN,
        lambda: dates(b"270101000000Z", b"99991231235959Z", datetime(2060, 1, 1, tzinfo=UTC)),
    ),
    "asked in another time zone": (PROVEN, lambda: lasting(-SECOND, SECOND, at=NOW.astimezone(EAST))),
    "begins now": (PROVEN, lambda: lasting(ZERO, DAY)),
    "begins in a second": (EARLY, lambda: lasting(SECOND, DAY)),
    "ends in a second": (PROVEN, lambda: lasting(-DAY, SECOND)),
    "ends now": (EXPIRED, lambda: lasting(-DAY, ZERO)),
    "ends before it begins": (EXPIRED, lambda: dates(b"270101000000Z", b"260101000000Z")),
    "X.509 v1, a leaf": (PROVEN, version_one_leaf),
    "X.509 v1, the root, pinned": (PROVEN, lambda: version_one(anchor=True)),
    "X.509 v1, a sub CA": (STRANGER, lambda: version_one(anchor=False)),
    "an expired anchor": (EXPIRED, lambda: of_root(ends=NOW - DAY)),
    "an anchor of tomorrow": (EARLY, lambda: of_root(begins=NOW + DAY)),
    "an expired sub CA": (EXPIRED, lambda: of_sub(ends=NOW - DAY)),
    "a sub CA of tomorrow": (EARLY, lambda: of_sub(begins=NOW + DAY)),
}


# What makes a CA


def room(limit: int, below_it: int, *, issuer: bool = False, self_issued: bool = False) -> Question:
    """A root with this path length, CAs below it, and a leaf; `issuer`: the lowest CA is asked of itself."""
    every = [root(basic(True, limit))]
    for number in range(below_it):
        word = "CN=root" if self_issued else f"CN=sub {number}"
        every.append(sub(every[-1], subject=word, own=key(f"room {number}")))
    return asked(*every, issuer=True) if issuer else asked(*every, leaf(every[-1]))


def as_issuer(*changes: Extension, **fields: Any) -> Question:
    top = root()
    return asked(top, sub(top, *changes, **fields), issuer=True)


def self_named_issuer() -> Question:
    """As only a root of old may be, whom a person named."""
    top = root(own=key("other"))
    return asked(top, sub(top, subject="CN=root", own=key("CN=root"), but=[BASIC]), issuer=True)


def huge() -> Extension:
    return x509.UnrecognizedExtension(UNKNOWN.oid, bytes(70_000)), False


def netscape(*, bits: int) -> Extension:
    kind = x509.ObjectIdentifier("2.16.840.1.113730.1.1")
    return x509.UnrecognizedExtension(kind, bytes((3, 2, 0, bits))), False


def with_leaf(*changes: Extension, **fields: Any) -> Question:
    top = root()
    return asked(top, leaf(top, *changes, **fields))


def private_names() -> Question:
    top = root()
    middle = sub(top, constraints(excludes=["other:1.3.6.1.4.1.55555.3"]))
    return asked(top, middle, leaf(middle, san("other:1.3.6.1.4.1.55555.3")))


CAS: Table = {
    "no basicConstraints": (STRANGER, lambda: of_sub(but=[BASIC])),
    "no basicConstraints, no usage": (STRANGER, lambda: of_sub(but=[BASIC, USAGE])),
    "CA:FALSE": (STRANGER, lambda: of_sub(basic(False))),
    "basicConstraints without weight": (PROVEN, lambda: of_sub(basic(True, critical=False))),
    "Netscape's word for a CA, instead": (STRANGER, lambda: of_sub(netscape(bits=7), but=[BASIC, USAGE])),
    "no keyCertSign": (NOT_ALLOWED, lambda: of_sub(usage("crl_sign", "digital_signature"))),
    "no key usage": (PROVEN, lambda: of_sub(but=[USAGE])),
    "an anchor: no basicConstraints, but keyCertSign": (PROVEN, lambda: of_root(but=[BASIC])),
    "an anchor: no basicConstraints, no usage": (NOT_ALLOWED, lambda: of_root(but=[BASIC, USAGE])),
    "an anchor: CA:FALSE": (NOT_ALLOWED, lambda: of_root(basic(False))),
    "an anchor: no keyCertSign": (NOT_ALLOWED, lambda: of_root(usage("crl_sign"))),
    "an anchor: no key usage": (PROVEN, lambda: of_root(but=[USAGE])),
    "room for none, none": (PROVEN, lambda: room(0, 0)),
    "room for none, one": (NOT_ALLOWED, lambda: room(0, 1)),
    "room for one, one": (PROVEN, lambda: room(1, 1)),
    "room for one, two": (NOT_ALLOWED, lambda: room(1, 2)),
    "room for none, an issuer": (NOT_ALLOWED, lambda: room(0, 1, issuer=True)),
    "room for one, an issuer": (PROVEN, lambda: room(1, 1, issuer=True)),
    "room for one, an issuer below a CA": (NOT_ALLOWED, lambda: room(1, 2, issuer=True)),
    "room for none, self-issued ones do not count": (PROVEN, lambda: room(0, 2, self_issued=True)),
    "room for none, a self-issued issuer": (PROVEN, lambda: room(0, 1, issuer=True, self_issued=True)),
    "an issuer": (PROVEN, as_issuer),
    "an issuer that is no CA": (NOT_ALLOWED, lambda: as_issuer(basic(False), usage("digital_signature"))),
    "an issuer without basicConstraints": (NOT_ALLOWED, lambda: as_issuer(but=[BASIC])),
    "an issuer without basicConstraints, by the name of its issuer": (NOT_ALLOWED, self_named_issuer),
    "an issuer without keyCertSign": (NOT_ALLOWED, lambda: as_issuer(usage("crl_sign"))),
    "an issuer without room for CAs": (PROVEN, lambda: as_issuer(basic(True, 0))),
    "an unknown critical extension, a leaf's": (OTHER, lambda: with_leaf((UNKNOWN, True))),
    "an unknown critical extension, a CA's": (OTHER, lambda: of_sub((UNKNOWN, True))),
    "an unknown critical extension, an anchor's": (OTHER, lambda: of_root((UNKNOWN, True))),
    "an extension of 70 KB": (
        OTHER,
        lambda: with_leaf((x509.UnrecognizedExtension(UNKNOWN.oid, bytes(70_000)), False)),
    ),
    "an unknown extension": (PROVEN, lambda: of_sub((UNKNOWN, False))),
    "no key identifiers": (PROVEN, lambda: of_sub(but=[SKI, AKI])),
    "an authority key identifier of another key": (
        STRANGER,
        lambda: with_leaf((AKI.from_issuer_public_key(key("another").public_key()), False)),
    ),
    "names of another kind than those permitted": (PROVEN, lambda: of_sub(constraints(["ip:192.0.2.0/24"]))),
    "a name that is not permitted": (OTHER, lambda: of_sub(constraints(["dns:other.example"]))),
    "a name that is excluded": (OTHER, lambda: of_sub(constraints(excludes=["dns:example.com"]))),
    "a name that the anchor excludes": (OTHER, lambda: of_root(constraints(excludes=["dns:example.com"]))),
    "constraints of a kind unknown": (OTHER, private_names),
}


# Keys and signatures


CURVES: dict[str, type[ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
    "brainpoolP256r1": ec.BrainpoolP256R1,
    "brainpoolP512r1": ec.BrainpoolP512R1,
    "secp256k1": ec.SECP256K1,
    "P-192": ec.SECP192R1,
}
PURE = {
    "Ed25519": KeyType.ED25519,
    "Ed448": KeyType.ED448,
    "ML-DSA-44": KeyType.ML_DSA_44,
    "ML-DSA-65": KeyType.ML_DSA_65,
    "ML-DSA-87": KeyType.ML_DSA_87,
}
OTHER_KEYS: dict[str, Callable[[], Any]] = {
    "RSA 1024": lambda: rsa.generate_private_key(65537, 1024),
    "RSA 2048": lambda: rsa_key("RSA 2048"),
    "RSA 3072": lambda: key("RSA 3072", KeyType.RSA_3072),
    "RSA 8192": rsa_8192,
    "RSA 2048 with 3": lambda: rsa.generate_private_key(3, 2048),
    "DSA": lambda: dsa.generate_private_key(1024),
    "ML-KEM-768": mlkem.MLKEM768PrivateKey.generate,
    "X25519": x25519.X25519PrivateKey.generate,
    **{word: partial(keys.generate, key_type) for word, key_type in PURE.items()},
}


@cache
def keyed(word: str) -> Any:
    """A key of this kind, made once."""
    return ec.generate_private_key(CURVES[word]()) if word in CURVES else OTHER_KEYS[word]()


def with_key(word: str, *, of: str, accept: tuple[str, ...] = ()) -> Question:
    """A line whose anchor, CA or leaf has such a key."""
    own = {role: keyed(word) if role == of else key(role) for role in ("anchor", "CA", "leaf")}
    digest = {role: None if word in PURE and role == of else hashes.SHA256() for role in own}
    top = root(own=own["anchor"], digest=digest["anchor"])
    middle = sub(top, own=own["CA"], digest=digest["anchor"])
    return asked(top, middle, leaf(middle, own=own["leaf"], digest=digest["CA"]), accept=accept)


def kem_ca() -> Question:
    """A CA certificate for a key that can sign nothing: somebody else signed below it."""
    top = root()
    middle = altered(sub(top), top, key=keys.public_bytes(keyed("ML-KEM-768").public_key()))
    return asked(top, middle, leaf(middle))


def with_numbers(modulus: int, exponent: int, *, of: str = "CA") -> Question:
    """An RSA key of these numbers; what it signed was signed by another, which nobody finds out before the key."""
    numbers = tlv(core.Integer(modulus).dump() + core.Integer(exponent).dump(), 0x30)
    info = tlv(bytes.fromhex("300d06092a864886f70d0101010500") + tlv(b"\0" + numbers, 0x03), 0x30)
    top = root()
    if of == "leaf":
        return asked(top, altered(leaf(top), top, key=info))
    middle = altered(root() if of == "anchor" else sub(top), top, key=info)
    return asked(middle, leaf(middle)) if of == "anchor" else asked(top, middle, leaf(middle))


def only_pss() -> bytes:
    """SubjectPublicKeyInfo of id-RSASSA-PSS for the key named `pss`."""
    _, bits = split(parser.parse(keys.public_bytes(rsa_key("pss").public_key()))[4])
    return tlv(bytes.fromhex("300b06092a864886f70d01010a") + bits, 0x30)


def pss(digest: hashes.HashAlgorithm) -> padding.PSS:
    return padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)


def signed_over(word: str, *, by: str, accept: tuple[str, ...] = (), whose: str = "leaf") -> Question:
    """A leaf, or the anchor itself, signed over such a digest: by RSA, PSS, or ECDSA."""
    own: Any = key("CN=root") if by == "ECDSA" else rsa_key("root")
    if word in {"sha1", "md5"}:
        top = root(own=own)
        if whose == "anchor":
            return asked(remade(top, digest=word), leaf(top), accept=accept)
        return asked(top, remade(leaf(top), top, digest=word), accept=accept)
    digest = DIGESTS[word]()
    top = root(own=own)
    return asked(top, leaf(top, digest=digest, scheme=pss(digest) if by == "PSS" else None), accept=accept)


DIGESTS: dict[str, type[Digest]] = {
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
    "sha3-224": hashes.SHA3_224,
    "sha3-256": hashes.SHA3_256,
    "sha3-384": hashes.SHA3_384,
    "sha3-512": hashes.SHA3_512,
}


def only_pss_key() -> Question:
    """A CA whose key is for RSA-PSS alone."""
    top = root()
    middle = altered(sub(top, own=rsa_key("pss")), top, key=only_pss())
    return asked(top, middle, leaf(middle, scheme=pss(hashes.SHA256())))


def weak_intermediate(**fields: Any) -> Question:
    top = root()
    middle = remade(sub(top), top, digest="sha1")
    return asked(top, middle, leaf(middle), **fields)


UNKNOWN_ALGORITHM = bytes.fromhex("300c060a2b0601040183b2030101")  # of nobody's
SOUND = ["P-256", "P-384", "P-521", "brainpoolP256r1", "brainpoolP512r1", *PURE]
SOUND += ["RSA 2048", "RSA 3072", "RSA 8192", "RSA 2048 with 3"]
KEYS: Table = {
    **{f"{word}, the {of}": (PROVEN, partial(with_key, word, of=of)) for word in SOUND for of in ("CA", "leaf")},
    "RSA 8192, the anchor": (PROVEN, lambda: with_key("RSA 8192", of="anchor")),
    **{f"{word}, the anchor": (PROVEN, partial(with_key, word, of="anchor")) for word in PURE},
    "ML-KEM, the leaf": (OTHER, lambda: with_key("ML-KEM-768", of="leaf")),
    "ML-KEM, the CA": (OTHER, kem_ca),
    "X25519, the leaf": (OTHER, lambda: with_key("X25519", of="leaf")),
    # A person named it, and knows whether it is old.
    "RSA 1024, the anchor": (PROVEN, lambda: with_key("RSA 1024", of="anchor")),
    "RSA 1024, the CA": (OTHER, lambda: with_key("RSA 1024", of="CA")),
    "RSA 1024, the leaf": (OTHER, lambda: with_key("RSA 1024", of="leaf")),
    "secp256k1": (OTHER, lambda: with_key("secp256k1", of="CA")),
    "P-192": (OTHER, lambda: with_key("P-192", of="leaf")),
    "DSA, the CA": (DIGEST, lambda: with_key("DSA", of="CA")),
    "DSA, the leaf": (OTHER, lambda: with_key("DSA", of="leaf")),
    "RSA 9216, the CA": (OTHER, lambda: with_numbers((1 << 9215) + 1, 65537)),
    "RSA 9216, the leaf": (OTHER, lambda: with_numbers((1 << 9215) + 1, 65537, of="leaf")),
    "RSA 9216, the anchor": (OTHER, lambda: with_numbers((1 << 9215) + 1, 65537, of="anchor")),
    "an absurd exponent, the CA": (OTHER, lambda: with_numbers((1 << 3071) + 1, (1 << 3070) + 1)),
    "an absurd exponent, the leaf": (OTHER, lambda: with_numbers((1 << 3071) + 1, 1 << 33, of="leaf")),
    "an absurd exponent, the anchor": (OTHER, lambda: with_numbers((1 << 3071) + 1, (1 << 33) + 1, of="anchor")),
    "exponent 1": (OTHER, lambda: with_numbers((1 << 3071) + 1, 1)),
    "a negative modulus": (OTHER, lambda: with_numbers(-(1 << 3071) - 1, 65537)),
    **{
        f"{by} over {word}": (PROVEN, partial(signed_over, word, by=by))
        for word in DIGESTS
        for by in ("RSA", "PSS", "ECDSA")
        if by != "PSS" or not word.startswith("sha3")
    },
    "PSS over SHA-3": (PROVEN, lambda: signed_over("sha3-256", by="PSS")),
    "a key for PSS alone": (PROVEN, only_pss_key),
    **{f"{by} over {word}": (DIGEST, partial(signed_over, word, by=by)) for word in ("sha1", "md5") for by in ("RSA",)},
    "ECDSA over sha1": (DIGEST, lambda: signed_over("sha1", by="ECDSA")),
    "RSA over sha1, accepted": (PROVEN, lambda: signed_over("sha1", by="RSA", accept=("sha1",))),
    "RSA over md5, accepted": (PROVEN, lambda: signed_over("md5", by="RSA", accept=("md5",))),
    "RSA over md5, sha1 accepted": (DIGEST, lambda: signed_over("md5", by="RSA", accept=("sha1",))),
    "an anchor's own signature is not asked for": (PROVEN, lambda: signed_over("sha1", by="RSA", whose="anchor")),
    "a sub CA over sha1": (DIGEST, weak_intermediate),
    "a sub CA over sha1, accepted": (PROVEN, lambda: weak_intermediate(accept=("sha1",))),
    "an unknown algorithm": (DIGEST, lambda: with_field(algorithm=UNKNOWN_ALGORITHM)),
}

CASES: Table = {**CHAINS, **SEVERAL, **NAMES, **NUMBERS, **CAS, **KEYS}


@pytest.mark.parametrize("case", CASES)
def test_path(case: str) -> None:
    expected, make = CASES[case]
    assert make().answers() == {expected}


@pytest.mark.parametrize("word", UNREADABLE_TEXTS)
@pytest.mark.parametrize("ca", [True, False], ids=["a CA", "a leaf"])
def test_what_openssl_cannot_read_either(word: str, *, ca: bool) -> None:
    assert {each.partition(":")[0] for each in named(UNREADABLE_TEXTS[word], ca=ca).answers()} == {"refused"}


def test_what_cannot_be_read_costs_itself_alone() -> None:
    top = root()
    mine = sub(top)
    broken = [altered(sub(top), top, subject=text) for text in UNREADABLE_TEXTS.values()]
    assert asked(top, mine, leaf(mine), also=broken).answers() == {PROVEN}


# Who is the same CA

TWINS: dict[str, tuple[bool, Callable[[], tuple[Party, Party]]]] = {
    "renewed with its key": (True, lambda: (root(ends=NOW + 99 * DAY), root())),
    "ends no later": (False, lambda: (root(), root())),
    "another key": (False, lambda: (root(ends=NOW + 99 * DAY, own=key("another")), root())),
    "another name": (False, lambda: (root(ends=NOW + 99 * DAY, subject="CN=x", own=key("CN=root")), root())),
    "signed by another": (False, lambda: (forged_renewal(), root())),
    "over SHA-1": (False, lambda: (remade(root(ends=NOW + 99 * DAY), digest="sha1"), root())),
    "certified by another": (
        False,
        lambda: (sub(root(subject="CN=other"), subject="CN=root", own=key("CN=root"), ends=NOW + 99 * DAY), root()),
    ),
}


def forged_renewal() -> Party:
    stranger = Party(root().certificate, key("stranger"))
    return made("CN=root", stranger, basic(True), usage(*SIGNS), own=key("CN=root"), ends=NOW + 99 * DAY)


@pytest.mark.parametrize("case", TWINS)
def test_twin(case: str) -> None:
    expected, make = TWINS[case]
    new, old = (each.certificate for each in make())
    assert is_twin(new, old) is expected
    if expected:
        assert is_same_ca(new, old)
