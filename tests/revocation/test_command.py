"""`certagent crl`, and the timer's `renew --due`, as they are typed."""

from __future__ import annotations

import json

import pytest

from certagent.lab import Settings
from certagent.trust import crl
from tests.renewal.site import DAY, Site, Sites


@pytest.fixture
def site(make_site: Sites) -> Site:
    made = make_site(Settings(lifetime=90 * DAY), real_time=True)
    made.write(authority=f"crl_file: {made.path('files/ca.crl')}")
    return made


def test_the_timer_fetches_after_it_has_enrolled_and_a_person_fetches_at_once(site: Site) -> None:
    done = site.command("renew", "--due")
    assert (done.returncode, "lab: fetched: 1 CRL, fresh until" in done.stdout) == (0, True), done.stdout + done.stderr
    before = crl.read_all(site.path("files/ca.crl").read_bytes())
    done = site.command("renew", "--due")
    assert (done.returncode, "lab:" in done.stdout) == (0, False)
    assert crl.read_all(site.path("files/ca.crl").read_bytes()) == before
    done = site.command("crl", "--report", "json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert (told["authority"], told["result"], told["keystores"]) == ("lab", "fetched", [])
    done = site.command("crl", "lba")
    assert (done.returncode, "no CRLs are kept for an authority 'lba'" in done.stderr) == (2, True)


def test_a_failure_is_told_with_what_to_do(site: Site) -> None:
    site.write(authority=f"crl_file: {site.path('files/ca.crl')}\ncrl_url: http://127.0.0.1:9/crl")
    done = site.command("crl", "lab")
    assert (done.returncode, done.stderr.startswith("lab: failed: http://127.0.0.1:9/crl")) == (1, True), done.stderr
    assert not site.path("files/ca.crl").exists()
