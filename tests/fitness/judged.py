"""One certificate held against the rules and tried out, as a transaction of each kind does it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509
from msgspec.structs import replace

from certagent import certificate as facts
from certagent.config.values import AcceptedName
from certagent.keys import PrivateKey, public_bytes
from certagent.trust.fitness import Asked, Terms, accept_certificate, roles
from certagent.trust.proof_of_use import prove_use
from certagent.trust.rules import Believed
from tests.fitness.issued import DAY, NAME, Leaf, Make
from tests.unit.pki import NOW, Party, party, rsa_key

KINDS = ("enrollment", "renewal", "rollover")
DEVICE = rsa_key("device")


def root() -> Party:
    return party("CN=root", ca=True, with_key=rsa_key("root"), usage=("key_cert_sign",), end=NOW + 900 * DAY)


def next_root() -> Party:
    """The CA that will follow, from ten days from now on."""
    begins = NOW + 10 * DAY
    own = rsa_key("next root")
    return party("CN=root 2", ca=True, with_key=own, usage=("key_cert_sign",), start=begins, end=NOW + 900 * DAY)


ROOT, NEXT = root(), next_root()
OLD = Leaf(start=-60 * DAY, life=30 * DAY).issue(ROOT, rsa_key("old").public_key(), NOW)
ASKED = Asked(
    key=public_bytes(DEVICE.public_key()),
    subject=x509.Name.from_rfc4514_string(NAME),
    names=frozenset({"dns:web.example.net", "dns:www.example.net"}),
    usages=frozenset({"digital_signature", "key_encipherment"}),
    purposes=frozenset({"server_auth", "client_auth"}),
)


def judge(
    make: Make,
    kind: str = "renewal",
    *,
    asked: Asked = ASKED,
    terms: Terms | None = None,
    key: PrivateKey | None = DEVICE,
    may_lose: Iterable[str] = (),
    accept_names: Sequence[str] = (),
) -> x509.Certificate:
    """What is accepted, or UnfitError. `key` None: it is in a token, so only the rules are asked."""
    issuer, begins = (NEXT, NEXT.certificate.not_valid_before_utc) if kind == "rollover" else (ROOT, NOW)
    if terms is None:
        terms = Terms(in_place=None if kind == "enrollment" else OLD)
    names = tuple(map(AcceptedName.parse, accept_names))
    terms = replace(terms, may_lose=frozenset(may_lose), accept_names=names)
    received = make(issuer, DEVICE.public_key(), begins)
    authority = Believed(issuer.certificate, (), (issuer.certificate,), issuer.certificate)
    may_begin = begins if kind == "rollover" else None
    mine, chain = accept_certificate(received, asked, authority, (), NOW, terms=terms, may_begin=may_begin)
    if key is not None:
        assert prove_use(key, mine, chain, roles=roles(mine, asked, terms), at=NOW) == ""
    assert facts.to_der(mine)
    return mine
