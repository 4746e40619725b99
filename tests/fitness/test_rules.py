"""Every defect of a successor, and what honest CAs do, by the rules alone and by OpenSSL's trial."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from msgspec.structs import replace

from certagent.certificate import to_pem
from certagent.errors import UnfitError
from certagent.keys import public_bytes
from certagent.trust.fitness import Terms, in_yaml
from certagent.trust.proof_of_use import prove_use
from tests.fitness.issued import DAY, DEFECTS, HONEST, Defect, Leaf, Make, below, leaf
from tests.fitness.judged import ASKED, DEVICE, KINDS, OLD, ROOT, judge
from tests.unit.pki import NOW, TLS, party, remade, rsa_key


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("defect", [pytest.param(each, id=name) for name, each in DEFECTS.items()])
def test_a_defect_is_refused(defect: Defect, kind: str) -> None:
    if kind == "enrollment" and not defect.first:
        judge(defect.make, kind)
        return
    with pytest.raises(UnfitError, match=defect.says):
        judge(defect.make, kind)


@pytest.mark.parametrize("defect", [pytest.param(each, id=name) for name, each in DEFECTS.items()])
def test_a_key_in_a_token_is_held_to_the_same(defect: Defect) -> None:
    """OpenSSL cannot try it out there, so the rules have to do."""
    with pytest.raises(UnfitError, match=defect.says):
        judge(defect.make, key=None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [pytest.param(each, id=name) for name, each in HONEST.items()])
def test_what_honest_cas_do_is_accepted(make: Make, kind: str) -> None:
    judge(make, kind)


@pytest.mark.parametrize(
    "defect", [pytest.param(each, id=name) for name, each in DEFECTS.items() if each.lifted_by and each.first]
)
def test_a_loss_that_is_meant_is_accepted_and_no_other(defect: Defect) -> None:
    with pytest.raises(UnfitError):
        judge(defect.make, may_lose=["content_commitment", "email_protection", "dns:other.example.net"])
    judge(defect.make, may_lose=defect.lifted_by)


def test_the_refusal_names_the_line_that_permits_it() -> None:
    with pytest.raises(UnfitError) as refused:
        judge(DEFECTS["clientAuth alone"].make)
    assert "`may_lose: [server_auth]`" in refused.value.hint


WORDS = [
    (["dns:a.example", "server_auth"], "[dns:a.example, server_auth]"),
    (["uri:tag:corp,2026:x"], '["uri:tag:corp,2026:x"]'),
    (["dns:*.corp.example"], '["dns:*.corp.example"]'),
]


@pytest.mark.parametrize(("words", "written"), WORDS)
def test_words_are_quoted_where_yaml_wants_it(words: list[str], written: str) -> None:
    assert in_yaml("may_lose", words) == f"`may_lose: {written}`"


ENDS = [
    pytest.param(timedelta(days=20), True, True, id="earlier, the one in place past its threshold"),
    pytest.param(timedelta(days=20), False, False, id="earlier, that one not due"),
    pytest.param(timedelta(hours=8), True, True, id="in eight hours"),
    pytest.param(timedelta(minutes=10), True, False, id="in ten minutes, the one in place in a month"),
    pytest.param(timedelta(days=30), False, True, id="when that one does"),
]


@pytest.mark.parametrize(("life", "may_end_earlier", "fit"), ENDS)
def test_when_it_ends(life: timedelta, may_end_earlier: bool, fit: bool) -> None:
    terms = Terms(in_place=OLD, may_end_earlier=may_end_earlier)
    if fit:
        judge(leaf(life=life), terms=terms)
    else:
        with pytest.raises(UnfitError, match="before the current one"):
            judge(leaf(life=life), terms=terms)


def test_a_purpose_asked_for_by_nobody_is_the_cas_to_choose() -> None:
    nothing = replace(ASKED, usages=frozenset(), purposes=frozenset())
    for purpose in (Purpose.CLIENT_AUTH, Purpose.SERVER_AUTH, Purpose.IPSEC_IKE, Purpose.CODE_SIGNING):
        judge(leaf(purposes=[purpose]), "enrollment", asked=nothing)


def test_a_probe_says_that_the_consumer_is_a_tls_server() -> None:
    nothing = replace(ASKED, usages=frozenset(), purposes=frozenset())
    with pytest.raises(UnfitError, match="do not allow its use for server_auth"):
        judge(leaf(purposes=[Purpose.CLIENT_AUTH]), "enrollment", asked=nothing, terms=Terms(serves_tls=True))


def test_what_never_worked_in_a_part_need_not_work_in_it() -> None:
    """Both purposes, but a key usage that only a server of old can use; it was so before."""
    usage = ("key_encipherment",)
    old = Leaf(usage=usage, life=30 * DAY).issue(ROOT, rsa_key("old").public_key(), NOW)
    asked = replace(ASKED, usages=frozenset(usage))
    judge(leaf(usage=usage), asked=asked, terms=Terms(in_place=old))


def test_an_ec_key_need_not_encipher_nor_agree() -> None:
    """A renewal that changes from RSA to EC asks for what an RSA key had."""
    key = ec.generate_private_key(ec.SECP256R1())
    asked = replace(ASKED, key=public_bytes(key.public_key()), usages=ASKED.usages | {"key_agreement"})

    def make(issuer, _public, begins):  # type: ignore[no-untyped-def]
        return [Leaf(usage=["digital_signature"]).issue(issuer, key.public_key(), begins)]

    judge(make, asked=asked, key=key)


def test_openssl_s_trial_finds_what_the_rules_do_not_know() -> None:
    """An intermediate that is for other purposes: RFC 5280 does not say what that means, OpenSSL does."""
    between = below(ROOT, NOW, (x509.ExtendedKeyUsage([Purpose.CODE_SIGNING]), False))
    made = Leaf(purposes=TLS).issue(between, DEVICE.public_key(), NOW)
    chain = (between.certificate, ROOT.certificate)
    with pytest.raises(UnfitError, match="would reject the certificate for server_auth"):
        prove_use(DEVICE, made, chain, roles={"server_auth"}, at=NOW)


def _expired() -> tuple[x509.Certificate, ...]:
    return Leaf(start=-30 * DAY, life=-10 * DAY).issue(ROOT, DEVICE.public_key(), NOW), ROOT.certificate


def _without_the_one_between() -> tuple[x509.Certificate, ...]:
    return Leaf(purposes=TLS).issue(below(ROOT, NOW), DEVICE.public_key(), NOW), ROOT.certificate


def _for_clients() -> tuple[x509.Certificate, ...]:
    return Leaf(purposes=[Purpose.CLIENT_AUTH]).issue(ROOT, DEVICE.public_key(), NOW), ROOT.certificate


def _over_sha1() -> tuple[x509.Certificate, ...]:
    between = below(ROOT, NOW)
    made = Leaf(purposes=TLS).issue(between, DEVICE.public_key(), NOW)
    return made, remade(between, ROOT, digest="sha1").certificate, ROOT.certificate


REFUSED = {
    "expired": (_expired, "it has expired"),
    "without the CA between": (_without_the_one_between, "an intermediate CA is missing"),
    "not for servers": (_for_clients, "its key usage or purposes do not allow it"),
    "SHA-1 above it": (_over_sha1, "too weak for OpenSSL"),
}


@pytest.mark.parametrize(("make", "words"), [pytest.param(*row, id=name) for name, row in REFUSED.items()])
def test_the_trial_says_why(make: Callable[[], tuple[x509.Certificate, ...]], words: str) -> None:
    made, *chain = make()
    with pytest.raises(UnfitError, match=words):
        prove_use(DEVICE, made, chain, roles={"server_auth"}, at=NOW)


WITHOUT_EXECUTABLE_MEMORY = """
import ctypes, datetime, pathlib, sys
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from certagent.trust.proof_of_use import prove_use
PR_SET_MDWE = 65
if ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0):
    raise SystemExit("this kernel does not know it")
