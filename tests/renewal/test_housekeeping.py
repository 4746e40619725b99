"""`cancel`, `remove`, `rename`: a keystore's records by hand. Nothing of the consumer's is touched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from certagent.lab import Settings
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site, Sites


@pytest.fixture
def pending(make_site: Sites) -> Site:
    """A renewal that waits for a person at the CA."""
    site = make_site(Settings(lifetime=90 * DAY))
    site.write()
    site.run()
    site.ca.settings = Settings(lifetime=90 * DAY, manual=True)  # from now on
    assert site.run(Wish.RENEW).result is Result.PENDING
    return site


def consumers(site: Site) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in site.key.parent.iterdir()}


def unconfigured(site: Site, name: str = "other") -> None:
    site.config.write_text(site.config.read_text().replace("  web:\n", f"  {name}:\n"))


def test_a_transaction_is_given_up_and_told(pending: Site) -> None:
    before = consumers(pending)
    done = pending.command("cancel", "web", "--yes")
    assert (done.returncode, "the renewal begun at" in done.stdout) == (0, True), done.stderr
    assert pending.transaction is None
    assert pending.events()[-1] == "abandoned"
    assert consumers(pending) == before
    assert "no transaction is open" in pending.command("cancel", "web", "--yes").stdout


def test_nothing_is_done_unasked(pending: Site) -> None:
    assert pending.command("cancel", "web", "--dry-run").returncode == 0
    refused = pending.command("cancel", "web")
    assert refused.returncode == 2
    assert "add --yes" in refused.stderr
    assert pending.transaction is not None


def test_what_is_kept_of_a_keystore_that_left_the_configuration_is_removed(pending: Site) -> None:
    before = consumers(pending)
    refused = pending.command("remove", "web", "--yes")
    assert (refused.returncode, "remove it from the configuration first" in refused.stderr) == (2, True)
    unconfigured(pending)
    done = pending.command("remove", "web", "--yes")
    assert done.returncode == 0, done.stderr
    assert not pending.keystore_directory.exists()
    assert consumers(pending) == before
    again = pending.command("remove", "web", "--yes")
    assert (again.returncode, "there are no records of a keystore 'web'" in again.stderr) == (2, True)


def test_a_keystore_goes_on_under_another_name(pending: Site) -> None:
    unconfigured(pending, "shop")
    done = pending.command("rename", "web", "shop", "--yes")
    assert done.returncode == 0, done.stderr
    state = pending.path("state/keystores")
    assert [each.name for each in state.iterdir()] == ["shop"]
    assert (state / "shop/transaction").exists()
    assert "shop" in pending.command("status").stdout
    assert "poll now" in pending.command("status").stdout


def test_a_pair_of_the_other_name_is_not_lost(site: Site) -> None:
    site.run()
    site.run(Wish.RENEW)
    unconfigured(site, "shop")
    shutil.copytree(site.keystore_directory, site.keystore_directory.with_name("shop"))
    refused = site.command("rename", "web", "shop", "--yes")
    assert (refused.returncode, "already has a pair or a transaction" in refused.stderr) == (2, True)


def test_links_that_consumers_read_are_not_left_behind(site: Site) -> None:
    site.write("swap: symlink")
    site.run()
    unconfigured(site, "shop")
    refused = site.command("rename", "web", "shop", "--yes")
    assert (refused.returncode, "are links into" in refused.stderr) == (2, True)


@pytest.mark.parametrize("name", ["../web", "/etc", ".", "..", "", "web/", "web/.."])
def test_a_name_that_is_a_path_names_nothing(site: Site, name: str) -> None:
    site.run()
    assert site.command("remove", "--yes", "--", name).returncode == 2
    assert Path(site.key).exists()
