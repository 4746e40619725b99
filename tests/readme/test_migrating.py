"""docs/migrating.md: the keys that it names exist here, and the options exist there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from certagent.config.load import load_configuration

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/migrating.md").read_text()
KEYS = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE))
OURS = re.findall(r"^\| .* \| ([^|]+) \|$", PAGE, re.MULTILINE)


def test_the_keys_it_names_are_keys_of_the_configuration() -> None:
    named = {key for cell in OURS for key in re.findall(r"`\{?([a-z]\w+)(?:: [^`]*)?`", cell)}
    named |= {
        key for cell in OURS for key in re.findall(r"hooks: \{(\w+)|, (\w+): (?:…|\[)", cell) for key in key if key
    }
    words = {"certagent_last_run_seconds", "renewal", "ec", "pkcs8"}  # a metric; values of a key
    others = {"authorities", "defaults", "hooks", "keystores", "type", "status", "health"}  # without a row; commands
    assert len(named) > 40
    assert named - words - others <= KEYS


def test_the_configuration_that_replaces_the_script_loads(tmp_path: Path) -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    config = tmp_path / "agent.yaml"
    config.write_text(block)
    config.chmod(0o600)
    assert list(load_configuration(config).keystores) == ["web"]


def test_the_script_is_one() -> None:
    [script] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


@pytest.mark.needs("certmonger")
@pytest.mark.parametrize("verb", ["add-scep-ca", "request"])
def test_the_options_of_certmonger_exist(verb: str) -> None:
    """Its usage, which an unknown option prints, has each of them: no wording, only `-x`."""
    text = PAGE.partition(f"`getcert {verb}`")[2].partition("\n\n`")[0]
    theirs = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `-")]
    options = {option for cell in theirs for option in re.findall(r"`(--?[\w-]+)", cell)}
    usage = ""
    for each in (verb, "start-tracking"):
        done = subprocess.run(["getcert", each, "--help"], capture_output=True, text=True, check=False)
        usage += done.stdout + done.stderr
    assert len(options) > 5
    assert options <= set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", usage))
