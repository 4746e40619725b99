"""The manual pages: nothing that --help or the schema has is left out, and they are well-formed."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import pytest

from certagent.cli import parser
from certagent.cli.main import main
from certagent.cli.manual import PAGES
from certagent.config.schema import json_schema

DATE = "2026-11-26"


def plain(page: str) -> str:
    """A page without roff's own signs."""
    text = PAGES[page][1](DATE)
    for sign, stands_for in (
        (r"\-", "-"),
        (r"\:", ""),
        (r"\fB", ""),
        (r"\fR", ""),
        (r"\(ga", "`"),
        (r"\(aq", "'"),
        (r"\e", "\\"),
    ):
        text = text.replace(sign, stands_for)
    return text


def test_every_command_and_option_is_in_it() -> None:
    text = plain("certagent")
    waiting = [parser.build((), whole=True)]
    while waiting:
        each = waiting.pop()
        waiting += [below for inside in parser.subparsers(each) for below in inside.values()]
        if each.prog != "certagent":
            assert f"\n.SS {each.prog}\n" in text
        for action in parser.actions(each):
            if action.help != argparse.SUPPRESS and action.dest != "help":
                assert all(option in text for option in action.option_strings), action.option_strings


def test_every_key_is_in_it() -> None:
    text = plain("agent.yaml")
    definitions = json_schema()["$defs"]
    assert isinstance(definitions, dict)
    for found in definitions.values():
        for key in found.get("properties", {}):
            assert f"\n.TP\n{key}:\n" in text, key


@pytest.mark.parametrize("page", PAGES)
def test_no_line_is_taken_for_a_command_of_roff(page: str) -> None:
    """A line of text that begins with a dot would be one, and would be gone."""
    known = (".TH ", ".ds AD l", ".ad l", ".SH ", ".SS ", ".B ", ".BR ", ".TP", ".PP", ".nf", ".fi", ".RS 4", ".RE")
    lines = [line for line in PAGES[page][1](DATE).splitlines() if line.startswith((".", "'"))]
    assert [line for line in lines if not line.startswith(known)] == []


def test_both_are_installed_where_man_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["man", "--install", str(tmp_path)]) == 0
    made = [tmp_path / "man1/certagent.1", tmp_path / "man5/agent.yaml.5"]
    assert capsys.readouterr().out.split() == [str(each) for each in made]
    assert all(each.read_text().startswith(".TH ") for each in made)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["mandoc", "-T", "lint", "-W", "warning"], id="mandoc", marks=pytest.mark.needs("mandoc")),
        pytest.param(["man", "--warnings", "-l"], id="man", marks=pytest.mark.needs("man")),
    ],
)
def test_it_is_well_formed(page: str, command: list[str], tmp_path: Path) -> None:
    file = tmp_path / f"{page}.{PAGES[page][0]}"
    file.write_text(PAGES[page][1](DATE))
    done = subprocess.run(
        [*command, file], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    )
    faults = done.stdout if command[0] == "mandoc" else done.stderr
    assert (done.returncode, faults) == (0, "")
