"""What the agent keeps of a configuration, and passes to its workers: small, because it stays in memory. Pure.

A worker's part is text, read by the same strict rules as a file, so its start takes time in proportion to its batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta

from msgspec import Struct

SIZE_LIMIT = 1 << 20
"""Largest file of a configuration, in bytes; also the most that is passed to a worker."""


class ServedAuthority(Struct, frozen=True, gc=False, array_like=True):
    """`written`: as text."""

    name: str
    written: str


class ServedKeystore(Struct, frozen=True, gc=False, array_like=True):
    """`written`: as text; `authority`: the index of its own in the list of authorities.

    `digest` is of its definition; empty for a keystore in a token, because no file shows what changes in there.
    `punctual`: it has no jitter.
    """

    written: str
    authority: int
    digest: bytes
    punctual: bool = False


class ServedCrls(Struct, frozen=True, gc=False, array_like=True):
    """The CRLs of an authority: a digest of their configuration, and the files that hold them."""

    name: str
    digest: str
    paths: tuple[str, ...]


class Served(Struct, frozen=True, tag=True):
    """A valid configuration. `settings` is the rest of it as text, which names the authority `default`, if any.

    `lacking`: lines about what this host lacks. `shared`: hooks, as numbers, that run once for all keystores that
    have them; keystores without such hooks are left out.
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
        """The configuration of these keystores alone; empty if it is too large, so that a worker has to read all of it.
        Raises KeyError for a keystore that is not configured.
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
    """Why a configuration is not valid: the parts of a ConfigError."""

    message: str
    hint: str
    problems: tuple[str, ...]


def table(entries: Iterable[tuple[str, str]]) -> str:
    return f"{{{','.join(f'{quoted(key)}: {text}' for key, text in entries)}}}"


def quoted(text: str) -> str:
    """The text in quotes that JSON and YAML both read; characters that are not plain print are escaped for YAML."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    import json  # noqa: PLC0415 -- most text is plain

    return re.sub(r"[^\x20-\x7e]", _escaped, json.dumps(text, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    return f"\\U{ord(match[0]):08x}"
