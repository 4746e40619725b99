"""The pictures in README.md are what the commands show today; `make pictures` makes them again."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.readme.pictures import PICTURES, PLACE

ROOT = Path(__file__).parents[2]
TEXTS = ("title", "desc", "text")


def words(svg: str) -> list[str]:
    """What can be read in it, line by line: not how this version of a library draws it."""
    shown = (each.text or "" for each in ElementTree.fromstring(svg).iter() if each.tag.rpartition("}")[2] in TEXTS)
    return [line for text in shown if (line := text.replace("\xa0", " ").strip())]


@pytest.mark.parametrize("name", PICTURES)
def test_it_is_of_today_s_commands(name: str, tmp_path: Path) -> None:
    committed = (PLACE / name).read_text()
    assert words(committed) == words(PICTURES[name](tmp_path)), "run `make pictures`"


@pytest.mark.parametrize("name", PICTURES)
def test_it_is_small_whole_and_has_a_title(name: str) -> None:
    text = (PLACE / name).read_text()
    assert len(text) < 60_000
    assert not re.findall(r"""(?:href|src)=|url\(["']?http""", text)  # nothing to fetch
    picture = ElementTree.fromstring(text)
    assert picture.get("role") == "img"
    assert words(text)[0].startswith("certagent ")


def test_the_readme_shows_each_with_words_for_who_does_not_see_it() -> None:
    shown = dict(re.findall(r"!\[([^\]]{40,})\]\(docs/pictures/(\S+)\)", (ROOT / "README.md").read_text()))
    assert sorted(shown.values()) == sorted(PICTURES)
