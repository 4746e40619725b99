"""A tree of YAML nodes → definitions, field by field, so that one fault never hides the next.

The types of the definitions drive the walk; every fault goes to `Problems` with file, line, the path of the key and a
hint. Messages do not repeat the values of text fields: somebody may have written a secret where the name of its file
belongs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo

from certagent.config.keystores import KeystoreDefaults, KeystoreDefinition
from certagent.config.meant import did_you_mean, one_of
from certagent.config.parts import Secret
from certagent.config.values import VALUE_TYPES
from certagent.text import with_hint

KeyPath = tuple[str, ...]
"""Where a value is: ("keystores", "web", "san", "[0]")."""


class Location(Struct, frozen=True, gc=False):
    """A line of a file, counted from 1; line 0 means the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Scalar(Struct, frozen=True, gc=False):
    place: Location
    text: str
    value: str | float | bool | None
    """The value in plain YAML; equal to `text` for anything written in quotes."""


class Sequence(Struct, frozen=True, gc=False):
    place: Location
    items: tuple[Node, ...]


class Table(Struct, frozen=True, gc=False):
    place: Location
    entries: dict[str, tuple[Location, Node]]
    """By key: where the key is, and its value."""


Node = Scalar | Sequence | Table


def dotted(path: KeyPath) -> str:
    """The path as it is written: `keystores.web.san[0]`."""
    return "".join(part if part.startswith("[") else f".{_word(part)}" for part in path).removeprefix(".")


def _word(key: str) -> str:
    """A key, made fit for a one-line message."""
    return key if re.fullmatch(r"[\w-][\w.-]{0,63}", key) else repr(key[:64])


class Problems(msgspec.Struct):
    """Every fault found so far."""

    files: list[str] = msgspec.field(default_factory=list)
    """In the order they were read."""
    _found: list[tuple[Location, str]] = msgspec.field(default_factory=list)

    def add(self, place: Location, path: KeyPath, what: str, hint: str) -> None:
        where = f"{place}: {dotted(path)}" if path else str(place)
        self._found.append((place, f"{where}: {with_hint(_cut(what), _cut(hint))}"))

    def __len__(self) -> int:
        return len(self._found)

    def lines(self) -> tuple[str, ...]:
        """One line each, in the order in which the files are read."""
        ordered = sorted(self._found, key=lambda found: (self.files.index(found[0].file), found[0].line))
        return tuple(dict.fromkeys(line for _, line in ordered))


def _cut(text: str) -> str:
    return text if len(text) <= 500 else text[:497] + "..."


_PLAIN_WORDS = re.compile(r"[\w./=@+ -]+")
_COMMANDS = "a list of commands, each of them a list"
_PLAIN_ENTRY = re.compile(r"\w(?:[\w./=@+*-]|:(?! )){0,60}")
_SOURCE = "do not write the secret itself here; write e.g. {file: /etc/certagent/secret}, or use env or command"


class ValueToCheck(Struct, frozen=True, gc=False):
    """A value that is valid by itself, but must still be checked against others or the host: see checks.py."""

    check: str
    path: KeyPath
    place: Location
    value: Any


class _Bad:
    """Stands for a value whose fault is already reported."""


BAD: Any = _Bad()


