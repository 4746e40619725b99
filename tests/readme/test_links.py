"""Every link between the pages leads somewhere, and every page can be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "tests/README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
INDEX = ROOT / "docs/index.md"


def links(page: Path) -> list[tuple[str, str]]:
    """File (empty: the page itself) and heading of each link to something here."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", prose)
    return [(file, heading) for file, heading in found if not re.match(r"\w+:", file)]


def headings(page: Path) -> set[str]:
    """The names by which a page's headings are linked to, made as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page: Path) -> None:
    for file, heading in links(page):
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), file
        assert not heading or heading in headings(target), f"{file}#{heading}"


def test_the_index_has_every_page_once() -> None:
    listed = [file for file, _ in links(INDEX) if "/" not in file]
    assert sorted(listed) == sorted(each.name for each in (ROOT / "docs").glob("*.md") if each != INDEX)
