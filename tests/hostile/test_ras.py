"""By the command line: RAs that come, go, and are several, as NDES and OpenXPKI have them; and who is told what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from certagent import certificate as facts
from certagent.lab import HttpAnswer
from certagent.scep import FailInfo, PkiStatus, Signer
from tests.hostile.conftest import hostile
from tests.hostile.lab import REPLY, Hostile
from tests.hostile.takeover import DEVICE, held, real_clock
from tests.renewal.site import DAY, Site
from tests.unit.pki import CMC_RA, Party, rsa_key

# Each starts some commands; what they show is held by quicker tests of the rules, too.
pytestmark = pytest.mark.slow


def ra(ca: Hostile, name: str, *, age: int = 5, **fields: Any) -> Party:
    """An RA of the CA, so many days old."""
    now = real_clock()
    words: dict[str, Any] = {"usage": DEVICE, "purposes": (CMC_RA,), "with_key": rsa_key(name)}
    return held(ca, **{**words, "start": now - age * DAY, "end": now + 300 * DAY, **fields})


def at_work(ca: Hostile, party: Party, offered: Sequence[Party]) -> None:
    """This RA opens requests and signs answers; the CA shows those `offered`."""
    signer = Signer(party.key, party.certificate)
    generation = replace(ca.generation, signer=signer, recipient=signer)
    ca.generations._generations[ca.generations._current] = generation
    ca.offered = [ca.issuer.certificate, *(each.certificate for each in offered)]


def told(site: Site, *words: str, code: int = 0) -> str:
    done = site.command(*words)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    return output


def pem(site: Site, word: str, party: Party) -> str:
    """A line of configuration that names an RA by file."""
    file = site.path(f"{word}.pem")
    file.write_bytes(facts.to_pem([party.certificate]))
    return f"{word}: {file}"


def name_of(party: Party) -> str:
    return str(facts.fingerprint(party.certificate))


def http_500(ca: Hostile) -> None:
    """As servers answer that cannot open an envelope, and for a hundred other reasons."""
    ca.serving[REPLY] = lambda _: HttpAnswer(500, "text/plain", b"cannot open it\n", "500")


def bad_message_check(ca: Hostile) -> None:
    ca.forge = lambda forger: forger.reply(
        PkiStatus.FAILURE, certificates=(), fail_info=FailInfo.BAD_MESSAGE_CHECK, signer=forger.ca.generation.signer
    )


def bad_request(ca: Hostile) -> None:
    ca.forge = lambda forger: forger.reply(PkiStatus.FAILURE, certificates=(), fail_info=FailInfo.BAD_REQUEST)


@pytest.mark.parametrize("refuse", [http_500, bad_message_check])
def test_of_several_ras_the_one_that_was_chosen_is_told(
    device: Callable[[str], Site], refuse: Callable[[Hostile], None]
) -> None:
    """The newest is chosen, and it may be the older one that is at work still."""
    site = device("fingerprint")
    ca = hostile(site)
    old, new = ra(ca, "old RA", age=9), ra(ca, "new RA")
    at_work(ca, new, [old, new])
    refuse(ca)
    output = told(site, "renew", "--force", "web", code=1)
    assert f"the request was encrypted to CN=device7 ({name_of(new)})" in output
    assert f"name the right one with `recipient`: perhaps CN=device7 ({name_of(old)})" in output
    assert "name the right one with `recipient`" in told(site, "status")
    ca.behave()
    at_work(ca, old, [new, old])
    site.write(authority=pem(site, "recipient", old))
    told(site, "renew", "--force", "web")


def two_ras_alike(ca: Hostile) -> list[Party]:
    return [ra(ca, "new RA"), ra(ca, "old RA", age=9)]


def two_ras_of_two_parts(ca: Hostile) -> list[Party]:
    """As NDES has them: their key usage tells who is who."""
    return [ra(ca, "new RA"), ra(ca, "signing RA", usage=("digital_signature",))]


@pytest.mark.parametrize(
    ("ras", "refuse", "hint"),
    [
        pytest.param(lambda _: [], http_500, False, id="the CA alone, HTTP 500"),
        pytest.param(lambda _: [], bad_message_check, False, id="the CA alone, badMessageCheck"),
        pytest.param(two_ras_of_two_parts, http_500, False, id="two of two parts, HTTP 500"),
        pytest.param(two_ras_alike, bad_request, False, id="several, badRequest"),
        pytest.param(two_ras_alike, http_500, True, id="several, HTTP 500"),
    ],
)
def test_a_refusal_for_another_reason_is_not_blamed_on_it(
    device: Callable[[str], Site],
    ras: Callable[[Hostile], list[Party]],
    refuse: Callable[[Hostile], None],
    hint: bool,
) -> None:
    site = device("fingerprint")
    ca = hostile(site)
    if offered := ras(ca):
        at_work(ca, offered[0], offered)
    told(site, "renew", "--force", "web")  # nothing is new
    refuse(ca)
    output = told(site, "renew", "--force", "web", code=1)
    assert ("the request was encrypted to" in output) is hint


def test_an_ra_that_is_new_is_told_by_check_first_then_once(device: Callable[[str], Site]) -> None:
    site = device("fingerprint")
    ca = hostile(site)
    told(site, "check")
    new = ra(ca, "new RA")
    at_work(ca, new, [new])
    words = f"lab has a new RA: CN=device7 ({name_of(new)})"
    for _ in range(2):  # looking is not yet being told
        assert f"! {words}" in told(site, "check")
    assert words in told(site, "renew", "--force", "web")
    assert words not in told(site, "renew", "--force", "web")
    assert words not in told(site, "check")


def test_a_new_ra_that_cannot_read_is_told_as_new(device: Callable[[str], Site]) -> None:
    site = device("fingerprint")
    ca = hostile(site)
    new = ra(ca, "new RA")
    at_work(ca, new, [new])
    http_500(ca)
    assert f"({name_of(new)}), a new RA; if that is the wrong RA" in told(site, "renew", "--force", "web", code=1)


@pytest.mark.parametrize("words", [("recipient",), ("signer",), ("recipient", "signer")], ids="+".join)
def test_a_named_ra_that_was_replaced_is_passed_over_and_told(
    device: Callable[[str], Site], words: tuple[str, ...]
) -> None:
    """NDES: the RA's certificates end after two years, and the files on the device name the old ones."""
    site = device("fingerprint")
    ca = hostile(site)
    old, new = ra(ca, "old RA", age=9), ra(ca, "new RA")
    at_work(ca, old, [old])
    site.write(authority="\n".join(pem(site, word, old) for word in words))
    told(site, "renew", "--force", "web")
    assert "it is ignored" not in told(site, "check")
    at_work(ca, new, [new])
    seen = told(site, "check")
    for word in words:
        assert (
            f"! `{word}` names CN=device7 ({name_of(old)}), which lab no longer offers as an RA; it is ignored" in seen
        )
        assert f"remove `{word}`" in seen
    output = told(site, "renew", "--force", "web")
    assert output.count("it is ignored") == len(words)
    site.write()
    assert "it is ignored" not in told(site, "check")


