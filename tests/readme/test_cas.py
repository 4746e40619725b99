"""docs/cas.md: every block loads as it is pasted, and every CA says how far it was seen."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from certagent.config.load import load_configuration

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/cas.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
CAS = [title for title in SECTIONS if title != "Another one"]
KEYSTORE = """
keystores:
  web: {type: pem, authority: corp, subject: CN=web.example.net, key_file: /etc/web.key, certificate_file: /etc/web.pem}
"""


@pytest.mark.parametrize("title", SECTIONS)
def test_its_block_loads(title: str, tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", SECTIONS[title], re.DOTALL)
    config = tmp_path / "agent.yaml"
    config.write_text(block.replace("sha256:…", f"sha256:{'0' * 64}") + KEYSTORE)
    config.chmod(0o600)
    authority = load_configuration(config).authorities["corp"]
    assert authority.fingerprints or authority.trust_anchors


@pytest.mark.parametrize("title", CAS)
def test_it_says_how_far_it_was_seen(title: str) -> None:
    seen = re.search(r"\bSeen: (real server|rebuilt|documents)\b", SECTIONS[title])
    assert seen, title
    (row,) = re.findall(rf"^\| \[[^]]+\]\(#{title.lower().replace(' ', '-')}\) \|.*$", PAGE, re.MULTILINE)
    assert row.split("|")[3].strip() == seen[1]


def test_what_was_seen_on_a_real_server_stands_in_the_tests() -> None:
    real = [title for title in CAS if "Seen: real server" in SECTIONS[title]]
    interop = (ROOT / "docs/interop.md").read_text()
    assert real == [title for title in real if title in interop]


@pytest.mark.parametrize(
    ("page", "exit_code", "printed"),
    [
        pytest.param("password is: <B> 9B5E8D8E6C1C5A1E </B>", 0, "9B5E8D8E6C1C5A1E\n", id="a challenge"),
        pytest.param("<B> 9B5E8D8E 6C1C5A1E </B> The password cache is full.", 1, "", id="none left"),
    ],
)
def test_the_command_for_ndes(page: str, exit_code: int, printed: str, tmp_path: Path) -> None:
    """Against a page as NDES writes it, UTF-16."""
    (script,) = re.findall(r"```sh\n(.*?)```", SECTIONS["NDES"], re.DOTALL)
    curl, told = tmp_path / "curl", tmp_path / "page"
    told.write_bytes(f"<HTML>{page}</HTML>".encode("utf-16"))
    curl.write_text(f'#!/bin/sh\nexec cat "{told}"\n')
    curl.chmod(0o755)
    command = tmp_path / "ndes-challenge"
    command.write_text(script)
    done = subprocess.run(
        ["sh", command], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (exit_code, printed), done.stderr