class Decoder(msgspec.Struct):
    """Walks nodes. Its results may only be used if `problems` is empty in the end."""

    problems: Problems
    to_check: list[ValueToCheck] = msgspec.field(default_factory=list)
    places: dict[KeyPath, Location] = msgspec.field(default_factory=dict)

    def decode(self, node: Node, wanted: Any, path: KeyPath) -> Any:
        """`node` as the type `wanted`, or BAD."""
        base, metas = _strip(wanted)
        if get_origin(base) in (Union, UnionType):
            return self._decode_union(node, get_args(base), path)
        if _is_struct(base):
            return self.decode_struct(node, base, path, {})
        if get_origin(base) is dict:
            table: dict[str, Any] = {}
            self.decode_table(node, get_args(base), path, table, {})
            return table
        if get_origin(base) is tuple:
            value = self._decode_sequence(node, get_args(base)[0], metas, path)
        else:
            value = self._decode_scalar(node, wanted, base, metas, path)
        check = next((meta.extra["check"] for meta in metas if meta.extra and "check" in meta.extra), None)
        if check and value is not BAD:
            self.to_check.append(ValueToCheck(check, path, node.place, value))
        return value

    def decode_table(
        self, node: Node, types: tuple[Any, Any], path: KeyPath, into: dict[str, Any], inherited: Mapping[str, Any]
    ) -> None:
        """Add the named entries of a table to `into`; a name that exists already is a fault."""
        if not isinstance(node, Table):
            self._mismatch(node, path, "a table of names", "indent each name below the key")
            return
        key_type, value_type = types
        for name, (place, value) in node.entries.items():
            here = (*path, name)
            self._decode_text(name, key_type, here, place)
            if name in into:
                other = self.places[here]
                self.problems.add(place, here, f"is also defined at {other}", "rename one of them")
                continue
            self.places[here] = place
            into[name] = self.decode_struct(value, _strip(value_type)[0], here, inherited)

    def decode_struct(self, node: Node, wanted: Any, path: KeyPath, inherited: Mapping[str, Any]) -> Any:
        """A definition, of one type or of a union told apart by its tag; missing fields come from `inherited`."""
        tagged = _tagged(wanted)
        if not isinstance(node, Table):
            known = "type and others" if tagged else ", ".join(each.name for each in fields_of(wanted))
            hint = _SOURCE if wanted is Secret else f"known here: {known}"
            return self._mismatch(node, path, "a table of keys", hint)
        cls: type[Struct] = self._tagged(node, tagged, path) if tagged else wanted
        tag_field = cls.__struct_config__.tag_field
        untagged = Table(node.place, {key: entry for key, entry in node.entries.items() if key != tag_field})
        before = len(self.problems)
        values = {**inherited, **self.decode_fields(untagged, cls, path)}
        if cls is Secret and len(self.problems) > before:
            return BAD  # a bad source is a single fault, not also a missing one
        place = self.places.get(path, node.place)
        for info in fields_of(cls):
            if info.required and info.name not in values:
                self.problems.add(place, (*path, info.name), "is missing", f"add it: {describe(info)}")
                values[info.name] = BAD
        try:
            return cls(**values)
        except ValueError as error:
            what, _, hint = str(error).partition("; ")
            self.problems.add(place, path, what, hint)
            return BAD

    def decode_fields(self, node: Table, cls: type[Struct], path: KeyPath) -> dict[str, Any]:
        """The fields of `cls` that a table gives; an unknown key is a fault."""
        by_name = _by_name(cls)
        values = {}
        for name, (place, value) in node.entries.items():
            here = (*path, name)
            if name not in by_name:
                # Inside the braces, a secret itself may be where its source belongs, so it is not repeated.
                where, what = (path, "holds an unknown key") if cls is Secret else (here, "is not a known key")
                hint = _SOURCE if cls is Secret else did_you_mean(name, by_name)
                self.problems.add(place, where, *_of_another_type(name, cls) or (what, hint))
                continue
            self.places[here] = place
            values[name] = self.decode(value, by_name[name].type, here)
        return values

    def _tagged(self, node: Table, tagged: Mapping[str, type[Struct]], path: KeyPath) -> type[Struct]:
        """The type a table names; otherwise the type its keys fit best, so that its other faults are reported too."""
        likely = max(tagged, key=lambda tag: len(node.entries.keys() & set(tagged[tag].__struct_fields__)))
        tag_field = str(tagged[likely].__struct_config__.tag_field)
        here = (*path, tag_field)
        if tag_field not in node.entries:
            self.problems.add(self.places.get(path, node.place), here, "is missing", f"add {tag_field}: {likely}")
            return tagged[likely]
        place, value = node.entries[tag_field]
        given = value.text if isinstance(value, Scalar) else ""
        if given not in tagged:
            self.problems.add(place, here, f"is not one of {', '.join(tagged)}", one_of(given, tagged))
        return tagged.get(given, tagged[likely])

    def _decode_union(self, node: Node, options: tuple[Any, ...], path: KeyPath) -> Any:
        if NoneType in options and isinstance(node, Scalar) and node.value is None:
            return None
        options = tuple(option for option in options if option is not NoneType)
        if all(map(_is_struct, options)):
            return self.decode_struct(node, Union[options], path, {})  # noqa: UP007 -- made at run time
        return self.decode(node, next((each for each in options if isinstance(node, _shape(each))), options[0]), path)

    def _decode_sequence(self, node: Node, item_type: Any, metas: tuple[Meta, ...], path: KeyPath) -> Any:
        if not isinstance(node, Sequence):
            if path[-2:-1] == ("hooks",) and isinstance(node, Scalar):
                words = ", ".join(node.text.split()[:5]) if _PLAIN_WORDS.fullmatch(node.text) else "PROGRAM, ARGUMENT"
                return self._mismatch(node, path, _COMMANDS, f"write [[{words}]]")
            entry = node.text if isinstance(node, Scalar) and _PLAIN_ENTRY.fullmatch(node.text) else " ... "
            return self._mismatch(node, path, "a list", f"put it in brackets: [{entry}]")
        if not node.items and any(meta.min_length for meta in metas):
            self.problems.add(node.place, path, "is an empty list", "add an entry, or remove the line")
            return BAD
        longest = next((meta.max_length for meta in metas if meta.max_length), len(node.items))
        if len(node.items) > longest:
            self.problems.add(
                node.place, path, f"has {len(node.items)} entries; at most {longest} are allowed", "shorten it"
            )
            return BAD
        if path[-2:-1] == ("hooks",) and any(isinstance(item, Scalar) for item in node.items):
            self.problems.add(node.place, path, f"must be {_COMMANDS}", "write [[systemctl, reload, nginx]]")
            return BAD
        items = tuple(self.decode(item, item_type, (*path, f"[{i}]")) for i, item in enumerate(node.items))
        return BAD if any(item is BAD for item in items) else items

    def _decode_scalar(self, node: Node, wanted: Any, base: Any, metas: tuple[Meta, ...], path: KeyPath) -> Any:
        if not isinstance(node, Scalar):
            hint = "remove the brackets" if isinstance(node, Sequence) else "write it without a space after the colon"
            return self._mismatch(node, path, "a single value", hint)
        if base in VALUE_TYPES:
            return self._decode_value(node, base, path)
        if _choices(base):  # YAML 1.1 reads some words as yes or no; a choice means the word as written
            return self._decode_choice(node.text, base, path, node.place)
        if base is not str:
            return self._decode_number(node, wanted, metas, path)
        return self._decode_plain(node, wanted, path)

    def _decode_plain(self, node: Scalar, wanted: Any, path: KeyPath) -> Any:
        if node.value is None:
            return self._mismatch(node, path, "text", "give it a value, or remove the line")
        text = self._decode_text(node.text, wanted, path, node.place)
        if text is not BAD and not isinstance(node.value, str):
            return self._mismatch(node, path, "text", f'put it in quotes: "{node.text}"')
        return text

    def _decode_number(self, node: Scalar, wanted: Any, metas: tuple[Meta, ...], path: KeyPath) -> Any:
        try:
            return msgspec.convert(node.value, wanted)
        except msgspec.ValidationError:
            bounds = next((meta for meta in metas if meta.ge is not None), None)
            if bounds is None:
                self.problems.add(node.place, path, "must be true or false", "write true or false")
            else:
                hint = f"write a number from {bounds.ge} to {bounds.le}"
                self.problems.add(node.place, path, "is not a whole number in the allowed range", hint)
            return BAD

    def _decode_value(self, node: Scalar, base: Any, path: KeyPath) -> Any:
        try:
            value = base.parse(node.text)
        except ValueError as error:
            what, _, hint = str(error).partition("; ")
            self.problems.add(node.place, path, what, hint)
            return BAD
        if not isinstance(node.value, str):
            # 0640 in plain YAML is the number 416, which nobody means.
            return self._mismatch(node, path, "text", f'put it in quotes: "{node.text}"')
        return value

    def _decode_choice(self, text: str, base: Any, path: KeyPath, place: Location) -> Any:
        try:
            return msgspec.convert(text, base)
        except msgspec.ValidationError:
            choices = _choices(base)
            hint = one_of(text, choices)
            self.problems.add(place, path, f"{text[:64]!r} is not one of {', '.join(choices)}", hint)
            return BAD

    def _decode_text(self, text: str, wanted: Any, path: KeyPath, place: Location) -> Any:
        try:
            return msgspec.convert(text, wanted)
        except msgspec.ValidationError:
            words = next((m.extra for m in _strip(wanted)[1] if m.extra and "what" in m.extra), None)
            if words:
                fault = words["fault"](text) if "fault" in words else ""
                self.problems.add(place, path, fault or f"is not {words['what']}", words["hint"])
            else:
                self.problems.add(place, path, "is empty", "give it a value, or remove the line")
            return BAD

    def _mismatch(self, node: Node, path: KeyPath, wanted: str, hint: str) -> Any:
        self.problems.add(node.place, path, f"must be {wanted}, not {_what_it_is(node)}", hint)
        return BAD