text = pathlib.Path(sys.argv[1]).read_bytes()
own, root = x509.load_pem_x509_certificates(text)
at = own.not_valid_before_utc + datetime.timedelta(minutes=1)
print("tried:", prove_use(load_pem_private_key(text, None), own, [root], roles={"server_auth"}, at=at))
"""


def test_the_trial_needs_no_memory_that_is_writable_and_executable(tmp_path: Path) -> None:
    """A unit with MemoryDenyWriteExecute= gives none."""
    made = Leaf(purposes=TLS).issue(ROOT, DEVICE.public_key(), NOW)
    key = DEVICE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "all.pem").write_bytes(key + to_pem((made, ROOT.certificate)))
    argv = [sys.executable, "-c", WITHOUT_EXECUTABLE_MEMORY, str(tmp_path / "all.pem")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode and "does not know it" in done.stderr:
        pytest.skip("needs Linux 6.3")
    assert done.stdout == "tried: \n", done.stderr


def test_another_key_is_not_loaded() -> None:
    made = Leaf().issue(ROOT, rsa_key("another").public_key(), NOW)
    with pytest.raises(UnfitError, match="OpenSSL cannot load the certificate with its key"):
        prove_use(DEVICE, made, (ROOT.certificate,), roles={"server_auth"}, at=NOW)


def test_a_key_that_tls_does_not_know_is_told() -> None:
    key = ec.generate_private_key(ec.SECP256K1())
    made = Leaf().issue(ROOT, key.public_key(), NOW)
    assert "this kind of key" in prove_use(key, made, (ROOT.certificate,), roles={"server_auth"}, at=NOW)


def test_a_weak_anchor_that_somebody_configured_is_no_fault_of_the_certificate() -> None:
    weak = party("CN=old root", ca=True, with_key=rsa.generate_private_key(65537, 1024))
    made = Leaf().issue(weak, DEVICE.public_key(), NOW)
    assert prove_use(DEVICE, made, (weak.certificate,), roles={"server_auth", "client_auth"}, at=NOW) == ""
