"""Each definition of keystores/ as shipped, hooks included, on a machine that boots with the real consumer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.consumers.catalogue import CONSUMERS
from tests.interop.commands import ROOT
from tests.systemd.conftest import Machine
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.daemons, pytest.mark.needs("nspawn")]

# A connection that is refused, or cut off before a word was said; or a process at its end that cannot sign any more.
NOBODY_THERE = ("Connection", "BrokenPipe", "SSLEOFError", "SSLError(1, '[SSL: TLSV1_ALERT_INTERNAL_ERROR]")

ENDS = ("enrolled", "renewed", "rolled over", "failed", "rolled back")


def live(machine: Machine, name: str) -> dict[str, Any]:
    """What was seen of the consumer's life, see life.py."""
    machine.install("certagent-recover.service")
    python = f"PYTHONPATH={ROOT} PYTHONDONTWRITEBYTECODE=1 {ROOT}/.venv/bin/python"
    printed = machine.boot(
        f"cd / && {python} -m tests.consumers.life '{name}' /root/life.json\njournalctl -b -o cat | tail -n 60\n",
        seconds=8 * PATIENCE,
    )
    result = machine.root / "root/life.json"
    assert result.exists(), printed
    seen: dict[str, Any] = json.loads(result.read_text())
    print(printed)
    print(json.dumps(seen, indent=1))
    return seen


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.needs(*it.needs)) for name, it in CONSUMERS.items()]
)
def test_enrolled_renewed_under_load_and_rolled_over(machine: Machine, name: str) -> None:
    seen, it = live(machine, name), CONSUMERS[name]
    keystore = it.definition or name
    if it.starts or it.quiet:
        assert seen["first_enrollment"].startswith(f"0: {keystore}: enrolled")
    else:
        assert seen["first_enrollment"].startswith("1: ")
        assert "in place; the post hook failed and will be retried" in seen["first_enrollment"]
        assert seen["enrolled"].startswith(f"0: {keystore}: enrolled")
    assert (seen["renewals"], seen["all_served"]) == (3, True)
    assert seen["handshakes"] >= 4 * it.tries
    assert [each for each in seen["failed"] if not (it.refuses and each.startswith(NOBODY_THERE))] == []
    assert [event for event in seen["events"] if event in ENDS] == ["enrolled", *["renewed"] * 3, "rolled over"]
    # The peers under the first and the second CA: clients that show its certificate, or that believe it alone.
    assert seen["before"] == [True, False]
    assert seen["during"] == [True, it.verifies]
    assert seen["after"] == [it.verifies, True]
    assert seen["state"] == "valid"
