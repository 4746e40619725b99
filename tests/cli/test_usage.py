"""What is typed wrongly: a line that says what, and one that says what to do. Options stand on either side."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent.cli.commands import COMMANDS
from certagent.cli.main import main
from certagent.cli.parser import Parser, build, read, subparsers
from certagent.config.values import Fingerprint

HEX = "8d" * 32
COLONS = ":".join(["8D"] * 32)
USAGE = [
    pytest.param(["staus"], "certagent: there is no command 'staus'\n  did you mean status?", id="misspelt command"),
    pytest.param(
        ["frobnicate"], "certagent: there is no command 'frobnicate'\n  `certagent --help` lists", id="no such command"
    ),
    pytest.param([], "certagent: COMMAND is missing\n  `certagent --help` lists them", id="no command"),
    pytest.param(["scep", "getcap"], "certagent scep: there is no operation 'getcap'\n  did you mean", id="operation"),
    pytest.param(["lab", "aprove"], "certagent lab: there is no action 'aprove'\n  did you mean approve?", id="action"),
    pytest.param(
        ["check", "--loud"],
        "certagent check: --loud is not known\n  `certagent check --help` shows what it takes",
        id="unknown option",
    ),
    pytest.param(
        ["check", "--ofline"], "certagent check: --ofline is not known\n  did you mean --offline?", id="misspelt"
    ),
    pytest.param(["-q", "status"], "certagent status: -q is not known\n", id="nothing to leave out"),
    pytest.param(["--json", "run"], "certagent run: --json is not known\n", id="nothing for programs"),
    pytest.param(["renew", "-v", "-q"], "certagent renew: -v and -q contradict each other\n", id="more and less"),
    pytest.param(["enroll"], "certagent enroll: NAME is missing\n  `certagent enroll --help`", id="no name"),
    pytest.param(
        ["scep", "getcaps"], "certagent scep getcaps: --url is missing\n  `certagent scep getcaps --help`", id="no URL"
    ),
    pytest.param(["lab", "--lifetime", "90days"], "certagent lab: argument --lifetime: '90days' is not", id="duration"),
    pytest.param(
        ["lab", "--ca-key", "rsa:3027"], "certagent lab: --ca-key: 'rsa:3027' is not one of rsa:2048,", id="choice"
    ),
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


KEYSTORE = "{{type: pem, authority: corp, key_file: {0}/{1}.key, certificate_file: {0}/{1}.pem}}"
OFFERED = [
    pytest.param(["web"], "the only keystore is web; `certagent enroll --help`", id="the only one"),
    pytest.param(["web", "vpn"], "configured: web, vpn; ", id="some"),
    pytest.param([], "`certagent enroll --help`", id="none"),
    pytest.param([f"n{number}" for number in range(40)], "`certagent enroll --help`", id="too many for a line"),
]


ALONE = [
    pytest.param(["renew", "web"], id="at the beginning"),
    pytest.param(["-c", "status", "renew"], id="after a file"),
    pytest.param(["-q", "--json", "--config", "FILE", "--debug", "renew"], id="after common options"),
]
ALL = [
    pytest.param(["--help", "renew"], id="help"),
    pytest.param(["--conf", "FILE", "renew"], id="a short form"),
    pytest.param(["rnew", "renew"], id="misspelt"),
    pytest.param(["-c"], id="none"),
]


@pytest.mark.parametrize("words", ALONE)
def test_a_command_that_is_named_is_made_alone(words: list[str]) -> None:
    assert [list(found) for found in subparsers(build(words))] == [["renew"]]


@pytest.mark.parametrize("words", ALL)
def test_otherwise_every_command_is_made(words: list[str]) -> None:
    assert [list(found) for found in subparsers(build(words))] == [list(COMMANDS)]


@pytest.mark.parametrize(("names", "hint"), OFFERED)
def test_where_a_name_is_missing_those_there_are_are_offered(
    names: list[str], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.yaml"
    keystores = "".join(f"  {name}: {KEYSTORE.format(tmp_path, name)}\n" for name in names) or "  {}\n"
    authority = f"{{url: 'http://ca.example.net/', fingerprint: 'sha256:{HEX}'}}"
    file.write_text(f"authorities: {{corp: {authority}}}\nkeystores:\n{keystores}")
    file.chmod(0o600)
    with pytest.raises(SystemExit):
        main(["-c", str(file), "enroll"])
    assert capsys.readouterr().err.startswith(f"certagent enroll: NAME is missing\n  {hint}")


def commands(parser: Parser) -> Iterator[Parser]:
    """A parser, and those of its commands, operations and actions."""
    yield parser
    for inside in subparsers(parser):
        for each in inside.values():
            yield from commands(each)


WHOLE = list(commands(build((), whole=True)))


@pytest.mark.parametrize("parser", WHOLE, ids=lambda parser: parser.prog)
def test_every_help_has_a_sentence_its_defaults_and_an_example(parser: Parser) -> None:
    assert re.match(r"[A-Z].{10,}\.", parser.description or "", re.DOTALL)
    assert f"\n  {parser.prog}" in (parser.epilog or "")
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        assert action.help, action.dest
        silent = action.default in (None, False, [], argparse.SUPPRESS) or action.dest == "out"
        assert silent or "(default: " in action.help, action.dest


@pytest.mark.parametrize("parser", WHOLE, ids=lambda parser: parser.prog)
def test_every_example_is_a_command_line_that_is_understood(parser: Parser) -> None:
    text = re.sub(r"\\\n *", "", parser.epilog or "").replace("8d5c…", HEX)
    for line in (each.strip() for each in text.splitlines() if each.startswith("  certagent")):
        words = shlex.split(re.split(r"\s{3,}|\s[>|]", line)[0])
        if "--help" not in words:
            assert read(words[1:]).command == words[1]


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


def test_help_says_where_the_documentation_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    pages = re.findall(r"^  (/\S+\.md)", capsys.readouterr().out, re.MULTILINE)
    assert [Path(page).name for page in pages] == ["index.md", "troubleshooting.md"]
    assert all(Path(page).is_file() for page in pages)
