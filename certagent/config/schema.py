"""The JSON Schema of agent.yaml and of the files it includes, made from the definitions; for editors."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from certagent.config.configuration import Configuration
from certagent.config.values import VALUE_TYPES


def json_schema() -> dict[str, object]:
    """JSON Schema 2020-12 of the file as it is written: value types are text, and keys with a default may be left out.

    It is also valid for included files. Checks that need more than one value (does the authority exist?) are
    left to `certagent check`.
    """
    made = msgspec.json.schema(_written(Configuration, {}))
    definitions = made["$defs"]
    definitions["Authority"]["anyOf"] = [{"required": ["fingerprint"]}, {"required": ["trust_anchor"]}]
    definitions["Secret"] |= {"minProperties": 1, "maxProperties": 1}
    definitions["Probe"] |= {
        "oneOf": [{"required": ["tls"]}, {"required": ["run"]}],
        "dependentRequired": {"starttls": ["tls"], "server_name": ["tls"]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "certagent configuration",
        **made,
    }


def _written(wanted: Any, done: dict[Any, Any]) -> Any:
    """The type of the written form of a value of type `wanted`."""
    origin: Any = get_origin(wanted)
    if origin is Annotated:
        base, *metas = get_args(wanted)
        return Annotated[_written(base, done), *(_shown(meta) for meta in metas)]
    if origin in (Union, UnionType, tuple, dict):
        generic: Any = Union if origin is UnionType else origin
        return generic[tuple(_written(part, done) for part in get_args(wanted))]
    if wanted in VALUE_TYPES:
        return Annotated[str, _shown(Meta(pattern=wanted.pattern))]
    if isinstance(wanted, type) and issubclass(wanted, Struct):
        if wanted not in done:  # one struct for one definition: two with the same name would be two $defs
            done[wanted] = _written_struct(wanted, done)
        return done[wanted]
    return wanted


def _shown(meta: Meta) -> Meta:
    """The same, with its pattern only shown.

    msgspec (0.19 to 0.22) corrupts its memory when it makes a type of `str with a pattern | tuple`, which is what
    `fingerprint` is. Nothing is decoded with these types, so patterns need not be compiled.
    """
    if meta.pattern is None:
        return meta
    return Meta(description=meta.description, extra_json_schema={"pattern": meta.pattern})


def _written_struct(cls: type[Struct], done: dict[Any, Any]) -> type[Struct]:
    """`cls` with each field in its written form."""
    found: list[Any] = []
    for info in msgspec.structs.fields(cls):
        wanted = _written(info.type, done)
        if info.required:
            found.append((info.name, wanted))
        elif info.default is None or isinstance(info.default, str | int):
            found.append((info.name, wanted, info.default))
        else:
            # Any factory will do: the field may be left out, and the schema shows no default for it.
            found.append((info.name, wanted, msgspec.field(default_factory=object)))
    tag = cls.__struct_config__.tag
    return msgspec.defstruct(
        cls.__name__,
        found,
        kw_only=True,
        forbid_unknown_fields=True,
        tag_field=cls.__struct_config__.tag_field if tag else None,
        tag=tag,
        namespace={"__doc__": cls.__doc__},
    )
