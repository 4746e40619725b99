"""Carrying a swap out: the only code that replaces a consumer's files. No cryptography is loaded here.

A `Plan` holds the new contents in memory; its `record` holds what the journal keeps. The caller's order:

    journal STAGING(record) → stage(plan) → journal ACTIVATING(record) → finish(record) → journal ACTIVATED

and after a power cut: STAGING → undo(record), ACTIVATING → finish(record). Each may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from msgspec import Struct

from certagent.durable import Ownership


class Rename(Struct, frozen=True):
    """One file beside its target. `sha256` (hex) is of the content, so that a repeat knows what is done."""

    staged: str
    target: str
    sha256: str


class Record(Struct, frozen=True):
    """What must be known to finish or undo a swap, as the journal keeps it.

    rename:  `renames` in order.
    symlink: `generation` is the new directory under the live directory, `pointer` the one link that is
             renamed, `links` the configured paths and what they point to.
    """

    way: Literal["rename", "symlink"]
    renames: tuple[Rename, ...] = ()
    generation: str = ""
    pointer: str = ""
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class NewFile:
    """A file to be written: its role (key, certificate, chain, ca), where readers find it, and what it holds."""

    role: str
    target: Path
    content: bytes
    ownership: Ownership


@dataclass(frozen=True)
class Plan:
    """A swap to be: `files` with their contents, `record` for the journal, `previous` where the old ones are kept."""

    files: tuple[NewFile, ...]
    record: Record
    previous: Path
