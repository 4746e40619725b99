"""share/ holds what packages install below their prefix, made by `make manual`; this keeps it as the program is."""

from __future__ import annotations

from pathlib import Path

import pytest

from certagent.cli.completion import SCRIPTS
from certagent.cli.manual import PAGES

SHARE = Path(__file__).parents[2] / "share"
WHERE = {
    "bash": "bash-completion/completions/certagent",
    "zsh": "zsh/site-functions/_certagent",
    "fish": "fish/vendor_completions.d/certagent.fish",
}


def lines(page: str) -> list[str]:
    """Without the date, and without usage lines, which differ between versions of Python."""
    return [line for line in page.splitlines() if not line.startswith((".TH ", "certagent "))]


@pytest.mark.parametrize("page", PAGES)
def test_a_manual_page_is_of_today_s_program(page: str) -> None:
    section, made = PAGES[page]
    committed = (SHARE / f"man/man{section}" / f"{page}.{section}").read_text(encoding="utf-8")
    assert lines(committed) == lines(made("2026-11-26")), "run `make manual`"


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_completion_script_is_the_program_s_own(shell: str) -> None:
    assert (SHARE / WHERE[shell]).read_text() == SCRIPTS[shell], "run `make manual`"


def test_every_script_is_shipped() -> None:
    assert set(WHERE) == set(SCRIPTS)
