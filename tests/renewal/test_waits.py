"""How often a renewal waits for the disk. Each fsync takes milliseconds, and on flash a part of its life.

That none of them is missing, the crash states of tests/torture show; that none is made without need, this.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from certagent import durable
from certagent.transaction.renewal import Wish, advance
from certagent.transaction.report import Outcome, Result
from tests.keystore.faults import synced
from tests.renewal.site import Site


@pytest.mark.parametrize(
    ("keystore", "most"),
    [
        pytest.param("", 19, id="by rename"),
        pytest.param("rekey: never", 19, id="by rename, the key kept"),
        pytest.param("key_type: ec:p256", 21, id="by rename, with a transport key"),
        pytest.param("swap: symlink", 20, id="by symlink"),
        pytest.param("swap: symlink\nrekey: never", 20, id="by symlink, the key kept"),
        pytest.param("swap: in-place\nrekey: never", 24, id="in place, the key kept"),
    ],
)
def test_a_renewal_waits_for_the_disk_so_often_at_most(keystore: str, most: int, site: Site) -> None:
    site.write(keystore)
    assert site.run().result is Result.ENROLLED
    assert site.run(Wish.RENEW).result is Result.RENEWED  # the first makes directories, and links
    ended: list[Outcome] = []
    made = synced(lambda: ended.append(advance(site.context(), Wish.RENEW, lambda: False)), site.path("lab"))
    assert [each.result for each in ended] == [Result.RENEWED]
    assert len(made) <= most, made


def test_nothing_is_synced_where_nothing_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    durable.write(tmp_path / "there", b"content")
    monkeypatch.setattr(os, "fsync", lambda _descriptor: pytest.fail("synced"))
    durable.remove(tmp_path / "missing")
    durable.write_unless_same(tmp_path / "there", b"content")
