"""The one proof of a path: what it is asked of, in which order, how it ends, and that nothing else finds a path."""

from __future__ import annotations

import random
import re
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent import certificate as facts
from certagent.trust.proof import MAX_CAS, UnprovenError, comes_from, is_same_ca, is_twin, prove
from tests.unit.pki import DAY, NOW, Party, key, party, remade, rsa_key

SIGNS = ("key_cert_sign", "crl_sign")
PACKAGE = Path(__file__).parents[2] / "certagent"


def test_no_other_module_finds_a_path_or_verifies_one() -> None:
    """A signature is verified for CRLs and for what signs itself; a path is proven in one place."""
    words = re.compile(r"path_up|issued_by\(|verify_directly_issued_by|X509Store|\.verify\(")
    found = {
        str(each.relative_to(PACKAGE))
        for each in PACKAGE.rglob("*.py")
        if words.search(each.read_text().replace("crl_issued_by(", ""))
    }
    allowed = {"trust/proof.py", "certificate.py", "scep/signed.py", "lab/checks.py"}
    others = {each for each in found - allowed if not each.startswith(("keystore/", "demo/", "lab/"))}
    assert others == set()


# A forest: who is there is drawn, and the order they come in


def forest(seed: int) -> tuple[x509.Certificate, list[x509.Certificate], list[x509.Certificate]]:
    """A leaf, what came with it, and what is believed: some of it as it should be, some not."""
    draw = random.Random(seed)
    names = [f"CN=CA {number}" for number in range(4)]
    made: list[Party] = []
    for _ in range(draw.randint(3, 8)):
        below = draw.choice(made) if made and draw.random() < 0.8 else None
        fields: dict[str, object] = {
            "ca": draw.choices([True, False, None], [8, 1, 1])[0],
            "usage": draw.choices([SIGNS, None, ("digital_signature",)], [5, 4, 1])[0],
            "path_length": draw.choices([None, 0, 1], [6, 1, 1])[0],
            "key_id": draw.random() < 0.7,
        }
        begins = draw.choices([-1, -9, 1], [8, 1, 1])[0]
        fields |= {"start": NOW + begins * DAY, "end": NOW + (9 if begins > -9 else -1) * DAY}
        if not fields["ca"]:
            fields["path_length"] = None
        made.append(party(draw.choice(names), below, with_key=key(f"forest {draw.randint(0, 5)}"), **fields))  # type: ignore[arg-type]
    target = party("CN=leaf", draw.choice(made), with_key=key("leaf"), key_id=True)
    anchors = draw.sample(made, draw.randint(1, 2))
    return target.certificate, [each.certificate for each in made], [each.certificate for each in anchors]


def outcome(
    target: x509.Certificate, pool: list[x509.Certificate], anchors: list[x509.Certificate], *, issuer: bool = False
) -> str:
    try:
        path = prove(target, pool, anchors, NOW, issuer=issuer)
    except UnprovenError as error:
        return f"refused: {error.why}"
    return "proven: " + " ".join(str(facts.fingerprint(each))[7:15] for each in path.certificates)


def openssl(
    directory: Path, target: x509.Certificate, pool: list[x509.Certificate], anchors: list[x509.Certificate]
) -> bool:
    """Whether the host's `openssl verify` finds a path."""
    for name, certificates in (("target", [target]), ("pool", pool), ("anchors", anchors)):
        (directory / name).write_bytes(facts.to_pem(certificates) or b"\n")
    words = ["openssl", "verify", "-partial_chain", "-attime", str(int(NOW.timestamp())), "-CAfile", "anchors"]
    words += ["-untrusted", "pool"] if pool else []
    return not subprocess.run([*words, "target"], cwd=directory, capture_output=True, check=False).returncode


@pytest.mark.parametrize("seed", range(60))
def test_a_forest_in_every_order(seed: int, tmp_path: Path) -> None:
    target, pool, anchors = forest(seed)
    shuffle = random.Random(seed).sample
    outcomes = {outcome(target, shuffle(pool, len(pool)), shuffle(anchors, len(anchors))) for _ in range(4)}
    assert len(outcomes) == 1, "the order decides nothing"
    (found,) = outcomes
    if found.startswith("proven"):
        path = list(prove(target, pool, anchors, NOW).certificates)
        assert openssl(tmp_path, path[0], path[1:-1], path[-1:])
        assert all(facts.is_ca(each) for each in path[1:-1])
    elif openssl(tmp_path, target, pool, anchors):
        # An intermediate that its key usage alone makes a CA: a rule of ours.
        assert found == "refused: not allowed"


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
    with pytest.raises(UnprovenError, match="CN=root does not allow what is issued below it"):
        prove(sub.certificate, (), [root.certificate], NOW, issuer=True)


def test_a_forged_renewal_is_no_twin() -> None:
    """The name and the key of the CA, signed by a stranger: as an anchor OpenSSL would believe it without looking."""
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
