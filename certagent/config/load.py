"""agent.yaml and the files it includes → a `Configuration`, or all faults in them at once.

    read      bounded, owned by root or us, not writable by others  (source.py); YAML → nodes that know their lines
    decode    nodes → definitions, field by field                        (decode.py)
    check     names and paths against each other; what this host lacks   (checks.py)

The agent's process loads this module: nothing heavy is imported here.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from certagent.config.authority import Authority
from certagent.config.checks import check, check_host
from certagent.config.configuration import Configuration
from certagent.config.decode import (
    BAD,
    Decoder,
    KeyPath,
    Location,
    Node,
    Problems,
    Scalar,
    Sequence,
    Table,
)
from certagent.config.excerpt import served
from certagent.config.keystores import KeystoreDefaults, KeystoreDefinition, Pkcs11Keystore
from certagent.config.meant import did_you_mean
from certagent.config.served import Served
from certagent.config.source import read_descriptor, read_text
from certagent.config.values import Name
from certagent.errors import ConfigError
from certagent.text import printable
from certagent.uncollected import uncollected

_DEPTH_LIMIT = 20  # a hook's argv is at depth 6
_NODE_LIMIT = 100_000  # an alias counts each time it is used

_SHARED = {"authorities": (Name, Authority), "keystores": (Name, KeystoreDefinition)}
"""The tables that included files may contain too."""

# libyaml is ten times faster; a router may have a PyYAML built without it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_configuration(path: Path) -> Configuration:
    """The whole configuration, includes merged, defaults applied.

    Raises ConfigError; its `problems` are all faults of its text: `FILE:LINE: key.path: what is wrong; what to do`.
    """
    return _load(path).configuration


def load_for_host(path: Path) -> tuple[Configuration, tuple[str, ...]]:
    """Like `load_configuration`, also with what this host lacks for it now: lines of the same form."""
    loaded = _load(path)
    return loaded.configuration, check_host(loaded.decoder).lines()


def load_for_agent(path: Path) -> Served:
    """What the agent keeps of it. Raises as `load_configuration` does."""
    loaded = _load(path)
    main, *included = loaded.files.values()
    digests = {
        name: bytes.fromhex(digest_of(definition, loaded.configuration.authority_of(definition)))
        for name, definition in loaded.configuration.keystores.items()
        if not isinstance(definition, Pkcs11Keystore)  # no file shows what changes in a token
    }
    return served(loaded.configuration, main, included, digests, check_host(loaded.decoder).lines())


def load_handed(descriptor: int) -> Configuration | None:
    """The configuration of some keystores that the agent passed on this descriptor; None if it passed nothing.

    It is trusted under the same conditions as a file: it belongs to root or us, and nobody else may write to it. Raises
    ConfigError.
    """
    path, problems = Path(f"/dev/fd/{descriptor}"), Problems()
    text = read_descriptor(descriptor, path, problems)
    if text == "" and not problems:
        return None
    return _decode(path, _parse(text, str(path), problems) if text else None, problems).configuration


class _Loaded(msgspec.Struct, frozen=True):
    configuration: Configuration
    decoder: Decoder
    files: Mapping[Path, Table]


def _load(path: Path) -> _Loaded:
    problems = Problems()
    with uncollected():
        return _decode(path, _read_file(path, problems), problems)


def _decode(path: Path, main: Table | None, problems: Problems) -> _Loaded:
    if main is None:
        raise _error(path, problems)
    decoder = Decoder(problems)
    tables = (*_SHARED, "defaults")
    own = Table(main.place, {key: entry for key, entry in main.entries.items() if key not in tables})
    values = decoder.decode_fields(own, Configuration, ())
    inherited = _decode_defaults(decoder, main)
    files = {path: main, **_included(path, values.get("include", ()), decoder.places, problems)}
    shared: dict[str, dict[str, Any]] = {word: {} for word in _SHARED}
    for table in files.values():
        for word, types in _SHARED.items():
            if word in table.entries:
                defaults = inherited if word == "keystores" else {}
                decoder.decode_table(table.entries[word][1], types, (word,), shared[word], defaults)
    check(
        decoder,
        authorities=shared["authorities"],
        keystores=shared["keystores"],
        directories={word: _directory(values, word) for word in ("state_dir", "live_dir")},
        files=map(str, files),
    )
    if problems:
        raise _error(path, problems)
    configuration = Configuration(**{**values, **shared, "defaults": KeystoreDefaults(**inherited)})
    return _Loaded(configuration, decoder, files)


def state_dir_of(path: Path) -> Path:
    """Where the state is, even if the configuration is broken elsewhere.

    Never raises. If the file cannot be read, or others may write to it, returns the default.
    """
    default = Path(Configuration().state_dir)
    problems = Problems()
    text = read_text(path, problems)
    if text is None or problems:
        return default
    table = _parse(text, str(path), Problems())
    if table is not None:
        node = table.entries.get("state_dir", (None, None))[1]
        found = node.text if isinstance(node, Scalar) else ""
    else:
        match = re.search(r"""^state_dir:[ \t]*["']?(/[^"'#\n]*)""", text, re.MULTILINE)
        found = match[1].rstrip() if match else ""
    return Path(found) if found.startswith("/") else default


def digest_of(definition: KeystoreDefinition, authority: Authority) -> str:
    """A stable hash of one keystore's configuration: it changes if, and only if, the configuration does."""
    return hashlib.sha256(b"[%b,%b]" % (_encoded(definition), _encoded_once(authority))).hexdigest()


def _encoded(part: KeystoreDefinition | Authority) -> bytes:
    return msgspec.json.encode(part, enc_hook=_plain, order="deterministic")


_encoded_once = cache(_encoded)  # for authorities, which many keystores share


def _plain(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float | int):
        return repr(value)
    return str(value)


def _error(path: Path, problems: Problems) -> ConfigError:
    lines = problems.lines()
    if len(lines) == 1:
        what, _, hint = lines[0].partition("; ")
        return ConfigError(what, hint, lines)
    return ConfigError(
        f"{path}: {len(lines)} faults; the first one: {lines[0].partition('; ')[0]}", "fix each of them", lines
    )


def _directory(values: dict[str, Any], word: str) -> str:
    value = values.get(word, BAD)
    return value if isinstance(value, str) else str(getattr(Configuration(), word))


def _decode_defaults(decoder: Decoder, main: Table) -> dict[str, Any]:
    place, node = main.entries.get("defaults", (main.place, Table(main.place, {})))
    if isinstance(node, Table):
        return decoder.decode_fields(node, KeystoreDefaults, ("defaults",))
    decoder.problems.add(place, ("defaults",), "must be a table of keys", "write its keys below it, indented")
    return {}


def _included(path: Path, patterns: Any, places: dict[KeyPath, Location], problems: Problems) -> dict[Path, Table]:
    """The files that match the patterns, sorted, each once."""
    tables: dict[Path, Table] = {}
    seen = {path.resolve()}
    for pattern in (patterns,) if isinstance(patterns, str) else patterns if isinstance(patterns, tuple) else ():
        beside = os.path.join(glob.escape(str(path.parent)), pattern)
        names = sorted(glob.glob(beside))  # noqa: PTH207  Path.glob takes no absolute pattern
        if not names and not glob.has_magic(pattern):
            problems.add(
                places["include",],
                ("include",),
                f"{printable(beside, 300)} does not exist",
                "create it, correct the path, or write a glob",
            )
        for name in map(Path, names):
            if name.resolve() in seen:
                continue
            seen.add(name.resolve())
            table = _read_file(name, problems, may_be_empty=True)
            if table is not None:
                tables[name] = _only_shared(table, path, problems)
    return tables


def _only_shared(table: Table, main: Path, problems: Problems) -> Table:
    for key, (place, _) in table.entries.items():
        if key in _SHARED:
            continue
        if key in Configuration.__struct_fields__:
            problems.add(place, (key,), "is not allowed in an included file", f"move it to {main}")
        else:
            problems.add(place, (key,), "is not a known key", did_you_mean(key, _SHARED))
    return table


def _read_file(path: Path, problems: Problems, *, may_be_empty: bool = False) -> Table | None:
    text = read_text(path, problems)
    return None if text is None else _parse(text, str(path), problems, may_be_empty=may_be_empty)


_TOO_LARGE = ("is nested too deeply, or its aliases expand too far", "write it without so many levels or aliases")


class _TooLargeError(Exception):
    """The document is nested too deeply, or its aliases multiply."""


def _parse(text: str, file: str, problems: Problems, *, may_be_empty: bool = False) -> Table | None:
    """The top table of a YAML text; None, after adding a problem, if there is none."""
    place = Location(file)
    try:
        _check_depth(text)
        root = yaml.compose(text, _Loader)
        if root is None:
            if may_be_empty:
                return Table(place, {})
            problems.add(place, (), "is empty", "have `certagent init` write one")
            return None
        node = _Reader(file, problems).node(root, (), 0)
    except _TooLargeError:
        problems.add(place, (), *_TOO_LARGE)
        return None
    except yaml.MarkedYAMLError as error:
        _report_syntax(error, text, file, problems)
        return None
    if isinstance(node, Table):
        return node
    problems.add(node.place, (), "is not a table of keys", "have `certagent init` write one")
    return None


def _check_depth(text: str) -> None:
    """Runs before anything recurses into the text: libyaml's composer would overflow the stack."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH_LIMIT:
            raise _TooLargeError


def _report_syntax(error: yaml.MarkedYAMLError, text: str, file: str, problems: Problems) -> None:
    mark = error.problem_mark or error.context_mark
    before = text[: mark.index] if mark else ""
    if sum(map(before.count, "[{")) - sum(map(before.count, "]}")) > _DEPTH_LIMIT:
        # PyYAML looks ahead: it may give up on that many open brackets before we do.
        problems.add(Location(file), (), *_TOO_LARGE)
        return
    number = mark.line + 1 if mark else 0
    line = text.split("\n")[number - 1] if 0 < number <= text.count("\n") + 1 else ""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        problems.add(Location(file, number), (), "is indented with a tab", "indent with spaces")
        return
    hint = "check this line and the one above it"
    what = re.sub(r"(alias|anchor|tag handle) .*", r"\1", str(error.problem or error.context))  # never repeats a value
    problems.add(Location(file, number), (), f"is not valid YAML: {_in_plain_words(what)}", hint)


_UNINDENTED = "its indentation does not match the lines above it"
_PLAIN_WORDS = {
    "mapping values are not allowed": f"{_UNINDENTED}, or it has a second `: ` that needs quotes",
    "did not find expected key": _UNINDENTED,
    "did not find expected '-' indicator": _UNINDENTED,
    "did not find expected <document start>": _UNINDENTED,
    "could not find expected ':'": "a key has no colon, or a value continues where none is expected",
    "did not find expected ',' or ']'": "a [ is not closed, or a comma is missing",
    "did not find expected ',' or '}'": "a { is not closed, or a comma is missing",
    "found unexpected end of stream": "a quotation mark is not closed",
    "found character that cannot start any token": "a value begins with a character that needs quotes",
}


def _in_plain_words(what: str) -> str:
    """libyaml's message in words for somebody who has not read YAML's grammar."""
    return next((words for theirs, words in _PLAIN_WORDS.items() if what.startswith(theirs)), what)


class _Reader:
    """Turns the nodes of the YAML library into our own."""

    _PREFIX = "tag:yaml.org,2002:"
    _TEXT = ("str", "timestamp", "value")  # a date stays text
    _PLAIN = ("int", "float", "bool", "null")
    _KNOWN = frozenset((*_TEXT, *_PLAIN, "map", "seq"))
    _MERGE = f"{_PREFIX}merge"
    _NO_TEXT = re.compile("[\0\ud800-\udfff]")

    def __init__(self, file: str, problems: Problems) -> None:
        self._file = file
        self._problems = problems
        self._left = _NODE_LIMIT

    def node(self, raw: yaml.Node, path: KeyPath, depth: int) -> Node:
        self._left -= 1
        if self._left < 0 or depth > _DEPTH_LIMIT:
            raise _TooLargeError
        place = Location(self._file, raw.start_mark.line + 1)
        tag = raw.tag.removeprefix(self._PREFIX)
        if tag not in self._KNOWN:
            # Not repeated: the text may be a password that begins with an exclamation mark.
            self._problems.add(place, path, "begins with a YAML tag (!...)", "remove it, or put the value in quotes")
        if isinstance(raw, yaml.MappingNode):
            return Table(place, self._entries(raw, path, depth))
        if isinstance(raw, yaml.SequenceNode):
            items = (self.node(item, (*path, f"[{i}]"), depth + 1) for i, item in enumerate(raw.value))
            return Sequence(place, tuple(items))
        return self._scalar(raw, tag, place, path)

    def _scalar(self, raw: yaml.Node, tag: str, place: Location, path: KeyPath) -> Scalar:
        text = str(raw.value)
        if self._NO_TEXT.search(text):
            self._problems.add(place, path, "has an escape sequence that is not a character", "remove it")
            text = self._NO_TEXT.sub("?", text)
        value: Any = text
        if tag in self._PLAIN and len(text) < 64:  # nobody means a longer number, and it is slow to read
            try:
                value = yaml.constructor.SafeConstructor().construct_object(raw)
            except (ValueError, OverflowError):
                value = text
        return Scalar(place, text, value)

    def _entries(self, raw: yaml.MappingNode, path: KeyPath, depth: int) -> dict[str, tuple[Location, Node]]:
        entries: dict[str, tuple[Location, Node]] = {}
        for key, value in raw.value:
            place = Location(self._file, key.start_mark.line + 1)
            if not isinstance(key, yaml.ScalarNode):
                self._problems.add(
                    place, path, "has a key that is not a single word", "put text that contains { or [ in quotes"
                )
                continue
            here = (*path, key.value)
            if key.tag == self._MERGE:
                self._problems.add(place, here, "merging is not supported", "put shared values under defaults")
            elif key.value in entries:
                first = entries[key.value][0].line
                self._problems.add(place, here, f"appears twice; it is first on line {first}", "remove one of them")
            else:
                entries[key.value] = (place, self.node(value, here, depth + 1))
        return entries
