"""How often a renewal looks at the same files, and tries the same key: each time is a part of its CPU.

Why it looks again at all: docs/decisions, 37 (walks), 50 (journals), 51 (what is not walked to again).
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from cryptography import x509

from certagent import keys
from certagent.keystore import base, file_keystore, files
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import Site


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each path was opened; names in a directory that was held open stand as they are."""
    counted: Counter[Path] = Counter()
    real = os.open

    def counting(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        counted[Path(path)] += 1
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", counting)
    return counted


@pytest.mark.parametrize(
    ("keystore", "walks"),
    [
        pytest.param("", 46, id="by rename"),
        pytest.param("rekey: never", 46, id="by rename, the key kept"),
        pytest.param("swap: symlink", 57, id="by symlink"),
        pytest.param("swap: in-place", 48, id="in place"),
    ],
)
def test_a_renewal_looks_so_often_at_most(
    keystore: str, walks: int, site: Site, opened: Counter[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "would_show", lambda changed, now: False)  # as if each had just changed
    site.write(keystore)
    assert site.run().result is Result.ENROLLED
    assert site.run(Wish.RENEW).result is Result.RENEWED  # the first makes directories, and links
    opened.clear()
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert opened[Path("/")] <= walks
    of_the_shadow = {path: count for path, count in opened.items() if path.parent.name == "shadow"}
    assert sum(of_the_shadow.values()) <= 5, of_the_shadow  # it is written once, and read by four steps


@pytest.mark.parametrize("keystore", ["", "key_type: ec:p256", "rekey: never"])
def test_a_key_that_a_handshake_tried_is_not_tried_by_a_signature(
    keystore: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def counting(key: keys.PrivateKey, certificate: x509.Certificate, where: str) -> None:
        tried.append(where)
        base.prove_pair(key, certificate, where)

    monkeypatch.setattr(file_keystore, "prove_pair", counting)
    site.write(keystore)
    assert site.run().result is Result.ENROLLED
    assert site.run(Wish.RENEW).result is Result.RENEWED
    assert tried == []
