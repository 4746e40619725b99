"""By the command line: next CAs whose dates or keys make no sense, and an announcement that is shown again too late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent import certificate as facts
from certagent.lab import HttpAnswer
from certagent.scep import encode_next_ca
from certagent.trust.proof import comes_from
from tests.hostile.case import consumers_files
from tests.hostile.conftest import hostile
from tests.hostile.lab import Hostile
from tests.hostile.takeover import DEVICE, SIGNS, at_work, real_clock
from tests.renewal.site import DAY, Site
from tests.unit.pki import Party, party, rsa_key

# Each starts some commands; what they show is held by quicker tests of the rules, too.
pytestmark = pytest.mark.slow

WINDOW = "rollover_at: 2100d"  # before the end of each CA here: it is asked for the next one now
GAP = "long after the current one expires"
CAPABILITIES = ("AES", "SHA-256", "POSTPKIOperation", "Renewal", "GetNextCACert")


def next_ca(*, start: int = 100, end: int = 2000, with_key: Any = None) -> Party:
    """A next CA; days from now. The present one has 999 left."""
    now, usage = real_clock(), (*SIGNS, *DEVICE)
    made = with_key or rsa_key("next")
    return party(
        "CN=next CA", with_key=made, ca=True, key_id=True, usage=usage, start=now + start * DAY, end=now + end * DAY
    )


def announce(ca: Hostile, following: Party) -> None:
    """In the nested form, which the current CA signs."""
    answer = encode_next_ca([following.certificate], ca.generation.issuer, nested=True)
    ca.words = CAPABILITIES
    ca.serving["GetNextCACert"] = lambda _: HttpAnswer(200, "application/x-x509-next-ca-cert", answer, "next CA")


def asked_for_the_next(site: Site, *more: str) -> str:
    trusted = site.path("ca.pem")
    site.write(f"ca_file: {trusted}", "\n".join([WINDOW, *more]))
    done = site.command("renew", "web")
    output: str = done.stdout + done.stderr
    assert "Traceback" not in output
    return output + site.command("status", "web").stdout


def trusted(site: Site) -> tuple[x509.Certificate, ...]:
    return facts.load_pem(site.path("ca.pem").read_bytes(), "ca.pem")


@pytest.mark.parametrize(
    ("following", "says", "hint"),
    [
        pytest.param(
            lambda: next_ca(start=36_500, end=40_000),
            "long after the current one expires",
            "next_fingerprint",
            id="in 2126",
        ),
        pytest.param(
            lambda: next_ca(start=1030),
            "long after the current one expires",
            "next_fingerprint",
            id="a month after the end",
        ),
        pytest.param(lambda: next_ca(end=900), "expires before the current one", "next_fingerprint", id="ends first"),
        pytest.param(lambda: next_ca(start=-10, end=-1), "expired", "is the clock right?", id="has ended"),
        pytest.param(
            lambda: next_ca(with_key=rsa.generate_private_key(65537, 1024)),
            "an RSA key of 1024 bits",
            "ask the CA's operator",
            id="RSA of 1024 bits",
        ),
    ],
)
def test_one_that_makes_no_sense_is_refused_and_told(
    device: Callable[..., Site], following: Callable[[], Party], says: str, hint: str
) -> None:
    """Although the current CA has signed it. Renewals go on."""
    site = device("fingerprint", age=1500)
    ca = hostile(site)
    announce(ca, following())
    before = site.leaf()
    seen = asked_for_the_next(site)
    assert says in seen
    assert hint in seen
    assert trusted(site) == (ca.issuer.certificate,)
    assert not (site.path("state") / "authorities/lab/next-ca.pem").exists()
    assert site.leaf() == before
    assert site.command("renew", "--force", "web").returncode == 0
    assert site.leaf() != before


@pytest.mark.parametrize("start", [100, 999], ids=["before the present one's end", "at its very end"])
def test_one_that_makes_sense_is_believed(device: Callable[..., Site], start: int) -> None:
    """What the cases above are changed from."""
    site = device("fingerprint", age=1500)
    ca = hostile(site)
    following = next_ca(start=start)
    announce(ca, following)
    seen = asked_for_the_next(site)
    assert "CN=next CA" in seen
    assert trusted(site) == (ca.issuer.certificate, following.certificate)


def test_dates_that_a_person_has_checked_are_no_obstacle(device: Callable[..., Site]) -> None:
    site = device("fingerprint", age=1500)
    ca = hostile(site)
    following = next_ca(end=900)
    announce(ca, following)
    asked_for_the_next(site, f"next_fingerprint: {facts.fingerprint(following.certificate)}")
    assert trusted(site) == (ca.issuer.certificate, following.certificate)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "with the old CA in GetCACert"])
def test_an_announcement_that_is_replayed_after_the_switch_does_no_harm(
    device: Callable[..., Site], beside: bool
) -> None:
    site = device("fingerprint", age=1500)
    ca = hostile(site)
    old, following = ca.issuer, next_ca(start=-400)
    announce(ca, following)
    stale = ca.serving["GetNextCACert"]
    asked_for_the_next(site)
    at_work(ca, following, [following.certificate])
    assert site.command("renew", "--force", "web").returncode == 0
    assert comes_from(site.leaf(), following.certificate)
    files, trust = consumers_files(site), trusted(site)
    ca.serving["GetNextCACert"] = stale
    if beside:
        ca.offered = [following.certificate, old.certificate]
    for words in (("renew", "web"), ("check",)):
        done = site.command(*words)
        assert "Traceback" not in done.stdout + done.stderr
        assert consumers_files(site) == files
        assert trusted(site) == trust
    memory = site.path("state") / "authorities/lab"
    assert facts.load_pem((memory / "ca.pem").read_bytes(), "ca.pem") == (following.certificate,)
    assert not (memory / "next-ca.pem").exists()
    assert site.command("renew", "--force", "web").returncode == 0
    assert comes_from(site.leaf(), following.certificate)


def test_an_announcement_that_was_withdrawn_is_not_believed_again(device: Callable[..., Site]) -> None:
    """Whoever kept it, and perhaps the key for which it was withdrawn, shows it once more."""
    site = device("fingerprint", age=1500)
    ca = hostile(site)
    lost, following = next_ca(with_key=rsa_key("lost")), next_ca(start=90)
    announce(ca, lost)
    asked_for_the_next(site)
    assert trusted(site) == (ca.issuer.certificate, lost.certificate)
    announce(ca, following)
    asked_for_the_next(site)
    assert trusted(site) == (ca.issuer.certificate, following.certificate)
    announce(ca, lost)
    seen = asked_for_the_next(site)
    assert "was announced before, and a different one since" in seen
    assert f"next_fingerprint: {facts.fingerprint(lost.certificate)}" in seen
    assert trusted(site) == (ca.issuer.certificate, following.certificate)
    announce(ca, following)
    asked_for_the_next(site)
    assert trusted(site) == (ca.issuer.certificate, following.certificate)
    announce(ca, lost)
    asked_for_the_next(site, f"next_fingerprint: {facts.fingerprint(lost.certificate)}")
    assert trusted(site) == (ca.issuer.certificate, lost.certificate)
