"""docs/scep*.md promise nothing that no test shows, and leave out no section of either specification."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = "".join((ROOT / "docs" / name).read_text() for name in ("scep.md", "scep-conformance.md"))
RFC, DRAFT = "Conformance: RFC 8894", "Conformance: draft-nourse-scep-11"

# The tables of contents, chapter by chapter; for the draft also the headings that its table leaves out.
SECTIONS = {
    RFC: """
        1 1.1
        2 2.1 2.1.1 2.1.2 2.2 2.3 2.4 2.5 2.5.1 2.6 2.7 2.8 2.9
        3 3.1 3.2 3.2.1 3.2.1.1 3.2.1.2 3.2.1.3 3.2.1.4 3.2.1.5 3.2.2
        3.3 3.3.1 3.3.2 3.3.2.1 3.3.2.2 3.3.2.3 3.3.3 3.3.4 3.4 3.5 3.5.1 3.5.2
        4 4.1 4.2 4.2.1 4.2.1.1 4.2.1.2 4.3 4.3.1 4.4 4.4.1 4.5 4.5.1 4.6 4.6.1 4.7 4.7.1
        5 5.1 5.2
        6 6.1 6.2 6.3 6.4
        7 7.1 7.2 7.3 7.4 7.5 7.6 7.7 7.8 7.9 7.10
        8 8.1 8.2 A
    """,
    DRAFT: """
        1
        2 2.1 2.1.1 2.1.1.1 2.1.1.2 2.1.1.3 2.1.1.4 2.1.2 2.1.3
        2.2 2.2.1 2.2.1.1 2.2.1.2 2.2.2 2.2.3 2.2.4 2.2.5 2.2.6 2.3 2.3.1 2.3.2 2.3.3 2.4
        3 3.1 3.2
        4 4.1 4.2
        5 5.1 5.1.1 5.1.2 5.1.2.1 5.1.2.2 5.1.2.3 5.2 5.2.1 5.2.2 5.3 5.3.1 5.3.2 5.4 5.4.1 5.4.2
        5.5 5.5.1 5.5.2 5.5.2.1 5.5.2.2 5.5.3 5.5.3.1 5.5.3.2 5.6 5.6.1 5.6.2 5.6.3
        6 7 8
        A B C D E F G H Y Z
    """,
}


def chapter(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = [line for line in chapter(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def references(text: str) -> list[tuple[str, str, str]]:
    """File, test and case of each `directory/test_file.py::test_name[case]`."""
    return re.findall(r"`([a-z]+/test_\w+\.py)(?:::(\w+))?(?:\[([^]]+)\])?`", text)


NAMED = sorted(set(references(PAGE)))


@pytest.mark.parametrize(("file", "test", "case"), NAMED, ids=["::".join(filter(None, each)) for each in NAMED])
def test_the_tests_it_names_exist(file: str, test: str, case: str) -> None:
    source = (ROOT / "tests" / file).read_text()
    assert not test or re.search(rf"^ *def {test}\(", source, re.MULTILINE)
    # A case is the id of a parameter, the first argument of a call that makes one, or its name in a table.
    known = (f'id="{case}"', f'    "{case}": ')
    made = rf'\b(?:case|reply)\(\s*"{re.escape(case)}",'
    assert not case or any(each in source for each in known) or re.search(made, source)


@pytest.mark.parametrize("title", [RFC, DRAFT])
def test_every_section_has_its_row_in_order(title: str) -> None:
    cells = (row[0] for row in rows(title))
    found = [section.removeprefix("Appendix ") for cell in cells if cell for section in cell.split(", ")]
    assert found == SECTIONS[title].split()


@pytest.mark.parametrize("title", [RFC, DRAFT])
def test_whatever_is_done_is_shown_by_a_test(title: str) -> None:
    table = rows(title)
    assert {len(row) for row in table} == {4}
    without = [
        row for row in table if re.search(r"\bdone\b", row[2].replace("not done", "")) and not references(row[3])
    ]
    assert without == []


def test_the_checks_are_as_many_as_promised_and_each_is_shown() -> None:
    (title,) = re.findall(r"^## (\d+ checks on every answer)$", PAGE, re.MULTILINE)
    listed, _, passing = chapter(title).partition("### What passes")
    checks = re.split(r"^\d+\. ", listed, flags=re.MULTILINE)[1:]
    numbers = re.findall(r"^(\d+)\. ", listed, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, int(title.split()[0]) + 1)]
    assert [check for check in checks if not references(check)] == []
    # Each says what passes it, too.
    first, second = (table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", passing, re.MULTILINE))
    counterparts = [line.split("|")[1] for line in first[2:]]
    assert [each.strip() for cell in counterparts for each in cell.split(",")] == numbers
    assert [line for line in (*first[2:], *second[2:]) if not references(line)] == []
    assert f"then {title}" in (ROOT / "README.md").read_text()


def test_the_keys_it_sets_are_keys_of_the_configuration() -> None:
    known = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE))
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    told = {key for block in blocks for key in re.findall(r"^    (\w+):", block, re.MULTILINE)}
    # What is not a whole line of YAML: the words that the table of servers says to set.
    remedies = [row[1] for row in rows("Settings for common servers")]
    told |= {word for remedy in remedies for word in re.findall(r"`(\w+)(?::[^`]*)?`", remedy)}
    assert len(told) > 15
    assert told <= known
