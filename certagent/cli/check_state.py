"""`certagent check`, certagent's own directories: can it write there, and is their content its own?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from certagent import believed, owned, state_directory
from certagent.cli.terminal import Finding, Mark
from certagent.config.configuration import Configuration
from certagent.errors import CertagentError, ConfigError, StateError
from certagent.keystore import obstacles

Findings = Iterator[Finding]

AS_ROOT = "run certagent as root, or give its user access"


def directories(configuration: Configuration) -> Findings:
    """What is wrong with certagent's own directories, and with the directory of the metrics file."""
    found = {"state_dir": Path(configuration.state_dir)}
    if any(definition.swap == "symlink" for definition in configuration.keystores.values()):
        found["live_dir"] = Path(configuration.live_dir)
    if configuration.metrics_file:
        found["metrics_file"] = Path(configuration.metrics_file).parent
    for word, path in found.items():
        for wrong in directory_faults(path, made_when_missing=word != "metrics_file"):
            yield Finding(Mark.WRONG, f"{word}: {wrong}", wrong.hint)
    if "live_dir" in found and (fault := believed.directory_fault(found["live_dir"])):
        yield Finding(Mark.WRONG, f"live_dir is not trusted: {fault[0]}", fault[1])


def trusted(directory: Path, *, deep: bool) -> Findings:
    """What is wrong with the owner and mode of what certagent remembers there."""
    try:
        believed.check_state(directory, deep=deep)
    except StateError as error:
        yield Finding(Mark.WRONG, str(error), error.hint)
        return
    status = directory.stat() if directory.exists() else None
    if status is not None and owned.writable_by_others(status):
        hint = "others could stop certagent from working; have root run chmod go-w on it"
        yield Finding(Mark.WARNING, f"{directory} is writable by its group or by everybody", hint)


def usable(directory: Path) -> Findings:
    """Why certagent could not work in its directory of one keystore or authority, if `state_dir` itself is in order."""
    if not os.path.lexists(directory):
        return
    for wrong in (*directory_faults(directory), *_strange(directory)):
        yield Finding(Mark.WRONG, str(wrong), wrong.hint)


def directory_faults(directory: Path, *, made_when_missing: bool = True) -> Iterator[CertagentError]:
    """Why nothing can be written there; if it is made when missing, the nearest directory above it counts."""
    nearest = next(each for each in (directory, *directory.parents) if os.path.lexists(each))
    if not nearest.is_dir():
        yield ConfigError(f"{nearest} is not a directory", "move it away, or correct the path")
    elif nearest != directory and not made_when_missing:
        yield ConfigError(f"the directory {directory} does not exist", "create it, or correct the path")
    elif full := obstacles.lack_of_room(nearest) or obstacles.flagged(nearest):
        yield full
    elif not os.access(nearest, os.W_OK | os.X_OK, effective_ids=True):
        yield ConfigError(f"{directory} is not writable", AS_ROOT)


def _strange(directory: Path) -> Iterator[CertagentError]:
    """Something else in the place of what certagent keeps there, or something that it cannot replace."""
    try:
        entries = sorted(os.scandir(directory), key=lambda each: each.name)
    except OSError:  # whoever works there reports it
        return
    for entry in entries:
        kept_as, mode = state_directory.kept_as(entry.name), entry.stat(follow_symlinks=False).st_mode
        if kept_as and stat.S_IFMT(mode) != kept_as:
            what = "a directory" if kept_as == stat.S_IFDIR else "a regular file"
            yield StateError(f"{entry.path} is not {what}, as certagent keeps it", "move it away")
        elif kept_as and (fault := obstacles.flagged(Path(entry.path))):
            yield fault
