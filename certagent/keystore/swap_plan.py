"""How to make a swap, as a value: the files, and what the journal keeps of it. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct, structs

from certagent.config.file_roles import FileRole, Swap
from certagent.directories import reach
from certagent.durable import Ownership
from certagent.keystore.files import explained
from certagent.keystore.targets import sha256

POINTER = "current"


class Overwrite(Struct, frozen=True):
    """The ownership of a file that keeps its inode: from now on, and before."""

    new: Ownership
    old: Ownership


class Change(Struct, frozen=True):
    """One file: where consumers read it (`target`), where the new content waits (`staged`), its SHA-256 in hex.

    rename: `staged` lies beside `target` and is renamed over it. `old` is a copy of the replaced file, with the same
    owner and mode, to rename back if a later rename fails; empty if nothing was in place. symlink: `staged` lies in the
    new generation, `target` is or becomes a link through the pointer. Files of ca_directory are always renamed,
    whatever is done with the others. Without `sha256` and `staged`, the target is removed. in-place: with `overwrite`,
    `staged` and `old` lie in the record's `generation`, and their content is written into the file. Without
    `overwrite`, nothing or a link was in place, and the file is renamed. `before`: the SHA-256 of what was in place
    when the swap was planned, empty for nothing: a change that another program made since then is not overwritten.
    None: written by a release that did not record it.
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
        """Its name in `previous`, in a generation, and in the record's directory."""
        return _kept_name(self.role, Path(self.target))


class Record(Struct, frozen=True):
    """What the journal keeps so that a swap can be finished or undone.

    `previous` is the directory that holds the old files afterwards. `generation` is the directory of the staged files:
    with symlink the one that consumers will read, with in-place one of our own. symlink only: `pointer` is the link
    that is renamed, `base` a copy of what is in place (empty if every target is a link already). `sweep`: directories
    that nobody reads any longer once the swap is made. `live`: where our own links lead.
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


class NewFile(Struct, frozen=True):
    """A file to write: its role, the file it replaces, and its content; None: that file is removed.

    `before` as in Change. `inode_of`: the ownership of the file in place, if the content is written into it; None: a
    new file takes its place.
    """

    role: FileRole
    target: Path
    content: bytes | None
    ownership: Ownership
    before: str
    inode_of: Ownership | None

    def __repr__(self) -> str:  # the content may be a private key
        return f"NewFile({self.role}, {self.target})"

    @property
    def kept_name(self) -> str:
        """As in Change."""
        return _kept_name(self.role, self.target)


class Plan(Struct, frozen=True):
    """A planned swap: `files` with their contents, `record` for the journal."""

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
    """How `files` are put in place. `linked`: by one pointer in `live`, the keystore's own directory for generations.

    `others` are the keystore's files that stay as they are. Writes nothing.
    """
    with explained(f"look at {live}"):
        if linked and any(file.role is not FileRole.TRUSTED for file in files):
            return Plan(files, _by_symlink(files, swap_id, previous, live), changes_ca)
        make = _in_place if any(file.inode_of for file in files) else _by_rename
        record = make(files, swap_id, previous, live)
        # An earlier swap of this keystore used symlinks, and since the last swap no link leads there.
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
    # Readers may still use what the pointer leads to now, or leads to during the swap; all older generations go.
    left = Path(base) if base else live / (link_of(pointer) or POINTER)
    sweep = tuple(str(path) for path in sorted(live.glob("generation-*")) if path != left)
    return Record(swap_id, "symlink", changes, str(previous), str(generation), str(pointer), base, sweep, str(live))


def _kept_name(role: FileRole, target: Path) -> str:
    return f"{role}-{target.name}.{role.ending}" if role is FileRole.TRUSTED else role.kept_name


def beside(path: Path, swap_id: str) -> Path:
    """A name in the same directory, which consumers that read whole directories ignore."""
    return path.with_name(f".{path.name}.certagent-{swap_id}")


def through(pointer: Path, change: Change) -> str:
    return f"{pointer}/{Path(change.staged).name}"


def unused(path: Path) -> Path:
    """`path`, or `path-2` …: never a directory that somebody may be reading."""
    candidates = (path if number == 1 else Path(f"{path}-{number}") for number in range(1, 1000))
    return next((each for each in candidates if not each.exists()), path)


def leads_to(target: Path) -> str:
    """Where the target leads, if it is a symbolic link; empty for anything else."""
    with reach(target, last="itself") as place:
        return place.directory.link(place.name)


def link_of(path: Path) -> str:
    """Where a path in our own directories leads, if it is a symbolic link; empty for anything else."""
    return str(path.readlink()) if path.is_symlink() else ""
