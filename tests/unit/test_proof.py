"""The one proof of a path: what it is asked of, in which order, how it ends, and that nothing else finds a path."""

from __future__ import annotations

import random
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import crypto

from certagent import certificate as facts
from certagent.trust.proof import MAX_CAS, UnprovenError, comes_from, is_same_ca, is_twin, prove
from certagent.trust.proof import Path as Proven
from tests.unit.paths import AKI, SIGNS, SKI, UNKNOWN, Question, basic, constraints, leaf, made, usage
from tests.unit.pki import DAY, NOW, Party, key, party, remade, rsa_key

PACKAGE = Path(__file__).parents[2] / "certagent"


def test_no_other_module_finds_a_path_or_verifies_one() -> None:
    """A signature is verified for CRLs and for what signs itself; a path is proven in one place."""
    words = re.compile(r"path_up|issued_by\(|verify_directly_issued_by|X509Store|\.verify\(")
    found = {
        str(each.relative_to(PACKAGE))
        for each in PACKAGE.rglob("*.py")
        if words.search(each.read_text().replace("crl_issued_by(", ""))
    }
    allowed = {"trust/proof.py", "trust/proof_of_use.py", "certificate.py", "scep/signed.py", "lab/checks.py"}
    allowed.add("keys.py")  # whether two halves of a key belong together
    others = {each for each in found - allowed if not each.startswith(("keystore/", "demo/", "lab/"))}
    assert others == set()


# A forest: who is there is drawn, and the order they come in


def forest(seed: int) -> Question:
    """A leaf, what came with it, and what is believed: some of it as it should be, some not."""
    draw = random.Random(seed)
    trees: list[Party] = []
    for _ in range(draw.randint(3, 8)):
        above = draw.choice(trees) if trees and draw.random() < 0.8 else None
        trees.append(tree(draw, above))
    issuer = draw.choice(trees)
    target = leaf(issuer, but=[] if draw.random() < 0.7 else [AKI])
    if draw.random() < 0.1:
        target = remade(target, issuer, digest="sha1")
    anchors = draw.sample(trees, draw.randint(1, 2))
    return Question(target, trees, anchors)


def tree(draw: random.Random, above: Party | None) -> Party:
    """A CA, or what would be one: most draws make it sound."""
    ca = draw.choices([True, False, None], [10, 1, 2])[0]
    limit = draw.choices([None, 0, 1], [6, 1, 1])[0] if ca else None
    words = draw.choices([SIGNS, None, ("digital_signature",)], [6, 4, 1])[0]
    extra = draw.choices(
        [None, (UNKNOWN, True), constraints(["dns:example.com"]), constraints(["dns:other.example"])], [12, 1, 2, 1]
    )[0]
    key_ids = draw.random() < 0.7
    begins = draw.choices([-1, -9, 1], [10, 1, 1])[0]
    found = made(
        f"CN=CA {draw.randrange(4)}",
        above,
        *([basic(ca, limit)] if ca is not None else []),
        *([usage(*words)] if words else []),
        *([extra] if extra else []),
        own=weak_key() if draw.random() < 0.12 else key(f"forest {draw.randrange(6)}"),
        but=[] if key_ids else [AKI, SKI],
        begins=NOW + begins * DAY,
        ends=NOW + (9 if begins > -9 else -1) * DAY,
    )
    return remade(found, above, digest="sha1") if draw.random() < 0.12 else found


@cache
def weak_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


# What a path that OpenSSL finds good must not have, by our rules: `chain` from the leaf to the anchor.
RULES: dict[str, Callable[[Sequence[x509.Certificate]], bool]] = {
    "an anchor is a CA by its own word, or a root of old": lambda chain: (
        not facts.is_ca(chain[-1]) and chain[-1].subject != chain[-1].issuer
    ),
    "no weak digest": lambda chain: any(isinstance(each.signature_hash_algorithm, hashes.SHA1) for each in chain[:-1]),
    "no weak key below the anchor": lambda chain: any(is_weak(each) for each in chain[:-1]),
}


