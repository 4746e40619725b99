"""How a certificate is asked for: what `check` plans, and what the worker really sends, as the CA opens it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from msgspec.structs import replace

from certagent import keys
from certagent.cli.check_findings import Seen, planned
from certagent.config.load import load_configuration
from certagent.lab.checks import is_self_signed
from certagent.scep import Request, csr_challenge
from certagent.status.snapshot import take_snapshots
from certagent.transaction.journal import Kind
from certagent.transaction.planned_request import PlannedRequest, SignedBy, plan_request
from certagent.transaction.renewal import Wish, advance
from certagent.transaction.report import Result
from tests.renewal.line import PKCS_REQ, RENEWAL_REQ, BadLine, line
from tests.renewal.site import Site, Sites

# The key in place and its certificate's, key_transport, key_type, rekey →
#   the message, who signs it, the challenge in it or not, the key to be certified.
TABLE = """
    none  rsa       rsa:2048  always  →  PKCSReq     new key        challenge  new rsa:2048
    none  rsa       rsa:2048  never   →  PKCSReq     new key        challenge  new rsa:2048
    none  rsa       ec:p256   always  →  PKCSReq     transport key  challenge  new ec:p256
    none  rsa       ec:p256   never   →  PKCSReq     transport key  challenge  new ec:p256
    none  password  rsa:2048  always  →  PKCSReq     new key        challenge  new rsa:2048
    none  password  rsa:2048  never   →  PKCSReq     new key        challenge  new rsa:2048
    none  password  ec:p256   always  →  PKCSReq     new key        challenge  new ec:p256
    none  password  ec:p256   never   →  PKCSReq     new key        challenge  new ec:p256
    rsa   rsa       rsa:2048  always  →  RenewalReq  identity       -          new rsa:2048
    rsa   rsa       rsa:2048  never   →  RenewalReq  identity       -          same rsa:2048
    rsa   rsa       ec:p256   always  →  RenewalReq  identity       -          new ec:p256
    rsa   rsa       ec:p256   never   →  RenewalReq  identity       -          same rsa:2048
    rsa   password  rsa:2048  always  →  RenewalReq  identity       -          new rsa:2048
    rsa   password  rsa:2048  never   →  RenewalReq  identity       -          same rsa:2048
    rsa   password  ec:p256   always  →  RenewalReq  identity       -          new ec:p256
    rsa   password  ec:p256   never   →  RenewalReq  identity       -          same rsa:2048
    ec    rsa       rsa:2048  always  →  PKCSReq     new key        challenge  new rsa:2048
    ec    rsa       rsa:2048  never   →  PKCSReq     transport key  challenge  same ec:p256
    ec    rsa       ec:p256   always  →  PKCSReq     transport key  challenge  new ec:p256
    ec    rsa       ec:p256   never   →  PKCSReq     transport key  challenge  same ec:p256
    ec    password  rsa:2048  always  →  RenewalReq  identity       -          new rsa:2048
    ec    password  rsa:2048  never   →  RenewalReq  identity       -          same ec:p256
    ec    password  ec:p256   always  →  RenewalReq  identity       -          new ec:p256
    ec    password  ec:p256   never   →  RenewalReq  identity       -          same ec:p256
