"""The JSON Schema of agent.yaml and of the files it includes, made from the definitions; for editors."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from certagent.config.configuration import Configuration
from certagent.config.values import VALUE_TYPES


def json_schema() -> dict[str, object]:
    """JSON Schema 2020-12 of a file as a person writes it: value types are text, what has a default may be left out.

    It holds for included files too. What takes more than one value to judge (does the authority exist?) is
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
    """The type of what stands in the file for a value of type `wanted`."""
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
        if wanted not in done:  # one struct for one definition: two of a name would be two $defs
            done[wanted] = _written_struct(wanted, done)
        return done[wanted]
    return wanted


def _shown(meta: Meta) -> Meta:
    """The same, its pattern for the eye only.

    msgspec (0.19 to 0.22) overruns its memory when it makes a type of `str with a pattern | tuple`, which is what
    `fingerprint` is. Nothing is decoded with these types, so no pattern need be compiled.
    """
    if meta.pattern is None:
        return meta
    return Meta(description=meta.description, extra_json_schema={"pattern": meta.pattern})


def _written_struct(cls: type[Struct], done: dict[Any, Any]) -> type[Struct]:
    """`cls` with each field as it is written."""
    found: list[Any] = []
    for info in msgspec.structs.fields(cls):
        wanted = _written(info.type, done)
        if info.required:
            found.append((info.name, wanted))
        elif info.default is None or isinstance(info.default, str | int):
            found.append((info.name, wanted, info.default))
        else:
            # Any factory: the field may be left out, and the schema shows no default for it.
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
