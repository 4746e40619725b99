"""The model of a disk: what a power cut may leave of small programs, each run for real under strace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.torture import calls, tree
from tests.torture.effects import run_of

pytestmark = pytest.mark.needs("strace")

WRITE = "d = os.open(r + '/new', os.O_WRONLY | os.O_CREAT, 0o600); os.write(d, b'NEWS')"
SYNC, RENAME, NAMES = "os.fsync(d)", "os.rename(r + '/new', r + '/file')", "os.fsync(os.open(r, os.O_RDONLY))"
BELOW = "f = os.open(r, os.O_PATH); below = {'dir_fd': f}; both = {'src_dir_fd': f, 'dst_dir_fd': f}"
SYNC_BELOW = "os.fsync(os.open('.', os.O_RDONLY, dir_fd=f))"
LOST = {"file=old"}
HALF_DONE = {"file=old new=", "file=old new=NE", "file=old new=NEWS"}


def left(directory: Path, *lines: str) -> set[str]:
    """Every way in which a directory with an old file may be found after the power went at the end of a program."""
    root = directory / "root"
    root.mkdir()
    (root / "file").write_text("old")
    before = tree.read(root)
    program = "\n".join(["import os", f"r = {str(root)!r}", *lines])
    trace = directory / "trace"
    names = ",".join(f"?{name}" for name in calls.FILES)
    argv = ["strace", "-f", "-y", "-xx", "-s", "1000", "-o", str(trace), "-e", f"trace={names}"]
    subprocess.run([*argv, sys.executable, "-c", program], check=True)
    recorded = list(calls.parsed(trace.read_text()))
    run = run_of(str(root), before, recorded, [])
    return {_told(state) for state in run.states(len(recorded), 1000, Random(1))}


def _told(state: tree.Tree) -> str:
    return " ".join(
        f"{name}/" if entry.kind == "directory" else f"{name}={entry.content.decode()}" for name, entry in state.items()
    ).removeprefix("./ ")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        pytest.param([WRITE], LOST | HALF_DONE, id="nothing is kept that was not fsynced"),
        pytest.param([WRITE, SYNC], LOST | {"file=old new=NEWS"}, id="fsync of a file keeps its content, not its name"),
        pytest.param([WRITE, NAMES], HALF_DONE, id="fsync of a directory keeps the name, not what the file holds"),
        pytest.param(
            [WRITE, RENAME],
            LOST | HALF_DONE | {"file=", "file=NE", "file=NEWS"},
            id="a rename may be kept without what the file holds",
        ),
        pytest.param(
            [WRITE, SYNC, RENAME],
            LOST | {"file=old new=NEWS", "file=NEWS"},
            id="old or new, once the file was fsynced before the rename",
        ),
        pytest.param([WRITE, SYNC, RENAME, NAMES], {"file=NEWS"}, id="new, once the directory was fsynced, too"),
        pytest.param(["os.unlink(r + '/file')"], {"file=old", "./"}, id="a name removed may come back"),
        pytest.param(["os.unlink(r + '/file')", NAMES], {"./"}, id="but not after fsync"),
        pytest.param(
            ["os.mkdir(r + '/d')", "open(r + '/d/file', 'w').close()", "os.fsync(os.open(r + '/d', os.O_RDONLY))"],
            {"file=old", "d/ d/file= file=old"},
            id="a new directory is kept by the one above, with what was fsynced below it",
        ),
        pytest.param(
            ["d = os.open(r + '/file', os.O_WRONLY | os.O_TRUNC)", "os.write(d, b'NEWS')"],
            {"file=old", "file=", "file=NE", "file=NEWS"},
            id="written in place: cut to nothing first",
        ),
        pytest.param(
            ["d = os.open(r + '/file', os.O_WRONLY | os.O_APPEND)", "os.write(d, b'NEWS')", SYNC],
            {"file=oldNEWS"},
            id="appended",
        ),
        pytest.param(
            [
                BELOW,
                "d = os.open('new', os.O_WRONLY | os.O_CREAT, 0o600, **below)",
                "os.write(d, b'NEWS'); os.fsync(d); os.rename('new', 'file', **both)",
            ],
            LOST | {"file=old new=NEWS", "file=NEWS"},
            id="names below a directory held open are followed",
        ),
        pytest.param(
            [BELOW, "os.symlink('file', 'link', **below)", SYNC_BELOW, "os.unlink('file', **below)"],
            {"file=old link=file", "link=file"},
            id="links and removals there, too, and its fsync by another descriptor",
        ),
        pytest.param(
            ["os.symlink('file', r + '/a')", "os.symlink('file', r + '/b')"],
            {"file=old", "a=file file=old", "b=file file=old", "a=file b=file file=old"},
            id="two names are kept independently of each other",
        ),
    ],
)
def test_what_a_power_cut_may_leave(tmp_path: Path, program: list[str], expected: set[str]) -> None:
    assert left(tmp_path, *program) == expected


@pytest.mark.parametrize("program", ["os.truncate(r + '/file', 1)", "os.chdir(r); os.rename('file', 'other')"])
def test_a_call_without_a_model_is_refused(tmp_path: Path, program: str) -> None:
    with pytest.raises(ValueError, match="the model"):
        left(tmp_path, program)
