"""`certagent crl`, and the timer's `renew --due`, as they are typed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certagent import wall_clock
from certagent.agent.worker_process import environment
from certagent.lab import Settings
from certagent.trust import crl
from tests.renewal.site import DAY, Site, Sites
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(make_site: Sites) -> Site:
    made = make_site(Settings(lifetime=90 * DAY), real_time=True)
    made.write(authority=f"crl_file: {made.path('files/ca.crl')}")
    return made


@pytest.mark.slow
def test_the_timer_fetches_after_it_has_enrolled_and_a_person_fetches_at_once(site: Site) -> None:
    done = site.command("renew", "--due")
    assert (done.returncode, "lab: fetched: 1 CRL, fresh until" in done.stderr) == (0, True), done.stdout + done.stderr
    before = crl.read_all(site.path("files/ca.crl").read_bytes())
    done = site.command("renew", "--due")
    assert (done.returncode, "lab:" in done.stderr) == (0, False)
    assert crl.read_all(site.path("files/ca.crl").read_bytes()) == before
    done = site.command("crl", "--report", "json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert (told["authority"], told["result"], told["keystores"]) == ("lab", "fetched", [])
    done = site.command("crl", "lba")
    assert (done.returncode, "there is no crl_file for an authority 'lba'" in done.stderr) == (2, True)


def test_a_failure_is_told_with_what_to_do(site: Site) -> None:
    site.write(authority=f"crl_file: {site.path('files/ca.crl')}\ncrl_url: http://127.0.0.1:9/crl")
    done = site.command("crl", "lab")
    assert (done.returncode, done.stderr.startswith("lab: failed: http://127.0.0.1:9/crl")) == (1, True), done.stderr
    assert not site.path("files/ca.crl").exists()


@pytest.mark.slow
def test_a_clock_that_is_doubted_fetches_nothing_by_itself(site: Site) -> None:
    site.command("renew")
    long_ago = datetime.now(UTC) - 3 * 365 * DAY
    site.path("state/clock.json").write_text(json.dumps({"version": 1, "looked_at": long_ago.isoformat()}))
    if wall_clock.doubt(site.path("state"), datetime.now(UTC)) is None:
        pytest.skip("the kernel says that its clock is synchronised")
    done = site.command("crl", "--due")
    assert (done.returncode, "no CRL is fetched until the clock is right" in done.stderr) == (3, True)
    assert not site.path("files/ca.crl").exists()
    assert site.command("crl").returncode == 0  # a person's word


@pytest.mark.slow
def test_check_and_plan_tell_of_them(site: Site) -> None:
    site.command("renew")
    checked = site.command("check")
    assert checked.returncode == 0, checked.stdout
    assert "CRLs of lab" in checked.stdout
    assert re.search(r"✓ CRL of CN=certagent lab CA.*, 0 revoked, until ", checked.stdout)
    assert not site.path("files/ca.crl").exists()  # it changes nothing
    site.command("crl")
    planned = site.command("plan", "--json")
    [event] = [each for each in json.loads(planned.stdout)["events"] if each["event"] == "CRL"]
    assert (event["authority"], event["keystore"]) == ("lab", None)
    assert "fetches the authority's CRL" in site.command("plan").stdout
    site.path("files/ca.crl").write_text("something else")
    site.write(authority=f"crl_file: {site.path('files/ca.crl')}\ncrl_url: http://127.0.0.1:9/crl")
    checked = site.command("check")
    assert checked.returncode == 1
    assert "holds something other than CRLs" in checked.stdout
    assert "http://127.0.0.1:9/crl" in checked.stdout


@pytest.mark.slow
def test_the_agent_fetches_when_it_is_time_and_puts_back_what_was_removed(make_site: Sites) -> None:
    """As it runs, with lists that live for seconds."""
    site = make_site(Settings(lifetime=90 * DAY, crl_lifetime=timedelta(seconds=12)), real_time=True)
    file = site.path("files/ca.crl")
    site.write(authority=f"crl_file: {file}")

    def numbers() -> list[int | None]:
        return [crl.number(each) for each in crl.read_all(file.read_bytes())] if file.exists() else []

    log = site.path("agent.log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, ROOT / "tests/agent/serve.py", site.config], stderr=out, env=environment()
        )
    try:
        until(numbers, told=log.read_text)
        first = numbers()
        until(lambda: numbers() != first, told=log.read_text)
        file.unlink()
        until(file.exists, told=log.read_text)
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_the_agent_replaces_what_its_list_has(make_site: Sites) -> None:
    site = make_site(Settings(lifetime=90 * DAY, crl_lifetime=timedelta(seconds=12)), real_time=True)
    site.write("when_revoked: enroll", f"crl_file: {site.path('files/ca.crl')}")
    log = site.path("agent.log")
    with log.open("wb") as out:
        argv = [sys.executable, str(ROOT / "tests/agent/serve.py"), str(site.config)]
        process = subprocess.Popen(argv, stderr=out, env=environment())
    try:
        until(site.path("files/ca.crl").exists, told=log.read_text)
        before = site.leaf().serial_number
        site.ca.store.revoke(before, site.ca.clock())
        until(lambda: site.leaf().serial_number != before, told=log.read_text)
        until(lambda: "web: enrolled" in log.read_text(), told=log.read_text)
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert site.events()[-1] == "enrolled"
