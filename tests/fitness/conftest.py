from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent.lab import Settings
from tests.fitness.bench import LIFE, Bench, Willing
from tests.renewal.site import Clock, start_lab

Benches = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Benches]:
    """Makes benches: `make_bench("pkcs12")`, not enrolled yet."""
    with ExitStack() as stack:

        def make(
            type_: str = "pem", settings: Settings = LIFE, keystore: str | None = None, *, real_time: bool = False
        ) -> Bench:
            clock = Clock(datetime.now(UTC)) if real_time else Clock()
            lab = stack.enter_context(start_lab(tmp_path / "lab", clock, settings, Willing))
            bench = Bench(tmp_path, clock, lab, type=type_)
            bench.write() if keystore is None else bench.write(keystore)
            return bench

        yield make
