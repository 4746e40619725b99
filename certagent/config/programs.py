"""What is wrong with a command when its exit code does not say so: shell syntax, a script that cannot start, a program
that others may write.

The first two leave the operator with `No such file or directory` about a file that exists, or with a hook that does
nothing. `check` reports them in advance, and a failed hook in its own line. Only the beginning of a program is read.
certagent does not run what others may write.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from certagent.believed import file_fault
from certagent.text import printable

Fault = tuple[str, str] | None
"""What is wrong, and what to do about it."""

_HEAD = 64 * 1024
_ELF = b"\x7fELF"
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh", "fish", "busybox"})
# After one of these, a shell reads the words, on this host or another.
_GIVE_TO_A_SHELL = _SHELLS | {"ssh", "su", "runuser", "eval"}
_INTERPRETER = re.compile(rf"{'|'.join(sorted(_SHELLS))}|(python|perl|ruby|lua|php|node|tclsh)[0-9.]*")
_SHELLS_OWN = re.compile(r"\.|cd|source|export|set|unset|eval|exec|trap|umask|ulimit|if|for|while|case")
_OPERATOR = re.compile(r"[|&;]|\|\||&&|\|&|[0-9]*(<|<<|<<<|>|>>|>\|)(&[0-9-]|/\S*)?|&>>?(/\S*)?")
_VARIABLE = re.compile(
    r"(-{0,2}[\w.-]+=)?\$(\w+|\{\w+\})(/\S*)?|.*\$\{?CERTAGENT_.*|(-{0,2}[\w-]+=)?(`|\$\().*|~\w*/.*"
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*")
_ONE_BY_ONE = "write the program and each argument as separate words, or use [sh, -c, '…'] to run it in a shell"


def shell_fault(argv: Sequence[str], path: str | None = None) -> Fault:
    """Words that mean something only to a shell; `path` is where programs are looked up, our own PATH by default."""
    program = argv[0]
    if not shutil.which(program, path=path) and not Path(program).exists():
        if len(program.split()) > 1:
            first = printable(program.split()[0], 60)
            return "has a whole command line in one word, and no shell splits it", (f"separate the words: [{first}, …]")
        if _ASSIGNMENT.fullmatch(program):
            return (
                "begins with a variable assignment, which only a shell understands",
                f"write [env, {printable(program, 60)}, …]",
            )
        if _SHELLS_OWN.fullmatch(program):
            return f"begins with {program}, which is a shell builtin, not a program", _ONE_BY_ONE
    if program.rpartition("/")[2] in _SHELLS and (fault := _wrong_call(argv)):
        return fault
    found = [word for word in _read_by_nobody(argv) if _OPERATOR.fullmatch(word) or _VARIABLE.fullmatch(word)]
    if not found:
        return None
    told = " and ".join(f"`{printable(word, 60)}`" for word in dict.fromkeys(found))
    return f"holds {told}, which the program gets unchanged, because no shell runs", _ONE_BY_ONE


def _wrong_call(argv: Sequence[str]) -> Fault:
    """A shell takes either `-c` and a command line in one word, or the name of a script."""
    first, *rest = argv[1:] or [""]
    if first == "-c" and len(rest) > 1 and re.fullmatch(r"[\w./-]+", rest[0]):
        return "gives a shell more than one word after -c, but it runs only the first", (
            "write the command line as one word, or drop the shell"
        )
    if not first.startswith("-") and len(first.split()) > 1 and not Path(first).exists():
        return "gives a shell a command line without -c", "write [sh, -c, '…'], or drop the shell"
    return None


def _read_by_nobody(argv: Sequence[str]) -> list[str]:
    """The words before a shell that is called, except the `;` that ends find's -exec."""
    words: list[str] = []
    for word in argv:
        if word.rpartition("/")[2] in _GIVE_TO_A_SHELL:
            break
        if word != ";" or not {"-exec", "-execdir", "-ok"} & set(argv):
            words.append(word)
    return words


