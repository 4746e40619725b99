"""What a power cut may leave of a recorded run (as in ALICE, OSDI '14): a model of a disk that promises little.

What was written to a file, and its owner and mode, are kept for sure once that file was fsynced; a name that was
made, moved or removed, once its directory was. Of everything else any part may be there: names independently of one
another, what was done to one file in its order, the last write of it perhaps half. A rename is whole or not at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from random import Random

from tests.torture.tree import Entry, Tree

Number = int  # of an inode; the root is 0


@dataclass(frozen=True)
class Names:
    """Names made, removed (None) or moved in one step: directory, name, which inode it means now."""

    changes: tuple[tuple[Number, str, Number | None], ...]


@dataclass(frozen=True)
class Data:
    """Bytes written at an offset; None: the file is cut or stretched to that length."""

    inode: Number
    offset: int
    content: bytes | None


@dataclass(frozen=True)
class Attributes:
    """Mode or owner changed; None is as before."""

    inode: Number
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


Change = Names | Data | Attributes
# Of what was not fsynced: what is there of the effect of each call, None for nothing.
Fates = dict[int, Change | None]


@dataclass(frozen=True)
class Effect:
    """What call number `at` changed; no call changes two things. `outside`: where nothing is ever lost."""

    at: int
    change: Change
    outside: bool

    def is_kept(self, synced: Mapping[Number, int]) -> bool:
        """Whether it is on the disk for sure; `synced`: after which call each inode was fsynced last."""
        if self.outside:
            return True
        if isinstance(self.change, Names):
            return all(synced.get(directory, -1) > self.at for directory, _, _ in self.change.changes)
        return synced.get(self.change.inode, -1) > self.at


@dataclass
class View:
    """Inodes, and names by directory, at one moment."""

    inodes: dict[Number, Entry] = field(default_factory=dict)
    names: dict[Number, dict[str, Number]] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: Tree) -> View:
        view, numbers = cls(), {}
        for number, (path, entry) in enumerate(sorted(tree.items(), key=lambda each: each[0] != ".")):
            numbers[path] = number
            view.add(number, entry)
        for path, number in numbers.items():
            if path != ".":
                parent, _, name = path.rpartition("/")
                view.names[numbers[parent or "."]][name] = number
        return view

    def add(self, number: Number, entry: Entry) -> None:
        """An inode that no name leads to yet."""
        self.inodes[number] = entry
        if entry.kind == "directory":
            self.names[number] = {}

    def copy(self) -> View:
        return View(dict(self.inodes), {number: dict(names) for number, names in self.names.items()})

    def apply(self, change: Change) -> None:
        match change:
            case Names():
                for directory, name, inode in change.changes:
                    if inode is None:
                        self.names[directory].pop(name, None)
                    else:
                        self.names[directory][name] = inode
            case Data():
                old = self.inodes[change.inode]
                start = old.content[: change.offset].ljust(change.offset, b"\0")
                new = change.content
                rest = b"" if new is None else new + old.content[change.offset + len(new) :]
                self.inodes[change.inode] = replace(old, content=start + rest)
            case Attributes():
                given = {word: getattr(change, word) for word in ("mode", "uid", "gid")}
                self.inodes[change.inode] = replace(
                    self.inodes[change.inode], **{word: value for word, value in given.items() if value is not None}
                )

    def tree(self) -> dict[str, Entry]:
        """What is found from the root."""
        found: dict[str, Entry] = {}

        def walk(inode: Number, path: str) -> None:
            found[path] = self.inodes[inode]
            for name, child in self.names.get(inode, {}).items():
                walk(child, name if path == "." else f"{path}/{name}")

        walk(0, ".")
        return dict(sorted(found.items()))


@dataclass
class Run:
    """A recorded run: how the disk was, every inode made since, what was changed, and what was fsynced when."""

    first: View
    made: dict[Number, Entry] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    syncs: list[tuple[int, Number]] = field(default_factory=list)

    def states(self, at: int, most: int, random: Random) -> Iterator[dict[str, Entry]]:
        """What may be left when the power goes after call `at`: each, or `most` by chance where they are more."""
        done = [effect for effect in self.effects if effect.at <= at]
        synced = {inode: when for when, inode in self.syncs if when <= at}
        pending = [effect for effect in done if not effect.is_kept(synced)]
        certain = done.index(pending[0]) if pending else len(done)
        base = self.first.copy()
        for number, entry in self.made.items():
            base.add(number, entry)
        for effect in done[:certain]:
            base.apply(effect.change)
        for fates in _choices(pending, most, random):
            view = base.copy()
            for effect in done[certain:]:
                if (change := fates.get(effect.at, effect.change)) is not None:
                    view.apply(change)
            yield view.tree()


def _choices(pending: Sequence[Effect], most: int, random: Random) -> Iterator[Fates]:
    strands = [*_strands(pending)]
    sizes = [len(strand) for strand in strands]
    chosen: Iterable[tuple[int, ...]] = itertools.product(*(range(size) for size in sizes))
    if prod(sizes) > most:
        some = [tuple(random.randrange(size) for size in sizes) for _ in range(most - 2)]
        chosen = [tuple(0 for _ in sizes), tuple(size - 1 for size in sizes), *some]
    for choice in chosen:
        fates: Fates = {}
        for strand, index in zip(strands, choice, strict=True):
            fates |= strand[index]
        yield fates


def _strands(pending: Sequence[Effect]) -> Iterator[list[Fates]]:
    """What is decided independently, each with its outcomes, from nothing is there to all is."""
    chains: dict[tuple[type, Number], list[Effect]] = {}
    for effect in pending:
        if isinstance(effect.change, Names):
            yield [{effect.at: None}, {effect.at: effect.change}]
        else:
            chains.setdefault((type(effect.change), effect.change.inode), []).append(effect)
    for chain in chains.values():
        yield [*_beginnings(chain)]


def _beginnings(chain: Sequence[Effect]) -> Iterator[Fates]:
    for length in range(len(chain) + 1):
        fates = {effect.at: effect.change if place < length else None for place, effect in enumerate(chain)}
        yield fates
        if length < len(chain) and isinstance(cut := chain[length].change, Data) and len(cut.content or b"") > 1:
            assert cut.content is not None
            yield {**fates, chain[length].at: replace(cut, content=cut.content[: len(cut.content) // 2])}
