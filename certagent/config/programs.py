"""What is wrong with a command when its exit code does not say so: shell syntax, a script or a binary that cannot
start, a program that others may write.

The first three leave the operator with `No such file or directory` about a file that exists, or with a hook that does
nothing. `check` reports them in advance, and a failed hook in its own line. Only the beginning of a program is read.
certagent does not run what others may write.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from certagent.believed import file_fault
from certagent.text import printable

Fault = tuple[str, str] | None
"""What is wrong, and what to do about it."""

_HEAD = 64 * 1024
_ELF = b"\x7fELF"
# elf(5), by the class of the file (32 or 64 bits). Of the file: its processor; where its program headers lie, their
# size, their number. Of such a header: what it is about, where that lies, how long it is.
_FILE = {1: "18xH8xI10xHH", 2: "18xH12xQ14xHH"}
_PROGRAM_HEADER = {1: "II8xI", 2: "IxxxxQ16xQ"}
_LOADER = 3  # PT_INTERP
# Processors (e_machine) whose programs one kernel runs: x86, ARM, PowerPC, SPARC.
_SIBLINGS = ({62, 3}, {183, 40}, {21, 20}, {43, 2})
_OTHER_FORMATS = Path("/proc/sys/fs/binfmt_misc")
_IN_A_ROW = 4  # interpreters of interpreters that the kernel follows at most
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh", "fish", "busybox"})
_USUAL = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
# After one of these, a shell reads the words, on this host or another.
_GIVE_TO_A_SHELL = _SHELLS | {"ssh", "su", "runuser", "eval"}
# As text, which is compiled where it is asked for: few words are.
_INTERPRETER = rf"{'|'.join(sorted(_SHELLS))}|(python|perl|ruby|lua|php|node|tclsh)[0-9.]*"
_SHELLS_OWN = r"\.|cd|source|export|set|unset|eval|exec|trap|umask|ulimit|if|for|while|case"
_OPERATOR = r"[|&;]|\|\||&&|\|&|[0-9]*(<|<<|<<<|>|>>|>\|)(&[0-9-]|/\S*)?|&>>?(/\S*)?"
_VARIABLE = r"(-{0,2}[\w.-]+=)?\$(\w+|\{\w+\})(/\S*)?|.*\$\{?CERTAGENT_.*|(-{0,2}[\w-]+=)?(`|\$\().*|~\w*/.*"
_ASSIGNMENT = r"[A-Za-z_]\w*=.*"
_ONE_BY_ONE = "write the program and each argument as separate words, or use [sh, -c, '…'] to run it in a shell"


def search_path() -> str:
    """Where certagent and its hooks look up programs: PATH, and the usual directories that it lacks, as cron's does."""
    own = [each for each in os.environ.get("PATH", "").split(":") if each.startswith("/")]
    return ":".join(dict.fromkeys((*own, *_USUAL)))


def find(program: str) -> str | None:
    """The path of a program that is there and may be run, as certagent and its hooks find it; None if there is none."""
    return shutil.which(program, path=search_path())


def own_path_fault(program: str) -> Fault:
    """Whether only the PATH of this process leads to a program: that of a service does not have to."""
    found = find(program)
    if found is None or "/" in program or shutil.which(program, path=":".join(_USUAL)):
        return None
    return f"{program} is found only on the PATH of this shell", f"write {printable(found, 200)}"


def shell_fault(argv: Sequence[str]) -> Fault:
    """Words that mean something only to a shell."""
    program = argv[0]
    if not find(program) and not Path(program).exists():
        if len(program.split()) > 1:
            first = printable(program.split()[0], 60)
            return "has a whole command line in one word, and no shell splits it", (f"separate the words: [{first}, …]")
        if re.fullmatch(_ASSIGNMENT, program):
            return (
                "begins with a variable assignment, which only a shell understands",
                f"write [env, {printable(program, 60)}, …]",
            )
        if re.fullmatch(_SHELLS_OWN, program):
            return f"begins with {program}, which is a shell builtin, not a program", _ONE_BY_ONE
    if program.rpartition("/")[2] in _SHELLS and (fault := _wrong_call(argv)):
        return fault
    found = [word for word in _read_by_nobody(argv) if re.fullmatch(f"{_OPERATOR}|{_VARIABLE}", word)]
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


def script_fault(program: str, *, depth: int = 0) -> Fault:
    """Why the kernel, or a shell, cannot run a script as it is. None also if we cannot tell.

    `depth`: it is the interpreter of that many scripts, each of the one before.
    """
    file = find(program)
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
    return _interpreter_fault(head, name, depth)


