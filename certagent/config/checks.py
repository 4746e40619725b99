"""Checks a configuration against itself and against this host: names, paths, secrets, programs.

A fault in the text stops everything. Something missing on the host stops the keystore or authority that needs it, and
only when it needs it; here it is only found, so that `check` and the agent's log can report it. Only the programs of
hooks are opened, for their first lines.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from certagent import credentials, owned
from certagent.believed import file_fault
from certagent.config.decode import Decoder, KeyPath, Location, Problems, ValueToCheck, dotted
from certagent.config.keystores import KeystoreDefaults
from certagent.config.meant import did_you_mean
from certagent.config.programs import (
    Fault,
    binary_fault,
    find,
    owner_fault,
    place_fault,
    script_fault,
    shell_fault,
)
from certagent.directories import reach
from certagent.errors import KeystoreError
from certagent.text import printable

_INTRODUCTION = "introduce_with"
_NOBODY = 2**32 - 1  # chown(2): leave the owner as it is
_ANY = "*"  # any name: the question is about the directory itself


def check(
    decoder: Decoder,
    *,
    authorities: Mapping[str, Any],
    keystores: Mapping[str, Any],
    directories: Mapping[str, str],
    files: Iterable[str],
) -> None:
    """Every check that needs more than one value.

    `directories`: state_dir and live_dir as they will be used; `files`: the configuration's own.
    """
    _check_references(decoder, authorities, keystores)
    if _check_letters(decoder):
        _check_paths(decoder, keystores, directories, files)
    _add_faults(decoder, _TEXT_CHECKS, decoder.problems)


def check_host(decoder: Decoder) -> Problems:
    """What this host lacks now."""
    problems = Problems(decoder.problems.files)
    _add_faults(decoder, _HOST_CHECKS, problems)
    return problems


def _add_faults(decoder: Decoder, checks: Mapping[str, Callable[[Any], Fault]], problems: Problems) -> None:
    known: dict[tuple[str, Any], Fault] = {}  # a thousand keystores may share one hook: look once
    for found in decoder.to_check:
        if found.check not in checks:
            continue
        what = (found.check, found.value)
        if what not in known:
            known[what] = checks[found.check](found.value)
        if fault := known[what]:
            problems.add(found.place, found.path, *fault)


def _check_references(decoder: Decoder, authorities: Mapping[str, Any], keystores: Mapping[str, Any]) -> None:
    for found in decoder.to_check:
        if found.check == "authority" and found.value not in authorities:
            hint = did_you_mean(found.value, authorities)
            decoder.problems.add(found.place, found.path, "is not the name of an authority", hint)
    for name, definition in keystores.items():
        if isinstance(definition, KeystoreDefaults) and definition.authority == "":
            path: KeyPath = ("keystores", name)
            known = ", ".join(sorted(authorities)) or "none are defined"
            hint = f"set it here or under defaults ({known})"
            decoder.problems.add(decoder.places[path], (*path, "authority"), "is missing", hint)


def _check_letters(decoder: Decoder) -> bool:
    """Check that Python can hand every path and command to the kernel; False if not, then no path can be looked at."""
    faults = [found for found in decoder.to_check if found.check in _FOR_THE_KERNEL and not _is_encodable(found.value)]
    for found in faults:
        what = f"has letters that this process cannot use in file names ({sys.getfilesystemencoding()})"
        decoder.problems.add(
            found.place, found.path, what, "run certagent with LC_ALL=C.UTF-8 and without PYTHONUTF8=0"
        )
    return not faults


_FOR_THE_KERNEL = ("secret_file", "read_file", "written_file", "written_directory", "directory", "program")


def _is_encodable(value: str | tuple[str, ...]) -> bool:
    try:
        os.fsencode(value if isinstance(value, str) else "".join(value))
    except UnicodeEncodeError:
        return False
    return True


def _check_paths(
    decoder: Decoder, keystores: Mapping[str, Any], directories: Mapping[str, str], files: Iterable[str]
) -> None:
    """Check that no file is written twice, is in one of certagent's own directories, or replaces one that is read."""
    paths = _Paths()
    roots = {word: paths.real(path) for word, path in directories.items()}
    _check_directories(decoder.problems, decoder.places, roots)
    taken: dict[str, tuple[KeyPath, str, Location | None]] = {paths.real(file): ((), file, None) for file in files}
    for found in decoder.to_check:
        if found.check in ("secret_file", "read_file"):
            taken.setdefault(paths.real(found.value), (found.path, found.value, found.place))
    factory = _Factory.of(decoder.to_check, paths.real)
    for found in decoder.to_check:
        if found.check not in ("written_file", "written_directory"):
            continue
        target = paths.target(found.value, roots["live_dir"])
        inside = next((word for word, root in roots.items() if is_within(target, root)), None)
        if inside:
            decoder.problems.add(found.place, found.path, f"is inside {inside}", "choose another directory")
        elif found.check == "written_directory":
            continue  # several may share one
        elif target in taken:
            _report_collision(decoder.problems, found, *taken[target])
        else:
            taken[target] = (found.path, found.value, found.place)
            if read := factory.written_through(target, in_place=_is_in_place(keystores, found), closed=paths.is_closed):
                _report_factory(decoder.problems, found, read.path, read.place)


