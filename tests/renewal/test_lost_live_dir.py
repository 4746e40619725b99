"""`live_dir` on a tmpfs, or left out of a backup: links lead to nothing, and the pair of previous/ comes back."""

from __future__ import annotations

import shutil

import pytest

from certagent.policy import Condition
from certagent.transaction.journal import Phase
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Site, ran, recording_hook


@pytest.fixture
def bereft(site: Site) -> Site:
    """Two certificates were put there by links, and what these led to is gone."""
    post = recording_hook(site, "post")
    site.write(f"swap: symlink\nhooks: {{post: [[{post}]]}}")
    assert site.run().result is Result.ENROLLED
    assert site.run(Wish.RENEW).result is Result.RENEWED
    shutil.rmtree(site.path("live"))
    return site


@pytest.fixture
def lost(bereft: Site) -> Site:
    """The same, and the CA is away."""
    bereft.server.stop()
    return bereft


def test_the_pair_before_the_last_is_put_back_and_its_hooks_run(lost: Site) -> None:
    assert lost.run().result is Result.PUT_BACK
    assert lost.pair_matches()
    assert lost.leaf().serial_number == lost.ca.issued()[0].certificate.serial_number
    assert len(ran(lost, "post")) == 3
    assert lost.run().result is Result.NOTHING
    assert lost.leftovers() == []


def test_it_comes_back_as_often_as_live_dir_is_lost(lost: Site) -> None:
    for _ in range(3):
        assert lost.run().result is Result.PUT_BACK
        assert lost.pair_matches()
        shutil.rmtree(lost.path("live"))


def test_one_that_has_ended_meanwhile_is_left_where_it_is(lost: Site) -> None:
    lost.clock.advance(91 * DAY)
    outcome = lost.run()
    assert (outcome.result, outcome.state) == (Result.FAILED, Condition.FAILED)
    assert not lost.certificate.exists()


def test_a_successor_that_is_there_is_put_in_place_instead(site: Site) -> None:
    site.write("swap: symlink")
    site.run()
    pre = recording_hook(site, "pre", exit_code="1")
    site.write(f"swap: symlink\nhooks: {{pre: [[{pre}]]}}")
    assert site.run(Wish.RENEW).result is Result.FAILED
    assert site.transaction is not None
    assert site.transaction.phase is Phase.ISSUED
    shutil.rmtree(site.path("live"))
    site.path("pre.exit").write_text("0")
    assert site.run(Wish.NOW).result is Result.RENEWED
    assert site.pair_matches()
    assert len(site.ca.issued()) == 2


def test_check_says_what_is_gone_and_what_will_be_done(lost: Site) -> None:
    done = lost.command("check", "--offline")
    assert "the links of web point to" in done.stdout
    assert "`certagent renew web` brings back the previous pair" in done.stdout
    shutil.rmtree(lost.keystore_directory / "previous")
    assert "`certagent enroll --force web`" in lost.command("check", "--offline").stdout


def test_what_cannot_be_read_now_is_tried_again_and_no_certificate_is_asked_for_instead(bereft: Site) -> None:
    previous = bereft.path("state/keystores/web/previous")
    previous.rename(previous.with_name("aside"))
    previous.touch()  # not a directory
    issued = len(bereft.ca.issued())
    outcome = bereft.run()
    assert outcome.result is Result.FAILED
    assert "the old pair cannot be restored: cannot read" in str(outcome.message)
    previous.unlink()
    previous.with_name("aside").rename(previous)
    bereft.clock.advance(DAY)
    assert bereft.run().result is Result.PUT_BACK
    assert len(bereft.ca.issued()) == issued