def _interpreter_fault(head: bytes, name: str, depth: int) -> Fault:
    first, _, rest = head.partition(b"\n")
    mend = f"run sed -i 's/\\r$//' {name}"
    if b"\r" in first:
        return "has Windows line endings: the interpreter in its first line ends in a carriage return", mend
    words = first[2:].decode("utf-8", "replace").split()
    if not words:
        return "has an empty `#!` line", f"write `#!/bin/sh` (or another interpreter) in the first line of {name}"
    interpreter = words[0]
    if fault := _of_the_interpreter("/" + interpreter.lstrip("/"), name, depth):
        return fault
    if interpreter.rpartition("/")[2] == "env":
        named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        interpreter = named[0] if named else interpreter
        if not find(interpreter):
            return f"names an interpreter in its first line that is not on PATH: {printable(interpreter, 100)}", (
                f"install it, or correct the first line of {name}"
            )
    if b"\r\n" in rest and interpreter.rpartition("/")[2] in _SHELLS:
        return "has Windows line endings, which a shell reads as part of each command", mend
    return None


def _of_the_interpreter(program: str, name: str, depth: int) -> Fault:
    told = printable(program, 100)
    if not find(program):
        return f"names an interpreter in its first line that does not exist: {told}", (
            f"install it, or correct the first line of {name}"
        )
    fault = (script_fault(program, depth=depth + 1) if depth < _IN_A_ROW else None) or binary_fault(program)
    return (f"names {told} in its first line, which cannot start: it {fault[0]}", fault[1]) if fault else None


def binary_fault(program: str) -> Fault:
    """Why the kernel cannot run a binary on this host. None also if we cannot tell."""
    file = find(program)
    head = _beginning(file) if file else b""
    if file is None or not head.startswith(_ELF) or head == _ELF:
        return None
    name = printable(file, 200)
    try:
        machine, loader = _elf(file)
        ours, _ = _elf(sys.executable)
    except OSError:
        return None
    except (struct.error, LookupError, ValueError):
        return "is not a whole program", f"install {name} again"
    if machine != ours and not any({machine, ours} <= each for each in _SIBLINGS) and not _runs_others():
        return f"is built for another processor (ELF machine {machine}, not {ours})", (
            f"install {name} for this machine's processor"
        )
    if loader and not os.path.exists(loader):  # noqa: PTH110  never raises
        return f"needs {printable(loader, 100)}, which does not exist", f"install {name} as built for this system"
    return None


def _elf(file: str) -> tuple[int, str]:
    """The processor of a binary, and the program that loads its libraries; empty if it needs none.

    Raises OSError; struct.error, LookupError or ValueError if it is not a whole ELF file.
    """
    with open(file, "rb") as opened:  # noqa: PTH123
        head = opened.read(64)
        order = {1: "<", 2: ">"}[head[5]]
        machine, offset, size, count = struct.unpack_from(order + _FILE[head[4]], head)
        opened.seek(offset)
        headers = opened.read(min(size * count, _HEAD))
        for each in range(count):
            about, begin, length = struct.unpack_from(order + _PROGRAM_HEADER[head[4]], headers, each * size)
            if about == _LOADER:
                opened.seek(begin)
                return machine, os.fsdecode(opened.read(min(length, _HEAD)).rstrip(b"\0"))
    return machine, ""


def _runs_others() -> bool:
    """Whether the kernel may have been told to run programs for other processors, as qemu's packages do."""
    try:
        return any(each.name not in ("register", "status") for each in _OTHER_FORMATS.iterdir())
    except OSError:
        return False


def owner_fault(argv: Sequence[str]) -> Fault:
    """Which file of a command others than root and we may write or replace: it would run with our rights."""
    for file in _run(argv):
        if fault := file_fault(Path(file)):
            return f"would run {printable(file, 200)}, which {fault[0]}", fault[1]
    return None


def _run(argv: Sequence[str]) -> Iterator[str]:
    """The files that run: the program, its interpreter, the script that it interprets."""
    program = find(argv[0])
    if program is None:
        return
    yield program
    head = _beginning(program)
    words = head.partition(b"\n")[0][2:].decode("utf-8", "replace").split() if head.startswith(b"#!") else []
    yield from (found for word in words[:2] if (found := find(word)))
    if re.fullmatch(_INTERPRETER, program.rpartition("/")[2]):
        script = next((word for word in argv[1:] if not word.startswith("-")), "")
        if script.startswith("/"):
            yield script


def _beginning(file: str) -> bytes:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return _ELF  # and no more: a file we cannot read may still run
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


def command_fault(argv: Sequence[str]) -> Fault:
    """Whichever of them it is."""
    return shell_fault(argv) or place_fault(argv[0]) or script_fault(argv[0]) or binary_fault(argv[0])
