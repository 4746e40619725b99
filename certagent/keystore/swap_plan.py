"""How a swap is to be made, as a value: the files, and what the journal keeps of it. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct, structs

from certagent.config.file_roles import FileRole, Swap
from certagent.directories import reach
from certagent.durable import Ownership
from certagent.keystore.files import explained
from certagent.keystore.targets import sha256

POINTER = "current"


class Overwrite(Struct, frozen=True):
    """Whose a file is, and what may be done with it, that keeps its inode: from now on, and before."""

    new: Ownership
    old: Ownership


class Change(Struct, frozen=True):
    """One file: where consumers read it (`target`), where the new content waits (`staged`), its SHA-256 in hex.

    rename: `staged` lies beside `target` and is renamed over it; `old` is a copy of what it replaces, with
    the same owner and mode, to be renamed back if a later rename fails; empty if nothing was in place.
    symlink: `staged` lies in the new generation, `target` is or becomes a link through the pointer.
    Of ca_directory there are several, each by rename whatever the way of the others. Without `sha256` and `staged` what
    lies there is removed.
    in-place: with `overwrite`, `staged` and `old` lie in the record's `generation`, and what they hold is written into
    the file; without, nothing was in place, or a link, and it is as by rename.
    `before`: the SHA-256 of what was found in its place when the swap was planned, empty for nothing: another program's
    change since then is not overwritten. None: of a release that did not say so.
    """

    role: FileRole
    target: str
    staged: str
    sha256: str
    old: str = ""
    before: str | None = None
    overwrite: Overwrite | None = None

    @property
    def kept_name(self) -> str:
        """What it is called in `previous`, in a generation, and in the record's directory."""
        return _kept_name(self.role, Path(self.target))


class Record(Struct, frozen=True):
    """What must be known to finish or undo a swap, as the journal keeps it.

    `previous` is the directory that holds the old files afterwards. `generation` is the directory of what is staged:
    of symlink the one that consumers will read, of in-place one of our own. symlink only: `pointer` is the link that is
    renamed, `base` a copy of what is in place (empty if every target is a link already). `sweep`: directories nobody
    reads any more once the swap is made. `live`: where links of ours lead.
    """

    id: str
    way: Swap
    changes: tuple[Change, ...]
    previous: str
    generation: str = ""
    pointer: str = ""
    base: str = ""
    sweep: tuple[str, ...] = ()
    live: str = ""


@dataclass(frozen=True)
class NewFile:
    """A file to be written: its role, the file it replaces, and what it holds; None: it is removed.

    `before` as in Change. `inode_of`: whose the file in place is, if the content is to be written into it; None: a new
    file takes its place.
    """

    role: FileRole
    target: Path
    content: bytes | None = field(repr=False)
    ownership: Ownership
    before: str
    inode_of: Ownership | None

    @property
    def kept_name(self) -> str:
        """As in Change."""
        return _kept_name(self.role, self.target)


@dataclass(frozen=True)
class Plan:
    """A swap to be: `files` with their contents, `record` for the journal."""

    files: tuple[NewFile, ...]
    record: Record
    changes_ca: bool


def prepare(
    files: tuple[NewFile, ...],
    *,
    swap_id: str,
    linked: bool,
    previous: Path,
    live: Path,
    others: Iterable[Path] = (),
    changes_ca: bool,
) -> Plan:
    """How `files` take their places: `linked` by one pointer in `live`, the keystore's own directory for generations.

    `others` are the keystore's files that stay as they are. Writes nothing.
    """
    with explained(f"look at {live}"):
        if linked and any(file.role is not FileRole.TRUSTED for file in files):
            return Plan(files, _by_symlink(files, swap_id, previous, live), changes_ca)
        make = _in_place if any(file.inode_of for file in files) else _by_rename
        record = make(files, swap_id, previous, live)
        # A keystore that was swapped by symlink before: nothing leads there any more since the last swap.
        unread = live.is_dir() and not any(
            leads_to(path).startswith(f"{live}/") for path in (*others, *(file.target for file in files))
        )
        return Plan(files, structs.replace(record, sweep=(str(live),)) if unread else record, changes_ca)


def _by_rename(files: tuple[NewFile, ...], swap_id: str, previous: Path, live: Path) -> Record:
    changes = tuple(_renamed(file, swap_id) for file in files)
    return Record(swap_id, "rename", changes, str(previous), live=str(live))


def _renamed(file: NewFile, swap_id: str) -> Change:
    beside_it = beside(file.target, swap_id)
    old = f"{beside_it}.old" if file.before else ""
    staged, digest = ("", "") if file.content is None else (str(beside_it), sha256(file.content))
    return Change(file.role, str(file.target), staged, digest, old, file.before)


def _in_place(files: tuple[NewFile, ...], swap_id: str, previous: Path, live: Path) -> Record:
    by_rename = _by_rename(files, swap_id, previous, live)
    room = previous.with_name(f"successor-{swap_id}")

    def change(file: NewFile, renamed: Change) -> Change:
        if file.inode_of is None:
            return renamed
        staged = room / file.kept_name
        return structs.replace(
            renamed, staged=str(staged), old=f"{staged}.old", overwrite=Overwrite(file.ownership, file.inode_of)
        )

    changes = tuple(map(change, files, by_rename.changes))
    return structs.replace(by_rename, way="in-place", changes=changes, generation=str(room))


def _by_symlink(files: tuple[NewFile, ...], swap_id: str, previous: Path, live: Path) -> Record:
    pointer = live / POINTER
    generation = unused(live / f"generation-{swap_id}")

    def change(file: NewFile) -> Change:
        renamed = _renamed(file, swap_id)
        if file.role is FileRole.TRUSTED:
            return renamed
        return structs.replace(renamed, staged=str(generation / file.kept_name), old="")

    changes = tuple(map(change, files))
    links = [change for change in changes if change.role is not FileRole.TRUSTED]
    linked = all(leads_to(Path(change.target)) == through(pointer, change) for change in links)
    something = any(change.before for change in links)
    base = "" if linked or not something else str(unused(live / f"generation-{swap_id}-base"))
    # Readers may still hold what the pointer leads to now, or leads to meanwhile; all older generations go.
    left = Path(base) if base else live / (link_of(pointer) or POINTER)
    sweep = tuple(str(path) for path in sorted(live.glob("generation-*")) if path != left)
    return Record(swap_id, "symlink", changes, str(previous), str(generation), str(pointer), base, sweep, str(live))


def _kept_name(role: FileRole, target: Path) -> str:
    return f"{role}-{target.name}.{role.ending}" if role is FileRole.TRUSTED else role.kept_name


def beside(path: Path, swap_id: str) -> Path:
    """A name in the same directory that consumers who read whole directories pass over."""
    return path.with_name(f".{path.name}.certagent-{swap_id}")


def through(pointer: Path, change: Change) -> str:
    return f"{pointer}/{Path(change.staged).name}"


def unused(path: Path) -> Path:
    """`path`, or `path-2` …: never a directory that a reader may be in."""
    candidates = (path if number == 1 else Path(f"{path}-{number}") for number in range(1, 1000))
    return next((each for each in candidates if not each.exists()), path)


def leads_to(target: Path) -> str:
    """The text of the symbolic link that a target may be; empty for anything else."""
    with reach(target, last="itself") as place:
        return place.directory.link(place.name)


def link_of(path: Path) -> str:
    """The same of a path in our own directories."""
    return str(path.readlink()) if path.is_symlink() else ""
