"""docs/troubleshooting.md explains every error message in the code, and no other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.readme import messages

ROOT = messages.ROOT
TEXT = messages.PAGE.read_text()


def test_every_message_is_explained() -> None:
    """`python -m tests.readme.messages` prints what is missing."""
    assert messages.unexplained() == {}


def test_every_explanation_has_its_message() -> None:
    assert messages.no_longer_said() == []


def test_every_row_says_what_to_do() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| `")]
    assert [row for row in rows if not re.fullmatch(r"\| (`[^`]+` ?)+ \| \S.+ \|", row)] == []


def test_a_search_finds_the_cure() -> None:
    [block] = re.findall(r"```sh\n(.*)\n```", TEXT)
    command, _, page = block.rpartition(" ")
    assert Path(page).name == messages.PAGE.name
    found = subprocess.run(
        ["sh", "-c", f"{command} {messages.PAGE}"], capture_output=True, text=True, check=True
    ).stdout
    assert "ReadWritePaths" in found


def test_the_alarms_of_a_rollover_are_said() -> None:
    """docs/rollover.md quotes messages, with `…` for what is put in."""
    table = (ROOT / "docs/rollover.md").read_text().partition("## What an alarm means\n")[2].partition("\n## ")[0]
    alarms = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    templates = messages.messages()
    assert len(alarms) > 5
    assert [
        each for each in alarms if not any(messages.covers(each.replace("…", "..."), one) for one in templates)
    ] == []
