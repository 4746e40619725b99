"""Where a systemd credential is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from certagent.credentials import path_of

OWN, RUNTIME = "own", "run"
AGENT, TIMER = f"{RUNTIME}/certagent.service", f"{RUNTIME}/certagent-renew.service"


@pytest.mark.parametrize(
    ("there", "set_to", "found"),
    [
        pytest.param([OWN, AGENT], OWN, OWN, id="in a unit: its own"),
        pytest.param([AGENT, TIMER], OWN, AGENT, id="in another program's unit, which has it not: the agent's"),
        pytest.param([AGENT, TIMER], None, AGENT, id="by hand: the agent's"),
        pytest.param([TIMER], None, TIMER, id="by hand while the timer's unit runs"),
        pytest.param([OWN], None, None, id="nowhere"),
    ],
)
def test_where_it_is_found(
    there: list[str], set_to: str | None, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in there:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "challenge").write_text("secret")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if set_to:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / set_to))
    assert path_of("challenge", tmp_path / RUNTIME) == (tmp_path / found / "challenge" if found else None)