"""
TYPES = {"rsa": "rsa:2048", "ec": "ec:p256"}
NAMES = {PKCS_REQ: "PKCSReq", RENEWAL_REQ: "RenewalReq"}
SIGNERS = {
    SignedBy.IDENTITY: "identity",
    SignedBy.OTHER_KEYSTORE: "other keystore",
    SignedBy.NEW_KEY: "new key",
    SignedBy.TRANSPORT_KEY: "transport key",
}


@dataclass(frozen=True)
class Row:
    text: str

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(self.text.partition("→")[0].split())

    @property
    def wanted(self) -> str:
        return " ".join(self.text.partition("→")[2].split())

    @cached_property
    def lines(self) -> tuple[str, str]:
        """Of the keystore, of the authority."""
        _, transport, key_type, rekey = self.given
        return f"key_type: {key_type}\nrekey: {rekey}", f"key_transport: {transport}"


ROWS = [Row(text) for text in TABLE.strip().splitlines()]


def words(request: PlannedRequest) -> str:
    """A request as the table writes it."""
    assert request.message is not None
    challenge = "challenge" if request.challenge else "-"
    key = f"{'same' if request.keeps_key else 'new'} {request.key}"
    return f"{NAMES[request.message]} {SIGNERS[request.signed_by]} {challenge} {key}"


def on_the_wire(sent: Request, known: Sequence[x509.Certificate], keystore: x509.Certificate | None) -> PlannedRequest:
    """A request as the CA opened it; `keystore`: the certificate in place; `known`: of other keystores."""
    csr = x509.load_der_x509_csr(sent.content)
    if sent.signer == keystore:
        signed_by = SignedBy.IDENTITY
    elif sent.signer in known:
        signed_by = SignedBy.OTHER_KEYSTORE
    else:
        assert is_self_signed(sent.signer)
        same = bare(sent.signer.public_key()) == bare(csr.public_key())
        signed_by = SignedBy.NEW_KEY if same else SignedBy.TRANSPORT_KEY
        assert same or keys.type_of(sent.signer.public_key()).startswith("rsa:")
    return PlannedRequest(
        message=sent.message_type,
        signed_by=signed_by,
        challenge=csr_challenge(sent.content) is not None,
        keeps_key=keystore is not None and bare(keystore.public_key()) == bare(csr.public_key()),
        key=keys.type_of(csr.public_key()),
        transport=sent.key_transport,
    )


def bare(key: PublicKeyTypes) -> bytes:
    return keys.public_bytes(key)


class WithoutRenewal(BadLine):
    """Knows no RenewalReq."""

    def capabilities(self) -> Sequence[str]:
        return [word for word in super().capabilities() if word != "Renewal"]


def in_place(site: Site, family: str) -> x509.Certificate | None:
    """Have an identity of this kind enrolled."""
    if family == "none":
        return None
    site.write(f"key_type: {TYPES[family]}")
    assert site.run().result is Result.ENROLLED
    line(site).asked.clear()
    return site.leaf()


def as_checked(site: Site) -> PlannedRequest:
    """What `check` would say in words."""
    configuration = load_configuration(site.config)
    context = site.context()
    [snapshot] = take_snapshots(configuration, now=site.clock(), host=context.configured.host, names=["web"])
    contact = context.authorities.contact("lab", site.clock(), remember=False)
    return planned(Seen(context.configured.definition, context.configured.authority, snapshot, None, contact))


def test_every_combination_is_in_the_table() -> None:
    everything = product(("none", "rsa", "ec"), ("rsa", "password"), ("rsa:2048", "ec:p256"), ("always", "never"))
    assert [row.given for row in ROWS] == list(everything)


@pytest.mark.parametrize("row", [pytest.param(row, id=" ".join(row.given)) for row in ROWS])
def test_a_request_is_made_as_it_was_planned(row: Row, make_site: Sites) -> None:
    site = make_site(ca=BadLine)
    before = in_place(site, row.given[0])
    site.write(*row.lines)
    foreseen = as_checked(site)
    assert words(foreseen) == row.wanted
    assert site.run(Wish.RENEW).result in (Result.ENROLLED, Result.RENEWED), site.log
    [sent] = line(site).asked
    assert on_the_wire(sent, [], before) == foreseen


@pytest.mark.parametrize(
    ("family", "ca", "authority", "wanted"),
    [
        pytest.param("rsa", WithoutRenewal, "", "PKCSReq identity - new rsa:2048", id="a CA without RenewalReq"),
        pytest.param(
            "rsa",
            BadLine,
            "send_challenge: always",
            "RenewalReq identity challenge new rsa:2048",
            id="the challenge on renewals too",
        ),
        pytest.param("rsa", BadLine, "key_transport: oaep", "RenewalReq identity - new rsa:2048", id="OAEP"),
        pytest.param("ec", BadLine, "key_transport: oaep", "PKCSReq new key challenge new rsa:2048", id="OAEP, EC"),
    ],
)
def test_so_is_one_of_an_authority_with_wishes(
    family: str, ca: type[BadLine], authority: str, wanted: str, make_site: Sites
) -> None:
    site = make_site(ca=ca)
    before = in_place(site, family)
    site.write(authority=authority)
    foreseen = as_checked(site)
    assert words(foreseen) == wanted
    assert site.run(Wish.RENEW).result is Result.RENEWED, site.log
    [sent] = line(site).asked
    assert on_the_wire(sent, [], before) == foreseen


@pytest.mark.parametrize(
    ("family", "wanted"),
    [
        pytest.param("rsa", "RenewalReq other keystore - new rsa:2048", id="an RSA identity signs"),
        pytest.param("ec", "PKCSReq new key challenge new rsa:2048", id="an EC identity cannot"),
    ],
)
def test_an_identity_that_moves_signs_for_the_new_keystore(family: str, wanted: str, make_site: Sites) -> None:
    site = make_site(ca=BadLine)
    source = in_place(site, family)
    assert source is not None
    files = f"key_file: {site.path('files/new.key')}\n    certificate_file: {site.path('files/new.pem')}"
    site.config.write_text(f"{site.config.read_text()}  new:\n    type: pem\n    authority: lab\n    {files}\n")
    context = replace(site.context("new"), moves_from="web")
    capabilities = context.authorities.contact("lab", site.clock()).capabilities
    foreseen = plan_request(
        context.configured.definition, context.configured.authority, capabilities, TYPES[family], moves=True
    )
    assert words(foreseen) == wanted
    assert advance(context, Wish.ENROLL, lambda: False).result is Result.ENROLLED, site.log
    [sent] = line(site).asked
    assert on_the_wire(sent, [source], None) == foreseen


def test_a_key_made_before_the_definition_was_changed_is_made_anew(make_site: Sites) -> None:
    site = make_site(ca=BadLine)
    site.write("key_type: rsa:2048")
    context = site.context()
    context.shadow(context.journal.write(context.begin(Kind.ENROLLMENT)))  # a worker killed just then
    site.write("key_type: ec:p256")
    assert site.run().result is Result.ENROLLED, site.log
    sent = on_the_wire(line(site).asked[0], [], None)
    assert (sent.key, sent.signed_by) == ("ec:p256", SignedBy.TRANSPORT_KEY)


def test_which_message_it_is_only_a_ca_that_was_asked_can_say(site: Site) -> None:
    context = site.context()
    assert plan_request(context.configured.definition, context.configured.authority, None, "rsa:2048").message is None
    assert plan_request(context.configured.definition, context.configured.authority, None, None).message is PKCS_REQ
    assert (
        plan_request(context.configured.definition, context.configured.authority, None, "rsa:2048", plain=True).message
        is PKCS_REQ
    )
