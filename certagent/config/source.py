"""The text of a configuration's files: bounded, owned by root or us, not writable by others, plain text in UTF-8."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import yaml

from certagent import owned
from certagent.config.decode import Location, Problems
from certagent.config.served import SIZE_LIMIT


def read_text(path: Path, problems: Problems) -> str | None:
    """The text of the file; None, after adding a problem, if it cannot be read or trusted."""
    try:
        # O_NONBLOCK: a FIFO must not block us before fstat can tell that it is one.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        _unreadable(path, error, problems)
        return None
    try:
        return read_descriptor(descriptor, path, problems)
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int, path: Path, problems: Problems) -> str | None:
    """Like `read_text`, for an open file, from its beginning wherever its offset is; `path` is its name in messages."""
    place = Location(str(path))
    problems.files.append(place.file)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            problems.add(place, (), "is not a file", "name a YAML file")
            return None
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            raw = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        _unreadable(path, error, problems)
        return None
    if fault := owned.fault(status, path):
        problems.add(place, (), *fault)
    return _decode_text(raw, place, problems)


def _unreadable(path: Path, error: Exception, problems: Problems) -> None:
    place = Location(str(path))
    missing = isinstance(error, FileNotFoundError)
    hint = "name the right file with -c, or have `certagent init` write one" if missing else "check its permissions"
    if place.file not in problems.files:
        problems.files.append(place.file)
    problems.add(place, (), f"cannot be read: {getattr(error, 'strerror', error)}", hint)


def _decode_text(raw: bytes, place: Location, problems: Problems) -> str | None:
    if len(raw) > SIZE_LIMIT:
        problems.add(place, (), "is larger than 1 MiB", "split it into several files, see `include`")
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if b"\0" in raw and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            problems.add(place, (), "is not a text file", "name the configuration file itself")
            return None
        line = raw.count(b"\n", 0, error.start) + 1
        problems.add(Location(place.file, line), (), "is not UTF-8 text", "save the file as UTF-8")
        return None
    strange = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if strange:
        line = text.count("\n", 0, strange.start()) + 1
        what = f"holds the control character U+{ord(strange[0]):04X}"
        problems.add(Location(place.file, line), (), what, "remove it; is this a text file?")
        return None
    return text