def is_weak(certificate: x509.Certificate) -> bool:
    public = certificate.public_key()
    return isinstance(public, rsa.RSAPublicKey) and public.key_size < 2048


def broken_rules(chain: Sequence[x509.Certificate]) -> list[str]:
    return [rule for rule, breaks in RULES.items() if chain and breaks(chain)]


def found_by_openssl(question: Question) -> list[x509.Certificate]:
    """The path that OpenSSL finds and proves, all of the forest given; empty for none."""
    store = crypto.X509Store()
    for each in question.anchors:
        store.add_cert(crypto.X509.from_cryptography(each.certificate))
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(question.at.replace(tzinfo=None))
    pool = [crypto.X509.from_cryptography(each.certificate) for each in question.pool]
    target = crypto.X509.from_cryptography(question.target.certificate)
    try:
        return [each.to_cryptography() for each in crypto.X509StoreContext(store, target, pool).get_verified_chain()]
    except crypto.X509StoreContextError:
        return []


def proven_by_the_hosts(directory: Path, path: Sequence[x509.Certificate]) -> bool:
    """Whether `openssl verify` proves a path when it is given that path alone."""
    for name, certificates in (("target", path[:1]), ("between", path[1:-1]), ("anchor", path[-1:])):
        (directory / name).write_bytes(facts.to_pem(certificates))
    words = ["openssl", "verify", "-partial_chain", "-attime", str(int(NOW.timestamp())), "-CAfile", "anchor"]
    words += ["-untrusted", "between"] if path[1:-1] else []
    return not subprocess.run([*words, "target"], cwd=directory, capture_output=True, check=False).returncode


@dataclass(frozen=True)
class Seen:
    """What is made of one forest: in the first order, in all of them, and by OpenSSL."""

    outcome: Proven | str
    outcomes: frozenset[Proven | str]
    openssl: list[x509.Certificate]


@cache
def seen(seed: int) -> Seen:
    question = forest(seed)
    every = [outcome(question, order) for order in range(4)]
    return Seen(every[0], frozenset(every), found_by_openssl(question))


def outcome(question: Question, order: int) -> Proven | str:
    try:
        return question.asked(order)
    except UnprovenError as error:
        return f"refused: {error.why}"


FORESTS = range(300)


@pytest.mark.parametrize("first", FORESTS[::20])
def test_forests_in_every_order(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 20):
        found = seen(seed)
        assert len(found.outcomes) == 1, f"forest {seed}: the order decides something"
        if isinstance(found.outcome, Proven):
            path = found.outcome.certificates
            assert proven_by_the_hosts(tmp_path, path), f"forest {seed}: accepted, and OpenSSL refuses"
            assert broken_rules(path) == [], f"forest {seed}"
        else:
            named = broken_rules(found.openssl)
            assert named or not found.openssl, f"forest {seed}: {found.outcome}, and no rule of ours says why"


def test_the_forests_try_every_rule() -> None:
    """Each rule alone refuses something that OpenSSL would let pass, and much is proven."""
    every = [seen(seed) for seed in FORESTS]
    refused = [broken_rules(each.openssl) for each in every if isinstance(each.outcome, str)]
    assert {rules[0] for rules in refused if len(rules) == 1} == set(RULES)
    assert sum(isinstance(each.outcome, Proven) for each in every) > 50


# What OpenSSL alone would let pass


def chain(**changes: object) -> tuple[Party, Party, Party]:
    root = party("CN=root", ca=True, usage=SIGNS, key_id=True)
    middle = party("CN=middle", root, ca=True, usage=SIGNS, key_id=True)
    return root, middle, party("CN=leaf", middle, key_id=True, **changes)  # type: ignore[arg-type]  # party's own words


def test_a_proven_path_has_every_certificate_of_it() -> None:
    root, middle, leaf = (each.certificate for each in chain())
    path = prove(leaf, [middle], [root], NOW)
    assert path.certificates == (leaf, middle, root)
    assert path.above == (middle, root)


