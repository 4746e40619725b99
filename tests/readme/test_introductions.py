"""docs/introductions.md: its blocks load as they are pasted, and its example is played through."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from certagent.config.load import load_configuration

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/introductions.md").read_text()
FIRST, *OTHERS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
(SCRIPT,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


def laid(text: str, directory: Path) -> Path:
    config = directory / "agent.yaml"
    config.write_text(text.replace("sha256:…", f"sha256:{'0' * 64}"))
    config.chmod(0o600)
    return config


@pytest.mark.parametrize("block", [FIRST, *OTHERS], ids=["pem", "pkcs12", "pkcs11"])
def test_its_blocks_load(block: str, tmp_path: Path) -> None:
    if block != FIRST:
        block = re.sub(r"^ +introduce_with: .*\n", block, FIRST, flags=re.MULTILINE)
    assert load_configuration(laid(block, tmp_path)).authorities["corp"].introduce_with is not None


@pytest.mark.slow
@pytest.mark.needs("openssl")
def test_its_example(tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    program = bin_ / "certagent"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m certagent "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run(words: str) -> str:
        argv = ["sh", "-ec", words]
        done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    banner = run(SCRIPT.replace("--background", "--port 0 --background"))
    try:
        url, fingerprint = (re.search(rf"^ +{word} +(\S+)", banner, re.MULTILINE) for word in ("URL", "CA"))
        assert url is not None
        assert fingerprint is not None
        text = FIRST.replace("http://scep.example.net/scep", url[1]).replace("sha256:…", fingerprint[1])
        text = text.replace("/etc/factory/key.pem", f"{tmp_path}/factory.key").replace(
            "/etc/factory/chain.pem", f"{tmp_path}/factory.pem"
        )
        text = text.replace("/etc/ssl/private", str(tmp_path)).replace("/etc/ssl/certs", str(tmp_path))
        laid(f"state_dir: {tmp_path}/state\nlive_dir: {tmp_path}/live\n{text}", tmp_path)
        (tmp_path / "factory.key").chmod(0o600)
        assert "signed with the factory identity" in run("certagent -c agent.yaml check")
        run("certagent -c agent.yaml enroll router")
        assert "introduction  CN=r9.example.net,O=Example" in run("certagent lab list --dir lab")
    finally:
        run("certagent lab stop --dir lab")
