"""Completion: what is offered at which place, and that the shells themselves offer it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from certagent.cli.commands import COMMANDS
from certagent.cli.completion import SCRIPTS, offered
from tests.waiting import PATIENCE, until


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with two keystores and an authority."""
    file = tmp_path / "agent.yaml"
    keystore = "type: pem, authority: corp, key_file: {0}/{1}.key, certificate_file: {0}/{1}.pem"
    lines = [f"  {name}: {{{keystore.format(tmp_path, name)}}}" for name in ("web", "vpn")]
    pin = "sha256:" + "8d" * 32
    text = [f"authorities: {{corp: {{url: 'http://ca.example.net/', fingerprint: '{pin}'}}}}", "keystores:", *lines]
    file.write_text("\n".join(text) + "\n")
    file.chmod(0o600)
    return file


COMMON = ["--config", "--json", "--verbose", "--quiet", "--debug"]
OFFERED = [
    pytest.param("certagent ", list(COMMANDS), id="commands"),
    pytest.param("certagent sta", ["status"], id="the beginning of one"),
    pytest.param("certagent -", ["--help", "--version", *COMMON], id="options"),
    pytest.param("certagent check --of", ["--offline"], id="an option"),
    pytest.param("certagent check --offline --of", [], id="given already"),
    pytest.param("certagent scep get", ["getcaps", "getca", "getnextca", "getcert", "getcrl"], id="operations"),
    pytest.param("certagent scep getca --accept ", ["sha1", "md5", "3des", "des"], id="choices of an option"),
    pytest.param("certagent scep getca --accept sha1 --acc", ["--accept"], id="an option to repeat"),
    pytest.param("certagent lab --ca-key ec:", ["ec:p256", "ec:p384"], id="choices with a colon"),
    pytest.param("certagent lab approve --", ["--help", "--dir", "--all", "--quiet", "--debug"], id="of an action"),
    pytest.param("certagent man ", ["certagent", "agent.yaml"], id="choices of an argument"),
    pytest.param("certagent scep getca --ca x", [":files"], id="files are the shell's"),
    pytest.param("certagent scep getca --url ", [], id="a value that nobody knows"),
    pytest.param("certagent nonsense --", ["--help", "--version", *COMMON], id="no such command"),
    pytest.param("certagent", [], id="the command itself"),
]


@pytest.mark.parametrize(("line", "words"), OFFERED)
def test_what_is_offered(line: str, words: list[str]) -> None:
    assert [word for word, _ in offered(line)] == words


NAMES = [
    pytest.param("renew ", ["web", "vpn"], id="keystores"),
    pytest.param("renew web ", ["vpn"], id="those that are not named yet"),
    pytest.param("enroll web --into v", ["vpn"], id="as an option's value"),
    pytest.param("rename old ", ["web", "vpn"], id="the second of two"),
    pytest.param("rename old web ", [], id="no third"),
    pytest.param("crl ", ["corp"], id="authorities"),
]


@pytest.mark.parametrize(("line", "words"), NAMES)
def test_names_come_from_the_configuration(line: str, words: list[str], file: Path) -> None:
    assert [word for word, _ in offered(f"certagent -c {file} {line}")] == words


def test_no_configuration_no_names(tmp_path: Path) -> None:
    assert list(offered(f"certagent -c {tmp_path}/none.yaml renew ")) == []


# ── the shells ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def scripts(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds `certagent`, and the scripts in files named after their shells."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "certagent").write_text(f'#!/bin/sh\nexec {sys.executable} -m certagent "$@"\n')
    (programs / "certagent").chmod(0o755)
    for shell, script in SCRIPTS.items():
        (tmp_path / f"certagent.{shell}").write_text(script)
    (tmp_path / "notes.txt").write_text("")
    path = f"{programs}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(tmp_path), "PYTHONPATH": os.getcwd(), "TERM": "dumb", "LANG": "C.UTF-8"}  # noqa: PTH109


def run(argv: list[str], environment: dict[str, str], directory: Path) -> list[str]:
    done = subprocess.run(
        argv, env=environment, cwd=directory, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.stderr == ""
    return done.stdout.split()


BASH = [
    pytest.param("certagent sta", ["status"], id="a command"),
    pytest.param("certagent lab --ca-key rsa:2", ["2048"], id="what stands behind the colon"),
    pytest.param("certagent scep getca --ca no", ["notes.txt"], id="a file"),
]


@pytest.mark.parametrize(("line", "words"), BASH)
def test_bash(line: str, words: list[str], scripts: dict[str, str], tmp_path: Path) -> None:
    call = 'COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=(certagent); _certagent; echo "${COMPREPLY[@]}"'
    assert run(["bash", "--norc", "-c", f"source certagent.bash; {call}", "bash", line], scripts, tmp_path) == words


@pytest.mark.slow
@pytest.mark.needs("fish")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("certagent sta", ["status"]),
        ("certagent man ", ["agent.yaml", "certagent"]),
        ("certagent -c no", ["notes.txt"]),
    ],
)
def test_fish(line: str, words: list[str], scripts: dict[str, str], tmp_path: Path) -> None:
    call = f"source certagent.fish; complete -C '{line}' | cut -f 1"
    assert run(["fish", "--no-config", "-c", call], scripts, tmp_path) == words


SHELLS = [
    pytest.param(["bash", "--norc", "-i"], "source certagent.bash", id="bash"),
    pytest.param(
        ["zsh", "-f", "-i"],
        "autoload -U compinit; compinit -u -D; source ./certagent.zsh",
        id="zsh",
        marks=pytest.mark.needs("zsh"),
    ),
]
LINES = {
    "certagent stat": "certagent status",
    "certagent lab --ca-key ec:p25": "certagent lab --ca-key ec:p256",
    "certagent -c note": "certagent -c notes.txt",
}


@pytest.mark.slow
@pytest.mark.parametrize(("shell", "loads"), SHELLS)
@pytest.mark.parametrize("typed", LINES)
def test_at_the_tab_key(shell: list[str], loads: str, typed: str, scripts: dict[str, str], tmp_path: Path) -> None:
    """A person at a terminal: the line that the shell completes is written to a file instead of being run."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        shell, stdin=theirs, stdout=theirs, stderr=theirs, env=scripts, cwd=tmp_path, start_new_session=True
    ) as process:
        os.close(theirs)
        ready, done = tmp_path / "ready", tmp_path / "done"
        os.write(ours, f"{loads}; touch ready\n".encode())
        until(ready.exists)
        os.write(ours, f"{typed}\t\x01echo \x05>done\n".encode())  # to its start: echo; to its end: where to
        until(lambda: done.exists() and done.read_text().strip())
        process.kill()
    os.close(ours)
    assert done.read_text().strip() == LINES[typed]
