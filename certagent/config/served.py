"""What the agent knows of a configuration, and what it hands to its workers: light, for it stays in memory. Pure.

A worker's part is text, read by the same strict rules as a file, so that its start costs by its batch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import timedelta

from msgspec import Struct

SIZE_LIMIT = 1 << 20
"""No file of a configuration is larger, in bytes; nor what is handed."""


class ServedAuthority(Struct, frozen=True, gc=False, array_like=True):
    """`written`: as text."""

    name: str
    written: str


class ServedKeystore(Struct, frozen=True, gc=False, array_like=True):
    """`written`: as text; `authority`: where in the list of those its own stands.

    `digest` is of its definition; empty for a keystore in a token: what changes in there no file shows.
    """

    written: str
    authority: int
    digest: bytes


class ServedCrls(Struct, frozen=True, gc=False, array_like=True):
    """The CRLs of an authority: a digest of what is configured of them, and the files that hold them."""

    name: str
    digest: str
    paths: tuple[str, ...]


class Served(Struct, frozen=True, tag=True):
    """A configuration without fault. `settings` is its rest as text, which names the authority `default`, if any.

    `lacking`: lines about what this host lacks. `shared`: hooks, as numbers, that are run once for all keystores that
    have them; no entry for a keystore without such.
    """

    state_dir: str
    max_workers: int
    worker_timeout: timedelta
    check_every: timedelta
    writes_metrics: bool
    lacking: tuple[str, ...]
    settings: str
    default: int | None
    authorities: tuple[ServedAuthority, ...]
    keystores: dict[str, ServedKeystore]
    shared: dict[str, tuple[int, ...]]
    crls: tuple[ServedCrls, ...] = ()

    def excerpt(self, names: Iterable[str]) -> bytes:
        """The configuration of these keystores alone; empty if it is larger than any may be, and a worker has to read
        all of it. Raises KeyError for one that is not configured.
        """
        chosen = {name: self.keystores[name] for name in names}
        numbers = dict.fromkeys(each.authority for each in chosen.values())
        if self.default is not None:
            numbers[self.default] = None
        used = (self.authorities[number] for number in numbers)
        tables = (
            ("authorities", table((each.name, each.written) for each in used)),
            ("keystores", table((name, each.written) for name, each in chosen.items())),
        )
        rest = table(tables)[1:]
        found = (f"{self.settings[:-1]},{rest}" if self.settings != "{}" else f"{{{rest}").encode()
        return found if len(found) <= SIZE_LIMIT else b""


class Refused(Struct, frozen=True, tag=True):
    """Why a configuration is none: the parts of a ConfigError."""

    message: str
    hint: str
    problems: tuple[str, ...]


def table(entries: Iterable[tuple[str, str]]) -> str:
    return f"{{{','.join(f'{quoted(key)}: {text}' for key, text in entries)}}}"


def quoted(text: str) -> str:
    """In quotes as JSON and YAML both read them; what is not plain print is escaped as YAML wants it."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return re.sub(r"[^\x20-\x7e]", _escaped, json.dumps(text, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    return f"\\U{ord(match[0]):08x}"
