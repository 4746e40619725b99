"""docs/glossary.md: every word of the code's own lists is in it, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from certagent.policy import Action, Condition
from certagent.transaction.journal import Kind, Phase

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/glossary.md").read_text()


@pytest.mark.parametrize("word", [*Kind, *Phase, *Condition, *Action])
def test_a_word_of_the_code_is_explained(word: str) -> None:
    assert re.search(rf"(^\| |, |`){re.escape(word)}\b", PAGE, re.MULTILINE)


@pytest.mark.parametrize("module", sorted(set(re.findall(r"`([\w/]+\.py)`", PAGE))))
def test_a_module_is_there(module: str) -> None:
    assert (ROOT / "certagent" / module).exists()


def test_no_word_is_explained_twice() -> None:
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| [^|]+ \|$", PAGE, re.MULTILINE)
    words = [word.strip("` ") for row in rows for word in row.split(",") if row != "word"]
    assert [word for word in words if words.count(word) > 1] == []
