"""Commands that cannot do what was meant: words for a shell, scripts from Windows."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from certagent.config.parts import HookCommand
from certagent.config.programs import command_fault, own_path_fault
from certagent.errors import HookError
from certagent.hooks import run_hook
from tests.config.conftest import Site

FOR_A_SHELL = [
    pytest.param(["echo", "a", "|", "cat"], "`|`", id="a pipe"),
    pytest.param(["echo", "a", ">", "/dev/null"], "`>`", id="a file for the output"),
    pytest.param(["echo", "2>/dev/null"], "`2>/dev/null`", id="the same in one word"),
    pytest.param(["echo", "2>&1"], "`2>&1`", id="one stream into another"),
    pytest.param(["true", "&&", "echo", "done"], "`&&`", id="and then"),
    pytest.param(["true", "||", "true", ";", "true", "&"], "`||` and `;` and `&`", id="or, then, in the background"),
    pytest.param(["echo", "$HOME"], "`$HOME`", id="a variable"),
    pytest.param(["echo", "${HOME}/x"], "`${HOME}/x`", id="a path in a variable"),
    pytest.param(["cp", "--from=$SRC", "/x"], "`--from=$SRC`", id="a variable in an option"),
    pytest.param(["echo", "it is $CERTAGENT_SERIAL now"], "$CERTAGENT_SERIAL", id="a variable of ours, anywhere"),
    pytest.param(["kill", "-HUP", "`cat", "/run/x.pid`"], "``cat`", id="backquotes"),
    pytest.param(["kill", "$(cat", "/run/x.pid)"], "`$(cat`", id="a command in a word"),
    pytest.param(["cat", "~/notes"], "`~/notes`", id="a home directory"),
    pytest.param(["echo hello there"], "a whole command line in one word", id="a command line"),
    pytest.param(["/bin/echo hello", "x"], "a whole command line in one word", id="a path with arguments"),
    pytest.param(["cd /tmp && ls"], "a whole command line in one word", id="a line of shell"),
    pytest.param(["LANG=C", "ls"], "begins with a variable", id="a variable is set"),
    pytest.param(["$HOME/bin/reload"], "`$HOME/bin/reload`", id="the program in a variable"),
    pytest.param(["~/bin/reload"], "`~/bin/reload`", id="the program at home"),
    pytest.param(["sh", "systemctl reload nginx"], "without -c", id="a shell without -c"),
    pytest.param(["bash", "-c", "systemctl", "reload", "nginx"], "after -c", id="a shell with many words after -c"),
    pytest.param(["source", "/etc/default/x"], "a shell builtin", id="a shell's own command"),
]

AS_IT_STANDS = [
    pytest.param(["sh", "-c", "a | b > $HOME/c && d", "|"], id="given to a shell"),
    pytest.param(["sh", "-c", 'exec "$0" "$@"', "echo", "|"], id="given to a shell, with arguments"),
    pytest.param(["sh", "/etc/passwd", "a b"], id="a script given to a shell"),
    pytest.param(["env", "LANG=C", "/bin/sh", "-c", "true; true"], id="given to a shell by env"),
    pytest.param(["ssh", "peer", "cat", ">", "/etc/x"], id="given to a shell elsewhere"),
    pytest.param(["find", "/tmp", "-name", "*.pem", "-exec", "chmod", "600", "{}", ";"], id="find"),
    pytest.param(["grep", "-c", "^a$"], id="a dollar at the end"),
    pytest.param(["awk", "{print $NF; n > 1 && $2}", "/etc/passwd"], id="another language"),
    pytest.param(["echo", "a&b", "a;b", "x|y", "50%", "-", "--", "<none>", "~"], id="signs within words"),
    pytest.param(["echo", "cost: 5 $", "$", "two words"], id="a dollar for itself"),
    pytest.param(["true"], id="one word"),
]


@pytest.mark.parametrize(("argv", "told"), FOR_A_SHELL)
def test_words_for_a_shell_are_recognised(argv: list[str], told: str) -> None:
    fault = command_fault(argv)
    assert fault is not None
    assert told in fault[0]
    assert fault[1]


@pytest.mark.parametrize("argv", AS_IT_STANDS)
def test_words_for_the_program_are_left_alone(argv: list[str]) -> None:
    assert command_fault(argv) is None


SCRIPTS = [
    pytest.param(b"#!/bin/sh\r\nexit 0\r\n", "Windows line endings", id="Windows line endings"),
    pytest.param(b"#!/usr/bin/env sh\r\nexit 0\r\n", "Windows line endings", id="the same, by env"),
    pytest.param(b"#!/bin/sh -e\r\nexit 0\r\n", "Windows line endings", id="the same, after an option"),
    pytest.param(b"#!/bin/sh\nexit 3\r\n", "Windows line endings", id="the same, in the other lines"),
    pytest.param(b"#!/bin/sh\rexit 0\r", "Windows line endings", id="carriage returns alone"),
    pytest.param(b"exit 0\n", "does not name an interpreter in its first line", id="no first line"),
    pytest.param(
        b"\n#!/bin/sh\nexit 0\n", "does not name an interpreter in its first line", id="an empty line before it"
    ),
    pytest.param(b"", "does not name an interpreter in its first line", id="an empty file"),
    pytest.param(b"\xef\xbb\xbf#!/bin/sh\nexit 0\n", "byte order mark", id="a byte order mark"),
    pytest.param("#!/bin/sh\n".encode("utf-16"), "byte order mark", id="UTF-16"),
    pytest.param(b"#!/no/such/shell\nexit 0\n", "does not exist: /no/such/shell", id="no such interpreter"),
    pytest.param(b"#!/usr/bin/env no-such-shell\n", "not on PATH: no-such-shell", id="no such interpreter, by env"),
    pytest.param(b"#!\nexit 0\n", "an empty `#!` line", id="no interpreter"),
]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "hook"
    file.touch(0o755)
    return file


@pytest.mark.parametrize(("content", "told"), SCRIPTS)
def test_a_script_that_will_not_start_is_recognised_and_its_failure_says_so(
    script: Path, content: bytes, told: str
) -> None:
    script.write_bytes(content)
    fault = command_fault([str(script)])
    assert fault is not None
    assert told in fault[0]
    with pytest.raises(HookError) as caught:
        run_hook(HookCommand(run=(str(script),)), {}, print)
    assert told in f"{caught.value} {caught.value.hint}"
    assert "does it exist" not in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"#!/bin/sh\nexit 0\n", id="a shell script"),
        pytest.param(b"#! /bin/sh -e\nexit 0\n", id="with an option"),
        pytest.param(b"#!/usr/bin/env -S LANG=C sh -e\nexit 0\n", id="by env, with more"),
        pytest.param(b"#!/usr/bin/env python3\nprint('''\r\n''')\n", id="carriage returns in another language"),
        pytest.param(b"\xca\xfe\xba\xbe\0\0\0\0", id="a binary that the host may know"),
    ],
)
def test_a_script_that_starts_is_left_alone(script: Path, content: bytes) -> None:
    script.write_bytes(content)
    assert command_fault([str(script)]) is None


def test_a_script_whose_interpreter_cannot_start(script: Path, tmp_path: Path) -> None:
    between = tmp_path / "between"
    between.write_text("#!/no/such/shell\n")
    between.chmod(0o755)
    script.write_text(f"#!{between}\n")
    with pytest.raises(HookError, match="cannot start: it names an interpreter in its first line"):
        run_hook(HookCommand(run=(str(script),)), {}, print)


def test_a_script_that_is_its_own_interpreter(script: Path) -> None:
    script.write_text(f"#!{script}\n")
    with pytest.raises(HookError, match="cannot be started"):
        run_hook(HookCommand(run=(str(script),)), {}, print)


def for_another_processor(program: bytearray) -> bytes:
    """For the Motorola 88000, which no kernel runs any longer; nor does qemu."""
    program[18:20] = struct.pack("=H", 5)
    return bytes(program)


def without_a_loader(program: bytearray) -> bytes:
    """As a program for another C library: its loader lies elsewhere."""
    begin = program.index(b"/ld")
    return bytes(program[:begin] + b"/xx" + program[begin + 3 :])


def cut_off(program: bytearray) -> bytes:
    return bytes(program[:50])


def cut_off_early(program: bytearray) -> bytes:
    return bytes(program[:5])


def with_headers_nowhere(program: bytearray) -> bytes:
    begin, size = {1: (28, 4), 2: (32, 8)}[program[4]]
    program[begin : begin + size] = b"\xff" * size
    return bytes(program)


BINARIES = [
    pytest.param(for_another_processor, "it is built for another processor (ELF machine 5", id="another processor"),
    pytest.param(without_a_loader, "which does not exist", id="another C library"),
    pytest.param(cut_off, "it is not a whole program", id="cut off"),
    pytest.param(cut_off_early, "it is not a whole program", id="cut off after five bytes"),
    pytest.param(with_headers_nowhere, "it is not a whole program", id="its program headers are beyond any file"),
]


@pytest.mark.parametrize(("spoil", "told"), BINARIES)
def test_a_binary_that_will_not_start_is_recognised_and_its_failure_says_so(
    script: Path, spoil: Callable[[bytearray], bytes], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certagent.config.programs._OTHER_FORMATS", script.parent / "none")
    script.write_bytes(spoil(bytearray(Path(sys.executable).read_bytes())))
    with pytest.raises(HookError) as caught:
        run_hook(HookCommand(run=(str(script),)), {}, print)
    assert told in str(caught.value)
    assert str(script) in caught.value.hint


def test_a_binary_for_another_processor_may_run_by_an_emulator(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script.parent / "qemu-m88k").touch()
    monkeypatch.setattr("certagent.config.programs._OTHER_FORMATS", script.parent)
    script.write_bytes(for_another_processor(bytearray(Path(sys.executable).read_bytes())))
    assert command_fault([str(script)]) is None


def test_a_program_that_is_being_written(script: Path) -> None:
    script.write_bytes(Path("/bin/true").read_bytes())
    with script.open("ab"), pytest.raises(HookError, match="cannot be started") as caught:
        run_hook(HookCommand(run=(str(script),)), {}, print)
    assert "does it exist" not in caught.value.hint


@pytest.mark.parametrize("path", ["", "/usr/bin:/bin", None], ids=["empty", "cron's", "none"])
def test_a_program_in_a_usual_directory_is_found_whatever_the_path(
    path: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PATH") if path is None else monkeypatch.setenv("PATH", path)
    run_hook(HookCommand(run=("chroot", "--version")), {}, print)  # in a directory for the administrator


def test_a_program_that_only_this_shell_finds(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script.write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    assert own_path_fault("hook") == ("hook is found only on the PATH of this shell", f"write {script}")
    assert own_path_fault("chroot") is None
    assert own_path_fault(str(script)) is None
    assert own_path_fault("no-such-program") is None


def test_a_program_where_none_is_run(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel tells of such a mount, which takes root to make."""
    script.write_text("#!/bin/sh\n")
    script.chmod(0o644)
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=os.ST_NOEXEC))
    with pytest.raises(HookError, match="is on a file system that is mounted noexec"):
        run_hook(HookCommand(run=(str(script),)), {}, print)


def test_a_program_is_left_alone() -> None:
    assert command_fault(["/bin/ls", "-l"]) is None


def test_a_command_that_fails_over_words_for_a_shell_says_so() -> None:
    with pytest.raises(HookError, match="exited with") as caught:
        run_hook(HookCommand(run=("ls", "/", "|", "wc")), {}, print)
    assert "no shell runs" in caught.value.hint


def test_check_names_file_line_and_key(site: Site) -> None:
    site.write("hook", "#!/bin/sh\r\n", 0o755)
    site.change({17: "    hooks: {post: [[systemctl, reload, nginx, '>', log]], pre: [[DIR/hook]]}"})
    shell, windows = site.lacking()
    assert shell.startswith("agent.yaml:17: keystores.web.hooks.post[0]: holds `>`, which the program gets unchanged, ")
    assert windows.startswith("agent.yaml:17: keystores.web.hooks.pre[0]: begins with a script that has Windows line e")


def test_a_path_that_only_a_shell_would_find_is_refused_as_such(site: Site) -> None:
    site.change({17: "    hooks: {post: [['~/bin/reload']]}"})
    assert "`~/bin/reload`, which the program gets unchanged, because no shell runs" in site.problems()[0]
