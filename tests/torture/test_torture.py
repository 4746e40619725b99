"""A small part of `make torture`, the same at every run; and that its machines notice what they are there for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("strace")

FSYNCS = {
    "of what a file holds": (
        "        write_at(descriptor, content)\n        os.fsync(descriptor)\n",
        "        write_at(descriptor, content)\n",
    ),
    "of a record": ("            if durably:\n                os.fsync(file.fileno())\n", ""),
    "of names": ("        os.fsync(descriptor)\n    finally", "        pass\n    finally"),
}


def torture(root: Path, *words: str, package: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`make torture`, with certagent as it is in the repository or in another place."""
    path = os.pathsep.join(str(each) for each in (package, root) if each)
    argv = [sys.executable, "-P", "-m", "tests.torture.run", "--jobs", "1", "--seed", "1", *words]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


SAMPLES = [
    pytest.param("two-files", "kills", marks=pytest.mark.slow),
    pytest.param("symlink", "errors", marks=pytest.mark.slow),
    ("one-file", "crashes"),
]


@pytest.mark.parametrize(("flow", "machine"), SAMPLES)
def test_a_sample_loses_nothing(root: Path, flow: str, machine: str) -> None:
    done = torture(root, "--flow", flow, "--machine", machine, "--points", "12")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* points tried, 0 lost$", done.stdout), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("fsync", FSYNCS)
def test_a_build_without_an_fsync_loses_something(root: Path, tmp_path: Path, fsync: str) -> None:
    shutil.copytree(root / "certagent", tmp_path / "certagent")
    module, (there, gone) = tmp_path / "certagent/durable.py", FSYNCS[fsync]
    source = module.read_text()
    assert source.count(there) == 1
    module.write_text(source.replace(there, gone))
    done = torture(root, "--flow", "one-file", "--machine", "crashes", "--points", "30", package=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^  make torture FLOW=one-file MACHINE=crashes SEED=1 POINT=\d+\.\d+$", done.stdout, re.MULTILINE)


def test_a_point_that_is_not_there_is_told(root: Path) -> None:
    assert torture(root, "--flow", "hooks-owed", "--machine", "kills", "--point", "rename:1000").returncode == 2