def _of_another_type(name: str, cls: type[Struct]) -> tuple[str, str] | None:
    """What to say about a key that is valid in keystores of other types; None if it is valid in none."""
    types = get_args(KeystoreDefinition)
    having = [str(each.__struct_config__.tag) for each in types if name in each.__struct_fields__]
    if cls is KeystoreDefaults and having:
        return "is not a known key", "set it in each keystore instead"
    if cls in types and having:
        return (
            f"is not a key of type {cls.__struct_config__.tag}",
            f"only keystores of type {' and '.join(having)} have it",
        )
    return None


def describe(info: FieldInfo) -> str:
    """What its definition says about a field."""
    return next((meta.description for meta in _strip(info.type)[1] if meta.description), "")


@cache  # msgspec evaluates the annotations each time: nine tenths of loading ten thousand keystores
def fields_of(cls: type[Struct]) -> tuple[FieldInfo, ...]:
    """The fields of a definition."""
    return msgspec.structs.fields(cls)


@cache
def _by_name(cls: type[Struct]) -> dict[str, FieldInfo]:
    return {info.name: info for info in fields_of(cls)}


@cache
def _tagged(union: Any) -> dict[str, type[Struct]]:
    """The types of a union by their tags; empty if it is not a union."""
    return {str(each.__struct_config__.tag): each for each in get_args(union)}


