"""Carrying out a swap: the only code that replaces a consumer's files. No cryptography is loaded here.

A `Plan` holds the new contents in memory; its `record` holds what the journal keeps. The caller follows this order:

    journal STAGING(record) → stage(plan) → journal ACTIVATING(record) → finish(record) → journal ACTIVATED

and after a power cut: STAGING → undo(record), ACTIVATING → finish(record). Each may be repeated.
If `finish` raises UndoneError, the record is dead: the old files are in place, plan again. After any other
KeystoreError, fix the cause and call it again with the same record.

All of these hold the consumer's directories open and do everything in them (`directories.py`). The live directory and
`previous` are certagent's own, so plain paths are good enough there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import NoReturn

from certagent import durable
from certagent.config.file_roles import FileRole
from certagent.directories import Directory
from certagent.errors import KeystoreError
from certagent.keystore import overwrite
from certagent.keystore.files import explained, gives_away, kept_ownership, look_at, ownership_of_copy
from certagent.keystore.swap_plan import Change, Plan, Record, beside, link_of, through
from certagent.keystore.targets import Targets, digest, hold


class UndoneError(KeystoreError):
    """The swap could not be made. The old files are in place (except where others put files), nothing is staged."""

    @property
    def kind(self) -> str:
        return "keystore"


def stage(plan: Plan) -> None:
    """Write everything new where no consumer looks, durably, and keep copies of the old files.

    Owner and mode are set before content. If it raises KeystoreError, it leaves nothing behind.
    """
    try:
        with _targets(plan.record) as held:
            _keep_old(plan, held)
            if plan.record.way == "symlink":
                _stage_generation(plan)
            if plan.record.way != "symlink" or _renamed(plan.record):
                _stage_beside(plan, held)
    except KeystoreError:
        with suppress(KeystoreError):  # report the first error, not this one
            undo(plan.record)
        raise


def _keep_old(plan: Plan, held: Targets) -> None:
    """Copy the files in place into `previous`, where their names are hidden until the swap is made.

    If nothing is in place, `previous` stays: it may hold the only pair that exists.
    """
    previous = Path(plan.record.previous)
    if not any(file.before for file in plan.files):
        return
    with explained(f"keep the old files in {previous}"):
        durable.make_directory(previous)
        for stray in previous.iterdir():
            if stray.name.startswith("."):  # of a swap whose end a power cut took
                stray.unlink()
        for file in plan.files:
            found = held.look(str(file.target))
            # People who could not read a file before must not get it when it is put back one day.
            if found is not None and not gives_away(found, file.ownership):
                durable.write_new(_kept(plan.record, file.kept_name), found.content, kept_ownership(found))
        durable.sync_directory(previous)


def _stage_beside(plan: Plan, held: Targets) -> None:
    if plan.record.way == "in-place":
        with explained(f"write to {Path(plan.record.generation).parent}"):
            overwrite.stage(plan, held)
    renamed = _renamed(plan.record)
    for file, change in zip(plan.files, plan.record.changes, strict=True):
        if change not in renamed:
            continue
        with explained(f"write beside {file.target}"):
            directory = held.directory_of(change.target)
            if change.old and not held.keep_beside(change.target, change.old):
                _copy(file.target, held.live, Path(change.old), directory)
            if file.content is not None:
                staged = Path(change.staged).name
                durable.write_new(Path(staged), file.content, file.ownership, dir_fd=directory.descriptor)
    with explained("make the new files durable"):
        held.sync(change.target for change in renamed)


def _stage_generation(plan: Plan) -> None:
    generation, base = Path(plan.record.generation), Path(plan.record.base)
    with explained(f"write to {generation.parent}"):
        durable.make_directory(generation.parent, 0o755)  # consumers go through it; each file has its own mode
        _fresh_directory(generation)
        linked = _linked(plan.record)
        for file, change in zip(plan.files, plan.record.changes, strict=True):
            if change in linked and file.content is not None:
                durable.write_new(Path(change.staged), file.content, file.ownership)
        durable.sync_directory(generation)
        if plan.record.base:
            _fresh_directory(base)
            for change in linked:
                _copy(Path(change.target), Path(plan.record.live), base / change.kept_name)
            durable.sync_directory(base)
        durable.sync_directory(generation.parent)


def undo(record: Record) -> None:
    """Remove the staged files; the targets are not touched. Raises KeystoreError."""
    with _targets(record) as held:
        _undo(record, held)


def _undo(record: Record, held: Targets) -> None:
    pointer = Path(record.pointer)
    with explained("remove what was staged"):
        linked = _linked(record)
        for change in record.changes:
            if change in linked:
                held.unlink(str(beside(Path(change.target), record.id)))
            else:
                held.unlink(change.staged, change.old)
        held.sync(_beside_targets(record))
        if record.way == "in-place":
            overwrite.undo(record)
        if record.way == "symlink":
            beside(pointer, record.id).unlink(missing_ok=True)
            for generation in filter(None, (record.generation, record.base)):
                if link_of(pointer) != Path(generation).name:
                    durable.discard(Path(generation))
            if pointer.parent.is_dir():
                durable.sync_directory(pointer.parent)
        kept = [path for change in record.changes if (path := _kept(record, change.kept_name)).exists()]
        for path in kept:
            path.unlink()
        if kept:
            durable.sync_directory(Path(record.previous))
        older = _older_kept(record)
        durable.remove(older)
        durable.remove(older.with_name(f"{older.name}.part"))


def finish(record: Record) -> None:
    """Put the staged files in place, from wherever an earlier call was interrupted; then tidy up.

    Raises UndoneError if that cannot be done and the old files are in place again. After any other KeystoreError,
    call it again (see the module's docstring).
    """
    with _targets(record) as held:
        if record.way != "symlink":
            _overwrite_all(record, held)
        _rename_all(record, held)
        if record.way == "symlink":
            _switch(record, held)
        with explained("make the swap durable"):
            for change in record.changes:
                if (held.digest(change.target) or "") != change.sha256:
                    _give_up(record, held, f"{change.target} was changed by another program during the swap", _AGAIN)
            _rotate_previous(record)
            held.unlink(*(change.old for change in record.changes))
            # Also if an earlier call did all this: it may have been killed just before.
            held.sync(_beside_targets(record))
            if record.way == "in-place":
                overwrite.undo(record)
            _sweep(record)
            if record.way == "symlink":
                durable.sync_directory(Path(record.pointer).parent)


_AGAIN = "certagent tries again; if this happens again, find out which program changes it"


def _overwrite_all(record: Record, held: Targets) -> None:
    try:
        overwrite.write_all(record, held)
    except KeystoreError as error:
        _give_up(record, held, str(error), error.hint)


def _rename_all(record: Record, held: Targets) -> None:
    ready = []
    for change in _renamed(record):
        if not change.sha256:
            ready += [change] if held.digest(change.target) is not None else []
        elif held.digest(change.staged) == change.sha256:
            ready.append(change)
        elif held.digest(change.target) != change.sha256:
            _give_up(record, held, f"{change.staged}, made for {change.target}, is gone", _AGAIN)
    _compare(record, held, ready)
    for change in ready:
        try:
            with explained(f"replace {change.target}"):
                # Nothing else between the renames, not even a sync, so that the mixed state lasts only microseconds.
                if change.sha256:
                    held.replace(change.staged, change.target)
                else:
                    held.unlink(change.target)
        except KeystoreError as error:
            _give_up(record, held, str(error), error.hint)


def _switch(record: Record, held: Targets) -> None:
    """Make every target a link through the pointer, which leads to the old content until it is switched at the end."""
    pointer, generation = Path(record.pointer), Path(record.generation)
    if link_of(pointer) == generation.name:
        return
    linked = _linked(record)
    for change in linked:
        if digest(change.staged) != change.sha256:
            _give_up(record, held, f"{change.staged} was removed or changed", _AGAIN)
    _compare(record, held, [change for change in linked if held.link(change.target) != through(pointer, change)])
    try:
        with explained(f"link through {pointer}"):
            if record.base:
                _link(Path(record.base).name, pointer, record.id)
                durable.sync_directory(pointer.parent)
            others = [change for change in linked if held.link(change.target) != through(pointer, change)]
            for change in others:
                directory = held.directory_of(change.target)
                name = Path(Path(change.target).name)
                _link(through(pointer, change), name, record.id, dir_fd=directory.descriptor)
            held.sync(change.target for change in others)
            _link(generation.name, pointer, record.id)
    except KeystoreError as error:
        _give_up(record, held, str(error), error.hint)


def _compare(record: Record, held: Targets, changes: Iterable[Change]) -> None:
    """Check that these targets still hold what was found there, or already the new content. Raises UndoneError."""
    for change in changes:
        if change.before is not None and (held.digest(change.target) or "") not in (change.before, change.sha256):
            why = f"{change.target} was replaced by another program while certagent was replacing it"
            _give_up(record, held, why, "the file is left as it is; the next run looks at it again")


def _give_up(record: Record, held: Targets, why: str, hint: str) -> NoReturn:
    _put_back(record, held, KeystoreError(why, hint))
    _undo(record, held)
    raise UndoneError(why, hint)


def _put_back(record: Record, held: Targets, error: KeystoreError) -> None:
    """Rename the copies of the old files back over the new ones, unless another program changed them.

    Raises `error` if a copy is gone, because an earlier call had come to its end: then only forward is whole.
    """
    overwrite.put_back(record, held)
    renamed = _renamed(record)

    def is_old(change: Change) -> bool:
        found = held.digest(change.target)
        if change.before is None:
            return found == digest(str(_older_kept(record) / change.kept_name))
        return (found or "") == change.before

    new = [change for change in renamed if (held.digest(change.target) or "") == change.sha256 and not is_old(change)]
    if not all(change in new or is_old(change) for change in renamed):
        return
    if any(change.old and held.digest(change.old) is None for change in new):
        raise error
    with explained("put the old files back"):
        for change in new:
            if not change.old:
                held.unlink(change.target)
            else:
                held.replace(change.old, change.target)
        held.sync(change.target for change in new)


def _rotate_previous(record: Record) -> None:
    """Let `previous` hold the files kept, and nothing else. May be called again, from wherever it was interrupted."""
    previous, older = Path(record.previous), _older_kept(record)
    trash = previous.with_name(f"{older.name}.trash")
    if older.is_dir():
        if previous.is_dir():
            durable.remove(trash)
            previous.rename(trash)
        older.rename(previous)
    durable.remove(trash)
    before = {change.kept_name: change.before for change in record.changes}
    if not any(before.values()) or not previous.is_dir():
        return
    kept = {name: path for name in before if (path := _kept(record, name)).exists()}
    for there in [each for each in previous.iterdir() if not each.name.startswith(".")]:
        # What was kept has this name already, if an earlier call came so far.
        if there.name not in kept and digest(str(there)) != before.get(there.name):
            there.unlink()
    for name, path in kept.items():
        path.replace(previous / name)
    durable.sync_directory(previous)


def _linked(record: Record) -> list[Change]:
    links = record.way == "symlink"
    return [change for change in record.changes if links and change.role is not FileRole.TRUSTED]


def _renamed(record: Record) -> list[Change]:
    linked = _linked(record)
    return [change for change in record.changes if change.overwrite is None and change not in linked]


def _beside_targets(record: Record) -> list[str]:
    """The targets in whose directories this swap changes names: not those that were links through the pointer, or that
    are written into."""
    linked = _linked(record)
    links = linked if not record.base and any(change.before for change in linked) else []
    return [change.target for change in record.changes if change.overwrite is None and change not in links]


def _sweep(record: Record) -> None:
    """Remove what nobody reads any longer; if that fails, the next swap does."""
    with suppress(OSError):
        for directory in map(Path, record.sweep):
            durable.discard(directory)
            if directory.parent != Path(record.pointer).parent:  # which is made durable anyway
                durable.sync_directory(directory.parent)


def _targets(record: Record) -> AbstractContextManager[Targets]:
    return hold((change.target for change in record.changes), Path(record.live))


def _kept(record: Record, name: str) -> Path:
    """Where an old file waits to become the one of this name in `previous`."""
    return beside(Path(record.previous) / name, record.id)


def _older_kept(record: Record) -> Path:
    """The directory where releases 0.1 and 0.2 kept the old files; while they made it, 0.1 added `.part`."""
    previous = Path(record.previous)
    return previous.with_name(f"{previous.name}-{record.id}")


def _fresh_directory(path: Path) -> None:
    durable.remove(path)
    path.mkdir(0o700)
    path.chmod(0o755)


def _copy(source: Path, live: Path, copy: Path, directory: Directory | None = None) -> None:
    """Copy a file with its owner and mode, beside it if `directory` is given; does nothing if there is no file."""
    found = look_at(source, live)
    if found is not None:
        whose = ownership_of_copy(found)
        if directory is None:
            durable.write_new(copy, found.content, whose)
        else:
            durable.write_new(Path(copy.name), found.content, whose, dir_fd=directory.descriptor)


def _link(text: str, path: Path, swap_id: str, *, dir_fd: int | None = None) -> None:
    staged = beside(path, swap_id)
    with suppress(FileNotFoundError):
        os.unlink(staged, dir_fd=dir_fd)
    os.symlink(text, staged, dir_fd=dir_fd)
    os.replace(staged, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