def script_fault(program: str, path: str | None = None) -> Fault:
    """Why the kernel, or a shell, cannot run a script as it is. None also if we cannot tell."""
    file = shutil.which(program, path=path)
    head = _beginning(file) if file else b""
    if file is None or head.startswith(_ELF):
        return None
    name = printable(file, 200)
    if head.startswith(_BYTE_ORDER_MARKS):
        return (
            "begins with a byte order mark, as Windows editors write them",
            f"save {name} as UTF-8 without a byte order mark",
        )
    if not head.startswith(b"#!"):
        is_text = b"\0" not in head
        hint = f"make `#!/bin/sh` (or another interpreter) the first line of {name}"
        return ("does not name an interpreter in its first line", hint) if is_text else None
    return _interpreter_fault(head, name, path)


def _interpreter_fault(head: bytes, name: str, path: str | None) -> Fault:
    first, _, rest = head.partition(b"\n")
    mend = f"run sed -i 's/\\r$//' {name}"
    if b"\r" in first:
        return "has Windows line endings: the interpreter in its first line ends in a carriage return", mend
    words = first[2:].decode("utf-8", "replace").split()
    if not words:
        return "has an empty `#!` line", f"write `#!/bin/sh` (or another interpreter) in the first line of {name}"
    interpreter = words[0]
    if not shutil.which("/" + interpreter.lstrip("/")):
        return f"names an interpreter in its first line that does not exist: {printable(interpreter, 100)}", (
            f"install it, or correct the first line of {name}"
        )
    if interpreter.rpartition("/")[2] == "env":
        named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        interpreter = named[0] if named else interpreter
        if not shutil.which(interpreter, path=path):
            return f"names an interpreter in its first line that is not on PATH: {printable(interpreter, 100)}", (
                f"install it, or correct the first line of {name}"
            )
    if b"\r\n" in rest and interpreter.rpartition("/")[2] in _SHELLS:
        return "has Windows line endings, which a shell reads as part of each command", mend
    return None


def owner_fault(argv: Sequence[str], path: str | None = None) -> Fault:
    """Which file of a command others than root and we may write or replace: it would run with our rights."""
    for file in _run(argv, path):
        if fault := file_fault(Path(file)):
            return f"would run {printable(file, 200)}, which {fault[0]}", fault[1]
    return None


def _run(argv: Sequence[str], path: str | None) -> Iterator[str]:
    """The files that run: the program, its interpreter, the script that it interprets."""
    program = shutil.which(argv[0], path=path)
    if program is None:
        return
    yield program
    head = _beginning(program)
    words = head.partition(b"\n")[0][2:].decode("utf-8", "replace").split() if head.startswith(b"#!") else []
    yield from (found for word in words[:2] if (found := shutil.which(word, path=path)))
    if _INTERPRETER.fullmatch(program.rpartition("/")[2]):
        script = next((word for word in argv[1:] if not word.startswith("-")), "")
        if script.startswith("/"):
            yield script


def _beginning(file: str) -> bytes:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return _ELF  # a file we cannot read may still run
    try:
        return os.read(descriptor, _HEAD) if stat.S_ISREG(os.fstat(descriptor).st_mode) else _ELF
    except OSError:
        return _ELF
    finally:
        os.close(descriptor)


def place_fault(program: str) -> Fault:
    """Whether a program is where the kernel runs none."""
    try:
        runs_none = program.startswith("/") and os.statvfs(program).f_flag & os.ST_NOEXEC
    except (OSError, ValueError):  # missing; a NUL
        return None
    if not runs_none:
        return None
    return "is on a file system that is mounted noexec", "move it, e.g. to /usr/local/sbin"


def command_fault(argv: Sequence[str], path: str | None = None) -> Fault:
    """Whichever of the three it is."""
    return shell_fault(argv, path) or place_fault(argv[0]) or script_fault(argv[0], path)
