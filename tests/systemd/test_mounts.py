"""What these tests mount is theirs alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

KILLED = """
import os, signal, subprocess
from tests.conftest import pytest_configure
pytest_configure()
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", {there!r}], check=True)
assert os.path.ismount({there!r})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.needs("mount")
def test_a_run_that_is_killed_leaves_no_mount(tmp_path: Path, root: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED.format(there=str(tmp_path))], cwd=root, check=False)
    assert (killed.returncode, tmp_path.is_mount()) == (-signal.SIGKILL, False)
