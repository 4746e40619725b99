"""What is typed wrongly: a line that says what, and one that says what to do. Options stand on either side."""

from __future__ import annotations

from pathlib import Path

import pytest

from certagent.cli.main import main
from certagent.config.values import Fingerprint

HEX = "8d" * 32
COLONS = ":".join(["8D"] * 32)
USAGE = [
    pytest.param(["staus"], "certagent: there is no command 'staus'\n  did you mean status?", id="misspelt command"),
    pytest.param(
        ["frobnicate"], "certagent: there is no command 'frobnicate'\n  `certagent --help` lists", id="no command"
    ),
    pytest.param(["check", "--verbose"], "certagent: --verbose is not known here\n", id="unknown option"),
    pytest.param(["enroll"], "certagent enroll: NAME is missing\n  `certagent enroll --help`", id="no name"),
    pytest.param(["lab", "--lifetime", "90days"], "certagent lab: argument --lifetime: '90days' is not", id="duration"),
]


@pytest.mark.parametrize(("words", "told"), USAGE)
def test_a_wrong_command_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith(told)
    assert error.count("\n") == 2


@pytest.mark.parametrize("order", [("-c", "FILE", "status"), ("status", "-c", "FILE"), ("status", "--config", "FILE")])
def test_the_configuration_is_named_on_either_side(
    order: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("keystores: {}\n")
    file.chmod(0o600)
    assert main([str(file) if word == "FILE" else word for word in order]) == 0
    assert f"no keystores are configured in {file}" in capsys.readouterr().out


def test_a_configuration_without_keystores_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(f"state_dir: {tmp_path}/state\n")
    file.chmod(0o600)
    assert main(["check", "-c", str(file)]) == 0
    assert "! no keystores are configured" in capsys.readouterr().out


PASTED = [
    pytest.param(f"sha256:{HEX}", id="as documented"),
    pytest.param(f"sha256:{COLONS}", id="with colons"),
    pytest.param(f"sha256 Fingerprint={COLONS}", id="OpenSSL 3"),
    pytest.param(f"SHA256 Fingerprint={COLONS}", id="OpenSSL 1"),
    pytest.param(HEX, id="bare"),
    pytest.param(COLONS, id="bare, with colons"),
]


@pytest.mark.parametrize("text", PASTED)
def test_a_fingerprint_is_taken_as_it_is_pasted(text: str) -> None:
    assert Fingerprint.parse(text) == Fingerprint("sha256", bytes.fromhex(HEX))


@pytest.mark.parametrize("size", [48, 64])
def test_bare_digits_say_by_their_number_what_they_are_of(size: int) -> None:
    assert Fingerprint.parse("ab" * size).algorithm == f"sha{size * 8}"


@pytest.mark.parametrize(
    "text", ["ab" * 31, "sha256:" + "ab" * 31, "sha256 Fingerprint", "sha512:" + HEX, "zz" * 32, ""]
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"fingerprint"):
        Fingerprint.parse(text)
