from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from .pki import Pki, make_pki
from .site import Site

MakeSite = Callable[..., Site]
TWO_FILES = {"key_file": "web.key", "certificate_file": "web.pem"}


@pytest.fixture
def pki() -> Pki:
    return make_pki()


@pytest.fixture
def site(tmp_path: Path) -> MakeSite:
    """`site(key_file=…, swap=…)`; two plain files unless told otherwise."""

    def make(**layout: Any) -> Site:
        return Site(tmp_path, TWO_FILES | layout)

    return make


@pytest.fixture
def without_rights() -> Callable[[], AbstractContextManager[None]]:
    """A stretch of code run by a user who may not read root's files."""

    @contextmanager
    def nobody() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return nobody
