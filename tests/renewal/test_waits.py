"""How often a renewal waits for the disk; `make torture` shows that it is often enough."""

from __future__ import annotations

import pytest

from certagent.transaction.renewal import Wish, advance
from certagent.transaction.report import Outcome, Result
from tests.keystore.faults import synced
from tests.renewal.site import Site


@pytest.mark.parametrize(
    ("keystore", "most"),
    [
        pytest.param("", 19, id="by rename"),
        pytest.param("rekey: never", 19, id="by rename, the key kept"),
        pytest.param("swap: symlink", 20, id="by symlink"),
        pytest.param("swap: symlink\nrekey: never", 20, id="by symlink, the key kept"),
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
