"""A small valid configuration in a temporary directory, to be made wrong line by line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from certagent.config.load import load_configuration, load_for_host
from certagent.errors import ConfigError

FINGERPRINT = "sha256:" + "9f" * 32

BASE = f"""\
state_dir: DIR/state
live_dir: DIR/live
authorities:
  corp:
    url: http://scep.example.net/scep
    fingerprint: {FINGERPRINT}
    challenge: {{file: DIR/corp.challenge}}
defaults:
  authority: corp
keystores:
  web:
    type: pem
    subject: CN=web.example.net,O=Example
    san: [dns:web.example.net, "ip:192.0.2.7"]
    key_file: DIR/web.key
    certificate_file: DIR/web.pem
    hooks: {{post: [[systemctl, reload, nginx]]}}
"""


@dataclass
class Site:
    """A directory with a configuration; DIR in texts stands for its path."""

    directory: Path

    @property
    def main(self) -> Path:
        return self.directory / "agent.yaml"

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("DIR", str(self.directory)))
        path.chmod(mode)
        return path

    def change(self, lines: dict[int, str]) -> None:
        """Write BASE with some lines (counted from 1) replaced; a replacement may be several lines."""
        text = BASE.splitlines()
        for number, line in lines.items():
            text[number - 1 : number] = [line]
        self.write("agent.yaml", "\n".join(text) + "\n")

    def problems(self) -> list[str]:
        """What `load` finds, the directory cut off again."""
        with pytest.raises(ConfigError) as caught:
            load_configuration(self.main)
        return [line.replace(f"{self.directory}/", "") for line in caught.value.problems]

    def lacking(self) -> list[str]:
        """What the host lacks, the directory cut off again."""
        return [line.replace(f"{self.directory}/", "") for line in load_for_host(self.main)[1]]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(tmp_path)
    site.write("corp.challenge", "s3cret\n", 0o600)
    site.write("root.pem", "-----BEGIN CERTIFICATE-----\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("systemctl", "nginx", "swanctl"):
        (programs / program).write_text("#!/bin/sh\n")
        (programs / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    site.change({})
    return site