@cache
def _strip(wanted: Any) -> tuple[Any, tuple[Meta, ...]]:
    """The type without its annotations, and the annotations."""
    if get_origin(wanted) is Annotated:
        base, *metas = get_args(wanted)
        return base, tuple(metas)
    return wanted, ()


def _is_struct(base: Any) -> bool:
    """Whether it is written as a table; values are structs too, but written as text."""
    return isinstance(base, type) and issubclass(base, Struct) and base not in VALUE_TYPES


@cache
def _shape(wanted: Any) -> type[Node]:
    """The kind of node a type is written as."""
    base, _ = _strip(wanted)
    if _is_struct(base) or get_origin(base) is dict:
        return Table
    return Sequence if get_origin(base) is tuple else Scalar


def _choices(base: Any) -> tuple[str, ...]:
    """The words of an enumeration; empty for any other type."""
    if get_origin(base) is Literal:
        return tuple(map(str, get_args(base)))
    return tuple(base) if isinstance(base, type) and issubclass(base, StrEnum) else ()


def _what_it_is(node: Node) -> str:
    match node:
        case Sequence():
            return "a list"
        case Table():
            return "a table"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool()):
            return "yes or no (as YAML reads it)"
        case Scalar(value=str()):
            return "a single value"
        case _:
            return "a number (as YAML reads it)"
