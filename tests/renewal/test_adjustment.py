"""What the definition says of the files is brought about at the next look; the certificate stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta

import pytest

from certagent.certificate import load_pem
from certagent.lab import Settings
from certagent.pem_blocks import key_format
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site, Sites, ran, recording_hook

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def mode(site: Site) -> int:
    return site.key.stat().st_mode & 0o777


def served(site: Site) -> int:
    return len(load_pem(site.certificate.read_bytes(), "web.pem"))


CHANGES = [
    pytest.param("mode: '0640'", lambda site: mode(site) == 0o640, id="mode"),
    pytest.param("owner: nobody", lambda site: site.certificate.stat().st_uid == 65534, marks=AS_ROOT, id="owner"),
    pytest.param("group: '12'", lambda site: site.key.stat().st_gid == 12, marks=AS_ROOT, id="group"),
    pytest.param("chain_file: {chain}", lambda site: site.path("files/chain.pem").exists(), id="chain_file"),
    pytest.param("certificate_format: leaf", lambda site: served(site) == 1, id="without the chain"),
    pytest.param("key_format: pkcs1", lambda site: key_format(site.key.read_bytes()) == "pkcs1", id="key_format"),
    pytest.param("swap: symlink\nmode: '0640'", lambda site: mode(site) == 0o640, id="mode, and links from now on"),
]


@pytest.fixture
def enrolled(make_site: Sites) -> Site:
    site = make_site(Settings(lifetime=90 * DAY, intermediate=True))
    site.write()
    assert site.run().result is Result.ENROLLED
    return site


def change(site: Site, line: str) -> None:
    post = recording_hook(site, "post")
    site.write(f"{line.format(chain=site.path('files/chain.pem'))}\nhooks: {{post: [[{post}]]}}")


@pytest.mark.parametrize(("line", "brought_about"), CHANGES)
def test_a_change_is_brought_about_with_its_hooks_and_once(
    enrolled: Site, line: str, brought_about: Callable[[Site], bool]
) -> None:
    serial = enrolled.leaf().serial_number
    assert not brought_about(enrolled)
    change(enrolled, line)
    assert enrolled.run().result is Result.ADJUSTED
    assert brought_about(enrolled)
    assert enrolled.leaf().serial_number == serial
    assert enrolled.pair_matches()
    assert enrolled.run(Wish.NOW).result is Result.NOTHING
    assert (len(ran(enrolled, "post")), len(enrolled.ca.issued())) == (1, 1)
    assert enrolled.leftovers() == []


def test_a_chain_that_was_taken_out_comes_back(enrolled: Site) -> None:
    change(enrolled, "certificate_format: leaf")
    enrolled.run()
    change(enrolled, "certificate_format: fullchain")
    assert enrolled.run().result is Result.ADJUSTED
    assert served(enrolled) == 2


def test_the_pair_before_stays_in_previous(enrolled: Site) -> None:
    assert enrolled.run(Wish.RENEW).result is Result.RENEWED
    kept = (enrolled.keystore_directory / "previous/certificate.pem").read_bytes()
    change(enrolled, "mode: '0640'")
    assert enrolled.run().result is Result.ADJUSTED
    assert (enrolled.keystore_directory / "previous/certificate.pem").read_bytes() == kept


def test_what_another_program_put_there_is_left_as_it_is(enrolled: Site) -> None:
    (enrolled.keystore_directory / "state.json").unlink()  # nobody knows any more who put it there
    change(enrolled, "mode: '0640'")
    assert enrolled.run().result is Result.NOTHING
    assert mode(enrolled) == 0o600


def test_a_hook_that_fails_is_owed(enrolled: Site) -> None:
    change(enrolled, "mode: '0640'")
    enrolled.path("post.exit").write_text("1")
    assert enrolled.run().result is Result.FAILED
    assert mode(enrolled) == 0o640
    enrolled.path("post.exit").write_text("0")
    enrolled.clock.advance(timedelta(hours=1))
    assert enrolled.run().result is Result.ADJUSTED
    assert len(ran(enrolled, "post")) == 2


@AS_ROOT
def test_what_a_user_may_have_moved_there_is_not_made_his(enrolled: Site) -> None:
    files = enrolled.key.parent
    files.chmod(0o755)
    os.chown(files, 65534, 65534)
    change(enrolled, "owner: nobody")
    assert enrolled.run().result is Result.ADJUSTED
    assert enrolled.certificate.stat().st_uid == 65534  # everybody can read that
    assert enrolled.key.stat().st_uid == 0
    assert enrolled.run(Wish.RENEW).result is Result.RENEWED
    assert enrolled.key.stat().st_uid == 65534