def test_a_target_that_is_to_issue_needs_room_below_it() -> None:
    """It ends a path of its own well enough: RFC 5280 asks nothing of the last certificate."""
    root = party("CN=root", ca=True, usage=SIGNS, path_length=0)
    sub = party("CN=sub", root, ca=True, usage=SIGNS)
    prove(sub.certificate, (), [root.certificate], NOW)
    with pytest.raises(UnprovenError, match="CN=root does not allow the certificates issued below it"):
        prove(sub.certificate, (), [root.certificate], NOW, issuer=True)


def test_a_forged_renewal_is_no_twin() -> None:
    """The name and key of the CA, signed by somebody else: OpenSSL would believe it as an anchor without looking."""
    old = party("CN=root", with_key=rsa_key("root"), ca=True, key_id=True)
    stranger = Party(party("CN=root", with_key=rsa_key("stranger"), ca=True).certificate, rsa_key("stranger"))
    forged = party("CN=root", stranger, with_key=rsa_key("root"), ca=True, key_id=True, end=NOW + 99 * DAY)
    honest = party("CN=root", with_key=rsa_key("root"), ca=True, key_id=True, end=NOW + 99 * DAY)
    assert is_twin(honest.certificate, old.certificate)
    assert not is_twin(forged.certificate, old.certificate)
    assert not is_twin(old.certificate, honest.certificate), "it ends earlier"
    assert is_same_ca(honest.certificate, old.certificate)


def test_weak_digests_pass_only_where_accepted() -> None:
    root, _, _ = chain()
    weak = remade(party("CN=leaf", root), root, digest="sha1").certificate
    with pytest.raises(UnprovenError, match="sha1") as caught:
        prove(weak, (), [root.certificate], NOW)
    assert "`sha1`" in caught.value.hint
    prove(weak, (), [root.certificate], NOW, accept=("sha1",))


def test_who_issued_what_is_asked_of_the_time_it_was_issued() -> None:
    root = party("CN=root", ca=True, start=NOW - 9 * DAY, end=NOW - DAY)
    leaf = party("CN=leaf", root, start=NOW - 5 * DAY, end=NOW - 2 * DAY)
    assert comes_from(leaf.certificate, root.certificate)
    backdated = party("CN=backdated", root, start=NOW - 20 * DAY, end=NOW - 2 * DAY)
    assert comes_from(backdated.certificate, root.certificate), "from before its CA was"
    assert not comes_from(root.certificate, leaf.certificate)


# Nothing is expensive before it is proven


def bomb(number: int, exponent: int) -> x509.Certificate:
    """A CA of one name whose key costs whoever verifies with it; its own signature is nonsense."""
    modulus = (1 << 3071) + 2 * number + 1
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()

    class Absurd:
        def public_key(self) -> rsa.RSAPublicKey:
            return public

    return party("CN=many", Party(_named_many(), key("many")), with_key=Absurd(), ca=True).certificate  # type: ignore[arg-type]


def _named_many() -> x509.Certificate:
    return party("CN=many", ca=True, with_key=key("many")).certificate


@pytest.mark.parametrize(("count", "exponent"), [(15, (1 << 3070) + 1), (15, 3), (200, 3), (200, (1 << 3070) + 1)])
def test_many_cas_of_one_name_cost_next_to_nothing(count: int, exponent: int) -> None:
    many = [bomb(number, exponent) for number in range(count)]
    target = party("CN=leaf", Party(_named_many(), key("many"))).certificate
    root = party("CN=root", ca=True).certificate
    started = time.process_time()
    with pytest.raises(UnprovenError):
        prove(target, many, [root], NOW)
    assert time.process_time() - started < 1, "CPU seconds; hours without bounds"


def test_too_many_cas_are_refused_in_words() -> None:
    root = party("CN=root", ca=True)
    many = [party("CN=CA", root, ca=True).certificate for _ in range(MAX_CAS + 1)]
    with pytest.raises(UnprovenError, match=f"more than {MAX_CAS}"):
        prove(party("CN=leaf", root).certificate, many, [root.certificate], NOW)