def _report_collision(
    problems: Problems, found: ValueToCheck, path: KeyPath, text: str, place: Location | None
) -> None:
    if place is None:
        problems.add(found.place, found.path, "is part of this configuration", "choose another path")
        return
    if _INTRODUCTION in path:
        _report_factory(problems, found, path, place)
        return
    if path[:2] == found.path[:2] and {path[-1], found.path[-1]} == {"key_file", "certificate_file"}:
        if text != found.value:
            what = f"is the same file as {path[-1]}, written differently"
            problems.add(found.place, found.path, what, "for one combined file, write the same path twice")
        return
    what = f"is the same file as {dotted(path)} ({place})"
    problems.add(found.place, found.path, what, "give each its own path")


def _report_factory(problems: Problems, found: ValueToCheck, path: KeyPath, place: Location) -> None:
    what = f"is the factory identity that {dotted(path)} names ({place}), which is only read"
    problems.add(found.place, found.path, what, "choose another path: the device's own identity goes beside it")


def _is_in_place(keystores: Mapping[str, Any], found: ValueToCheck) -> bool:
    return len(found.path) > 1 and getattr(keystores.get(str(found.path[1])), "swap", None) == "in-place"


class _Factory(Struct, frozen=True):
    """The files of factory identities by their inodes, which a mount or a hard link may give another path."""

    files: Mapping[tuple[int, int], ValueToCheck]

    @classmethod
    def of(cls, to_check: Iterable[ValueToCheck], real: Callable[[str], str]) -> _Factory:
        files = {}
        for found in to_check:
            if _INTRODUCTION in found.path and found.check in ("secret_file", "read_file"):
                with suppress(OSError):
                    status = os.lstat(real(found.value))
                    files[status.st_dev, status.st_ino] = found
        return cls(files)

    def written_through(self, target: str, *, in_place: bool, closed: Callable[[str], bool]) -> ValueToCheck | None:
        """What a swap of `target` would overwrite by another path; None if nothing.

        A rename leaves a hard link's other name alone; what is mounted somewhere else is one file. A hard link that
        others may have made is refused where it is used, and stops nothing else.
        """
        if not self.files:
            return None
        try:
            status = os.lstat(target)
        except OSError:
            return None
        if status.st_nlink > 1 and not (in_place and closed(target)):
            return None
        return self.files.get((status.st_dev, status.st_ino))


def _check_directories(problems: Problems, places: Mapping[KeyPath, Location], roots: Mapping[str, str]) -> None:
    state, live = roots["state_dir"], roots["live_dir"]
    if is_within(state, live) or is_within(live, state):
        word = "live_dir" if ("live_dir",) in places else "state_dir"
        # Two defaults never collide, so at least one of the two is in the file.
        problems.add(
            places[word,], (word,), "one of state_dir and live_dir is inside the other", "use two separate directories"
        )


class _Paths:
    """What paths resolve to, by the links that certagent follows (directories.py).

    Somebody else's link stops nothing here: nothing is written through it, and its keystore says so when it is used.
    Each directory is resolved once: many keystores share a few.
    """

    def __init__(self) -> None:
        self._directories: dict[str, tuple[str, bool]] = {}

    def real(self, path: str, links: int = 40) -> str:
        # POSIX leaves two leading slashes undefined; for Linux they are one.
        path = "/" + path.lstrip("/") if path.startswith("/") else path
        parent, name = os.path.split(path)
        if name in ("", ".", ".."):
            return self._directory(path)[0]
        place, closed = self._directory(parent)
        if closed and links and os.path.islink(path) and os.lstat(path).st_uid in owned.owners():  # noqa: PTH114
            return self.real(os.path.join(parent, os.readlink(path)), links - 1)  # noqa: PTH115
        return f"{place.removesuffix('/')}/{name}"

    def target(self, path: str, live_dir: str) -> str:
        """The path that a write to `path` replaces. With `swap: symlink`, `path` itself is a link into `live_dir`."""
        real = self.real(path)
        parent, name = os.path.split(path)
        return f"{self.real(parent)}/{name}" if is_within(real, live_dir) else real

    def is_closed(self, path: str) -> bool:
        """Whether only root and we can put a name there."""
        return self._directory(os.path.dirname(path))[1]  # noqa: PTH120

    def _directory(self, path: str) -> tuple[str, bool]:
        """Where it is, and whether only root and we can put a link in it."""
        if path not in self._directories:
            self._directories[path] = _resolved(path)
        return self._directories[path]


