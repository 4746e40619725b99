"""A configuration cut down to some of its keystores: what the agent hands to a worker, so that the worker's start costs
by its batch. It is text, read by the same strict rules as a file. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from certagent.config.decode import Node, Scalar, Sequence, Table

# What a worker for a batch has no use for, and the tables that are cut down.
_LEFT_OUT = ("include", "authorities", "keystores")


@dataclass(frozen=True)
class Excerpts:
    """Each authority and keystore as text, by name; `settings` is the rest, and names the authority `default`.

    `uses`: each keystore's authority.
    """

    settings: str
    authorities: Mapping[str, str]
    keystores: Mapping[str, str]
    uses: Mapping[str, str]
    default: str = ""

    def of(self, names: Iterable[str]) -> bytes:
        """The configuration of these keystores alone. Raises KeyError for one that is not configured."""
        names = tuple(names)
        used = dict.fromkeys(self.uses[name] for name in names)
        if self.default:
            used[self.default] = None
        tables = (
            ("authorities", _table((name, self.authorities[name]) for name in used)),
            ("keystores", _table((name, self.keystores[name]) for name in names)),
        )
        rest = _table(tables)[1:]
        return (f"{self.settings[:-1]},{rest}" if self.settings != "{}" else f"{{{rest}").encode()


def excerpts(main: Table, included: Iterable[Table], uses: Mapping[str, str], default: str) -> Excerpts:
    """Of the tables of agent.yaml and the files it includes."""
    files = (main, *included)
    settings = ((key, written(node)) for key, (_, node) in main.entries.items() if key not in _LEFT_OUT)
    return Excerpts(_table(settings), _entries(files, "authorities"), _entries(files, "keystores"), uses, default)


def written(node: Node) -> str:
    """A node as text that reads back as the same."""
    match node:
        case Table():
            return _table((key, written(value)) for key, (_, value) in node.entries.items())
        case Sequence():
            return f"[{','.join(map(written, node.items))}]"
        case Scalar():
            return _quoted(node.text) if isinstance(node.value, str) else node.text or "null"


def _entries(files: Iterable[Table], word: str) -> dict[str, str]:
    tables = (file.entries[word][1] for file in files if word in file.entries)
    return {
        name: written(node) for table in tables if isinstance(table, Table) for name, (_, node) in table.entries.items()
    }


def _table(entries: Iterable[tuple[str, str]]) -> str:
    return f"{{{','.join(f'{_quoted(key)}: {text}' for key, text in entries)}}}"


def _quoted(text: str) -> str:
    """In quotes as JSON and YAML both read them; what is not plain print is escaped as YAML wants it."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return re.sub(r"[^\x20-\x7e]", _escaped, json.dumps(text, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    return f"\\U{ord(match[0]):08x}"
