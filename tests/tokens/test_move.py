"""From a file into a token without an outage: the new key is made in the token, the old one signs the request."""

from __future__ import annotations

from pathlib import Path

import pytest

from certagent.lab import Settings
from tests.renewal.site import DAY
from tests.tokens.conftest import Sites
from tests.tokens.site import Place, TokenSite
from tests.waiting import until

pytestmark = pytest.mark.needs("opensc")


def beside_a_file(site: TokenSite) -> Path:
    """A keystore `old` of PEM files, enrolled, beside `web` in the token, whose definition knows no names."""
    site.write(subject=False)
    key, certificate = site.path("files/old.key"), site.path("files/old.pem")
    old = (
        "  old:\n    type: pem\n    authority: lab\n    subject: CN=gateway,O=Example\n"
        f"    key_file: {key}\n    certificate_file: {certificate}\n"
    )
    site.config.write_text(site.config.read_text() + old)
    assert site.command("enroll", "old").returncode == 0
    return key


def test_the_identity_moves_and_the_old_one_stays_until_it_is_configured_no_more(
    place: Place, make_site: Sites
) -> None:
    site = make_site(place, real_time=True)
    key = beside_a_file(site)
    before = key.read_bytes()
    moved = site.command("enroll", "old", "--into", "web")
    assert moved.returncode == 0, moved.stderr
    assert [record.kind for record in site.ca.issued()] == ["enrollment", "renewal"]
    assert site.leaf().subject.rfc4514_string() == "CN=gateway,O=Example"
    assert key.read_bytes() == before
    assert site.pair_matches()
    assert site.command("renew", "--force", "web").returncode == 0
    assert site.ca.issued()[-1].kind == "renewal"


@pytest.mark.slow
@pytest.mark.needs("softhsm")
@pytest.mark.parametrize("handed", [False, True], ids=["that a person types", "handed the new keystore alone"])
def test_a_move_that_waits_for_a_person_is_carried_on_by_the_agents_own_command(
    handed: bool, softhsm: Place, make_site: Sites
) -> None:
    site = make_site(softhsm, Settings(lifetime=90 * DAY, manual=True), real_time=True)
    site.write(subject=False, authority="poll_interval: 1s")
    old = (
        "  old:\n    type: pem\n    authority: lab\n    subject: CN=gateway\n"
        f"    key_file: {site.path('files/old.key')}\n    certificate_file: {site.path('files/old.pem')}\n"
    )
    site.config.write_text(site.config.read_text() + old)
    assert site.command("enroll", "old").returncode == 3
    approve(site)
    assert site.command("renew", "old").returncode == 0
    assert site.command("enroll", "old", "--into", "web").returncode == 3
    approve(site)
    if handed:
        until(lambda: site.worker("web").returncode == 0)  # it polls when it is time to
    else:
        assert site.command("renew", "web").returncode == 0
    assert site.pair_matches()


def approve(site: TokenSite) -> None:
    for waiting in site.ca.store.all_waiting():
        site.ca.store.decide(waiting, "approved")


@pytest.mark.needs("softhsm")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(("old", "--into", "old"), "old cannot be moved into itself", id="itself"),
        pytest.param(("old", "web", "--into", "web"), "the identity of one keystore", id="two at once"),
        pytest.param(("old", "--into", "lost"), "there is no keystore 'lost'", id="unknown"),
    ],
)
def test_what_cannot_be_moved_is_said(softhsm: Place, make_site: Sites, words: tuple[str, ...], told: str) -> None:
    site = make_site(softhsm, real_time=True)
    beside_a_file(site)
    done = site.command("enroll", *words)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.needs("softhsm")
def test_a_living_identity_is_not_replaced_by_a_move(softhsm: Place, make_site: Sites) -> None:
    site = make_site(softhsm, real_time=True)
    beside_a_file(site)
    site.command("enroll", "old", "--into", "web")
    done = site.command("enroll", "old", "--into", "web")
    assert done.returncode == 1
    assert "keystore web has a certificate valid until" in done.stderr
