"""How often a renewal waits for the disk. Each fsync takes milliseconds, and on flash a part of its life.

That none of them is missing, the crash states of tests/torture show; that none is made without need, this.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from certagent import durable
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.keystore.faults import watched
from tests.renewal.site import Sites


def synced(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


@pytest.mark.parametrize(
    ("keystore", "most"),
    [
        pytest.param("key_type: ec:p256", 33, id="renames, with a transport key"),
        pytest.param("rekey: never", 31, id="renames"),
        pytest.param("rekey: never\nswap: symlink", 34, id="symlink"),
        pytest.param("rekey: never\nswap: in-place", 38, id="in-place"),
    ],
)
def test_a_renewal_waits_for_the_disk_no_more_often_than_it_must(make_site: Sites, keystore: str, most: int) -> None:
    site = make_site()
    site.write(keystore)
    assert site.run().result is Result.ENROLLED
    assert site.run(Wish.RENEW).result is Result.RENEWED  # now there is a previous pair
    syncs: list[Path] = []

    def before(_number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "fsync" and not (place := synced(arguments[0])).is_relative_to(site.path("lab")):
            syncs.append(place)

    with watched(before):
        assert site.run(Wish.RENEW).result is Result.RENEWED
    assert len(syncs) <= most, "\n".join(map(str, syncs))


def test_nothing_is_synced_where_nothing_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    durable.write(tmp_path / "there", b"content")
    monkeypatch.setattr(os, "fsync", lambda _descriptor: pytest.fail("synced"))
    durable.remove(tmp_path / "missing")
    durable.write_unless_same(tmp_path / "there", b"content")
