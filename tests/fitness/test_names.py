"""Names that CAs add, as step-ca, Vault, FreeIPA and Intune do, and what a definition says about them."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from cryptography import x509
from msgspec.structs import replace

from certagent.config.values import AcceptedName
from certagent.errors import UnfitError
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.fitness.bench import PURPOSES
from tests.fitness.conftest import Benches
from tests.fitness.issued import Leaf, leaf
from tests.fitness.judged import ASKED, KINDS, judge

COMMON = "web.example.net"
SID = "tag:microsoft.com,2022-09-14:sid:S-1-5-21-1"


def adding(*names: x509.GeneralName) -> Sequence[x509.GeneralName]:
    return (*Leaf.names, *names)


ADDED = [
    pytest.param(x509.DNSName("mail.example.net"), "dns:mail.example.net", id="a DNS name"),
    pytest.param(x509.DNSName("mail.example.net"), "dns:*.example.net", id="any below a domain"),
    pytest.param(x509.DNSName("*.example.net"), "dns:*.example.net", id="a wildcard"),
    pytest.param(x509.UniformResourceIdentifier(SID), f"uri:{SID}", id="Intune's SID"),
    pytest.param(
        x509.UniformResourceIdentifier(SID), "uri:tag:microsoft.com,2022-09-14:sid:*", id="any SID of Intune's"
    ),
    pytest.param(x509.IPAddress(ip_address("192.0.2.1")), "ip:192.0.2.1", id="an address"),
    pytest.param(x509.RFC822Name("web@example.net"), "email:web@example.net", id="an e-mail address"),
    pytest.param(
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.2.2"), b"\x30\x00"),
        "other:1.3.6.1.5.2.2:3000",
        id="FreeIPA's principal",
    ),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "accepted"), ADDED)
def test_an_added_name_is_accepted_where_the_definition_says_so(
    name: x509.GeneralName, accepted: str, kind: str
) -> None:
    make = leaf(names=adding(name))
    with pytest.raises(UnfitError, match="names that were not requested") as refused:
        judge(make, kind)
    assert "write `accept_names: [" in refused.value.hint
    judge(make, kind, accept_names=[accepted])


OTHERS = [
    ("dns:*.example.net", "dns:a.b.example.net"),
    ("dns:*.example.net", "dns:example.net"),
    ("dns:*.example.net", "dns:*.a.example.net"),
    ("dns:*.example.net", "dns:a.example.net.evil"),
    ("dns:*.example.net", "dns:aXexample.net"),
    ("dns:mail.example.net", "dns:mail.example.net.evil"),
    ("uri:tag:corp,2026:*", "uri:tag:corp,2027:x"),
    ("ip:192.0.2.1", "ip:192.0.2.11"),
]


@pytest.mark.parametrize(("accepted", "name"), OTHERS)
def test_an_accepted_name_covers_no_other(accepted: str, name: str) -> None:
    assert not AcceptedName.parse(accepted).covers(name)


WRONG = ["dns:*", "dns:*.net", "dns:a.*.example.net", "dns:*a.example.net", "uri:*", "uri:a*b", "example.net", "x:y"]


@pytest.mark.parametrize("text", WRONG)
def test_what_would_accept_too_much_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"too broad|is not a name"):
        AcceptedName.parse(text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_common_name_that_was_asked_for_is_no_new_power(kind: str) -> None:
    for written in (COMMON, COMMON.upper()):
        judge(leaf(names=[x509.DNSName("www.example.net"), x509.DNSName(written)]), kind, may_lose=["san"])


def test_a_common_name_that_the_ca_chose_is_one() -> None:
    make = leaf(name="CN=evil.example.net", names=adding(x509.DNSName("evil.example.net")))
    with pytest.raises(UnfitError, match=r"names that were not requested: dns:evil\.example\.net"):
        judge(make, asked=replace(ASKED, exact=False))


def test_an_address_as_the_common_name_is_no_dns_name() -> None:
    with pytest.raises(UnfitError, match=r"ip:192\.0\.2\.1"):
        judge(leaf(names=adding(x509.IPAddress(ip_address("192.0.2.1")))))


STEP_CA = [
    pytest.param("subject: CN=web.example.net,O=Example\n", "[dns:web.example.net]", id="no names asked for"),
    pytest.param(
        "subject: CN=web.example.net,O=Example\nsan: [dns:www.example.net]\n",
        "[dns:web.example.net, dns:www.example.net]",
        id="another name asked for",
    ),
]


@pytest.mark.parametrize(("lines", "names"), STEP_CA)
def test_a_step_ca_is_enrolled_with_and_renews(make_bench: Benches, lines: str, names: str) -> None:
    """Its default template: the common name beside the names of the request."""
    bench = make_bench(keystore=None)
    bench.write(PURPOSES + lines, subject=False)
    words = names.strip("[]").replace("dns:", "").split(", ")
    bench.ca.make = leaf(names=[x509.DNSName(each) for each in words])
    assert bench.run().result is Result.ENROLLED
    assert bench.run(Wish.RENEW).result is Result.RENEWED


def test_a_name_by_the_message_is_accepted_for_enrollment_and_renewal(make_bench: Benches) -> None:
    bench = make_bench()
    bench.ca.make = leaf(names=adding(x509.DNSName("mail.example.net")))
    outcome = bench.run()
    assert outcome.result is Result.FAILED
    line = str(outcome.hint).split("`")[1]
    assert line == "accept_names: [dns:mail.example.net]"
    bench.write(f"{PURPOSES}{line}")
    assert bench.run().result is Result.ENROLLED
    assert bench.run(Wish.RENEW).result is Result.RENEWED
