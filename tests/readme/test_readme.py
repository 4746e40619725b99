"""Every command in the README, run as it stands there: in a clean clone, and on a machine that boots."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.systemd.conftest import Machine
from tests.waiting import until

ROOT = Path(__file__).parents[2]
LAB = "certagent lab --dir /tmp/lab --port 8080 --background"

INIT = "sudo certagent init"

# What a person answers, from what the lab printed.
ANSWERS = r"""
fingerprint=$(sed -n 's/.*fingerprint: *//p' /root/lab.log | head -n 1)
"""
OPTIONS = (
    '--url http://127.0.0.1:8080/scep --fingerprint "$fingerprint" --for pem --name router.example.net '
    "--challenge-file /tmp/lab/challenge"
)


def commands() -> list[str]:
    """Each line of the README's `sh` blocks, its comment cut off."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def on_the_machine() -> list[str]:
    return [line for line in commands() if not line.startswith("make ")]


@pytest.mark.needs("nspawn")
def test_the_first_keystore_in_five_minutes(machine: Machine) -> None:
    lines = on_the_machine()
    before_boot = [line for line in lines if "/opt/certagent" in line]
    after_boot = [line for line in lines if line not in before_boot]
    assert [line.split()[1] for line in before_boot] == ["python3", "/opt/certagent/bin/pip", "ln"]
    # The packages come over the network, which the booted machine has none of.
    script = 'set -e\nsudo() { "$@"; }\n' + f"cd {shlex.quote(str(ROOT))}\n" + "\n".join(before_boot)
    clean = {word: value for word, value in os.environ.items() if not word.startswith(("PYTHON", "VIRTUAL_ENV"))}
    installed = subprocess.run(
        ["chroot", machine.root, "bash", "-c", script], capture_output=True, text=True, check=False, env=clean
    )
    assert installed.returncode == 0, installed.stderr
    for unit in (ROOT / "systemd").iterdir():
        assert not (machine.root / "etc/systemd/system" / unit.name).exists()
    told = ["set -x -e", 'sudo() { "$@"; }', f"cd {shlex.quote(str(ROOT))}"]
    for line in after_boot:
        if line == LAB:
            told += [f"{line} >/root/lab.log", ANSWERS.strip()]
        elif line == INIT:
            told.append(f"{line} {OPTIONS}")
        else:
            told.append(line)
    told += ["systemctl is-active certagent.service", "systemctl status --no-pager certagent.service"]
    printed = machine.boot("\n".join(told))
    assert "web: enrolled" in printed, printed
    assert "no faults" in printed, printed
    assert re.search(r"^web +valid .* CN=router.example.net", printed, re.MULTILINE), printed
    assert re.search(r"^active$", printed, re.MULTILINE), printed
    assert 'Status: "1 keystore, ' in printed, printed


@pytest.mark.slow  # tests/demo plays it from start to end, from this tree
@pytest.mark.needs("git")
def test_make_demo_in_a_clean_clone(tmp_path: Path) -> None:
    """What a new user types first, from nothing but the committed files. Its end is shown in demo/."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    environment = {word: value for word, value in os.environ.items() if not word.startswith(("PYTHON", "VIRTUAL_ENV"))}
    output = tmp_path / "output"
    with (
        output.open("w") as file,
        subprocess.Popen(
            ["make", "demo"], cwd=clone, stdout=file, stderr=file, env=environment, start_new_session=True
        ) as made,
    ):
        try:
            until(lambda: "now serves" in output.read_text() or made.poll() is not None, 600, told=output.read_text)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(made.pid, signal.SIGTERM)
    assert "now serves" in output.read_text(), output.read_text()


def test_no_other_make_command_is_promised() -> None:
    promised = [line for line in commands() if line.startswith("make ")]
    assert promised == ["make demo", "make test"]  # `make test` is what runs this


TARGETS = ["demo", "test", "test-debian", "lint", "format", "fuzz", "packages", "clean"]


def test_the_makefile_knows_its_targets() -> None:
    subprocess.run(["make", "--dry-run", *TARGETS], cwd=ROOT, check=True, capture_output=True)


def test_documents_named_in_the_readme_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
