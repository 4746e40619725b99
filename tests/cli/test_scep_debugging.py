"""docs/scep-debugging.md: its commands, in its order, before the lab CA."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from certagent.cli.main import main

from .hand import Hand

URL = "http://scep.example.net/scep"


def test_the_commands_of_the_page(root: Path, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hand.path("."))
    hand.path("challenge").write_text("open sesame\n")
    page = (root / "docs/scep-debugging.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    for line in lines:
        program, *words = shlex.split(re.sub("sha256:[0-9a-f]+", hand.fingerprint, line.replace(URL, hand.server.url)))
        if program == "certagent":
            assert main(words) == 0, line
        else:
            done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
            assert done.returncode == 0, line + done.stderr
    assert [each.kind for each in hand.server.ca.issued()[-2:]] == ["enrollment", "renewal"]
    assert hand.path("again.pem").read_bytes() == hand.path("test.pem").read_bytes()
