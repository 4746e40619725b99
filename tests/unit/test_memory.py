"""Whether `check` advises fewer workers, by the host's memory in MB."""

from __future__ import annotations

import pytest

from certagent.cli.check_findings import little_memory

CASES = [
    ("a router with the default", 122, 2, True),
    ("a router with one worker", 122, 1, False),
    ("a small host", 240, 2, False),
    ("a small host with many workers", 240, 8, True),
    ("the smallest that runs at all", 60, 1, False),
]


@pytest.mark.parametrize(("megabytes", "workers", "advised"), [pytest.param(*row, id=name) for name, *row in CASES])
def test_fewer_workers_are_advised(megabytes: int, workers: int, advised: bool) -> None:
    found = [finding.hint for finding in little_memory(megabytes, workers)]
    assert [hint.partition(":")[0] for hint in found] == (["set `max_workers"] if advised else [])