def test_a_named_ra_that_expired_is_passed_over_and_told(device: Callable[[str], Site]) -> None:
    site = device("fingerprint")
    ca = hostile(site)
    old = ra(ca, "old RA", age=9, end=real_clock() - DAY)
    site.write(authority=pem(site, "recipient", old))
    assert "`recipient` names CN=device7" in told(site, "check")
    told(site, "renew", "--force", "web")


def test_an_ra_that_its_ca_never_offers_is_believed_by_its_file(device: Callable[[str], Site]) -> None:
    """The CA says nothing of RAs: the file is all that is known of them."""
    site = device("fingerprint")
    ca = hostile(site)
    quiet = ra(ca, "quiet RA")
    at_work(ca, quiet, [])
    site.write(authority="\n".join(pem(site, word, quiet) for word in ("recipient", "signer")))
    assert "it is ignored" not in told(site, "check")
    told(site, "renew", "--force", "web")


def test_a_fingerprint_of_an_ra_that_is_gone_is_told(device: Callable[[str], Site]) -> None:
    site = device("fingerprint")
    ca = hostile(site)
    old, new = ra(ca, "old RA", age=9, purposes=()), ra(ca, "new RA")
    at_work(ca, old, [old])
    site.write(authority=f"fingerprint: [{facts.fingerprint(ca.issuer.certificate)}, {name_of(old)}]")
    told(site, "renew", "--force", "web")
    assert name_of(old) not in told(site, "check")
    at_work(ca, new, [new])
    assert f"! `fingerprint` names {name_of(old)}, which lab does not offer" in told(site, "check")
    assert f"lab no longer offers the RA that `fingerprint` names, {name_of(old)}" in told(
        site, "renew", "--force", "web"
    )
    assert f"! `fingerprint` names {name_of(old)}, which lab does not offer" in told(site, "check")