def _resolved(path: str) -> tuple[str, bool]:
    try:
        with reach(Path(path, _ANY), last="itself") as place:
            return place.directory.place, place.directory.closed
    except KeystoreError:  # somebody else's link
        return path, False
    except OSError:  # it does not exist
        return os.path.realpath(path), False


def is_within(path: str, directory: str) -> bool:
    """Whether a path is the directory or lies below it; both absolute and without links."""
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def _check_readable(path: str) -> Fault:
    try:
        status = os.stat(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}", "create the file, or correct the path"
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is not a file", "correct the path"
    if not os.access(path, os.R_OK, effective_ids=True):
        return f"{path} cannot be read: Permission denied", "let the user certagent runs as read it"
    return None


def _check_believed(path: str) -> Fault:
    return _check_readable(path) or file_fault(Path(path))


def _check_secret_file(path: str) -> Fault:
    fault = _check_readable(path)
    if fault is None and os.stat(path).st_mode & 0o007:
        return f"{path} can be read by everybody on the host", f"run chmod o= {path}"
    return fault


def _check_credential(name: str) -> Fault:
    path = credentials.path_of(name)
    if path is None:
        return f"there is no credential {name}", credentials.hint(name)
    return _check_secret_file(str(path))


def _check_variable(name: str) -> Fault:
    if os.environ.get(name):
        return None
    return f"the environment variable {name} is not set", "set it for the certagent process, or use file"


def _check_argv(argv: tuple[str, ...]) -> Fault:
    program = argv[0]
    if program.startswith("/") or (program and "/" not in program):
        return None
    hint = "write its absolute path, or just its name to find it on PATH"
    return shell_fault(argv) or ("does not begin with a program", hint)


def _check_program(argv: tuple[str, ...]) -> Fault:
    program = argv[0]
    if _check_argv(argv):
        return None
    if fault := shell_fault(argv):
        return fault
    if find(program) is None:
        return _not_found(program)
    if fault := script_fault(program):
        return f"begins with a script that {fault[0]}", fault[1]
    if fault := binary_fault(program):
        return f"begins with a program that {fault[0]}", fault[1]
    return owner_fault(argv)


def _not_found(program: str) -> Fault:
    """A file that others can run but we cannot counts as missing."""
    if not program.startswith("/"):
        return f"begins with {printable(program, 60)}, which is not on PATH", "install it, or write its absolute path"
    if fault := place_fault(program):
        return f"begins with a program that {fault[0]}", fault[1]
    if os.path.isdir(program):  # noqa: PTH112  never raises
        return f"begins with {printable(program, 200)}, which is a directory", "correct the path"
    if os.path.isfile(program):  # noqa: PTH113  never raises
        return (
            f"begins with {printable(program, 200)}, which is not executable",
            f"run chmod +x {printable(program, 200)}",
        )
    return f"begins with {printable(program, 200)}, which does not exist", "install it, or correct the path"


def _check_url(url: str) -> Fault:
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:
            return None
    except ValueError:
        pass  # a port that is not a number, an unclosed bracket
    return "is a URL with an invalid host or port", "write e.g. http://scep.example.net:8080/scep"


def _check_port(address: str) -> Fault:
    if 0 < int(address.rpartition(":")[2]) < 65536:
        return None
    return "needs a port between 1 and 65535", 'write e.g. "127.0.0.1:443"'


def _check_account(name: str) -> Fault:
    if not name.isdecimal() or int(name) < _NOBODY:
        return None
    return "is larger than any number of a user or group", "write a name, or a number in quotes"


_TEXT_CHECKS: dict[str, Callable[[Any], Fault]] = {
    "program": _check_argv,
    "url": _check_url,
    "port": _check_port,
    "account": _check_account,
}
_HOST_CHECKS: dict[str, Callable[[Any], Fault]] = {
    "secret_file": _check_secret_file,
    "read_file": _check_believed,
    "credential": _check_credential,
    "env": _check_variable,
    "program": _check_program,
}
