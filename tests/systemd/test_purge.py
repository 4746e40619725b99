"""What a purge of the Debian package removes, where others than root may write in what it removes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "debian/certagent.postrm"


class Root:
    """A file system for the script, which finds its paths below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for each in ("etc/certagent/keystores", "etc/systemd/system", "var/lib/certagent/keystores", "run", "srv"):
            (directory / each).mkdir(parents=True)

    def write(self, path: str, text: str = "") -> Path:
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def purge(self) -> str:
        script = self.directory / "postrm"
        script.write_text(re.sub(r"(?<![\w/.])/(?=(?:etc|var|run)/)", f"{self.directory}/", SCRIPT.read_text()))
        done = subprocess.run(["/bin/sh", script, "purge"], capture_output=True, text=True, check=True, timeout=30)
        return done.stdout + done.stderr


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_it_removes_configuration_and_state(root: Root) -> None:
    for path in ("etc/certagent/agent.yaml", "etc/certagent/keystores/web.yaml", "var/lib/certagent/clock.json"):
        root.write(path)
    assert root.purge() == ""
    assert not (root.directory / "etc/certagent").exists()
    assert not (root.directory / "var/lib/certagent").exists()


def test_a_link_in_place_of_the_keystores_directory_leads_to_no_deletion(root: Root) -> None:
    network = root.write("etc/netplan/10-lan.yaml")
    (root.directory / "etc/certagent/keystores").rmdir()
    (root.directory / "etc/certagent/keystores").symlink_to("../netplan")
    root.purge()
    assert network.exists()


def test_a_link_in_the_state_leads_to_no_deletion(root: Root) -> None:
    theirs = root.write("srv/theirs/file")
    (root.directory / "var/lib/certagent/keystores/web").symlink_to(theirs.parent)
    root.purge()
    assert theirs.exists()


def test_any_name_is_a_name(root: Root) -> None:
    """Nothing in a name is an option, a second path, or a command for the terminal."""
    kept = root.write("srv/keep")
    for name in ("-rf", "a b", "two\nlines", "\x1b]0;title\x07", "\\033[31m", "*"):
        root.write(f"var/lib/certagent/keystores/{name}/transaction/transaction.json")
        root.write(f"etc/certagent/keystores/{name}.yaml")
    told = root.purge()
    assert kept.exists()
    assert not (root.directory / "etc/certagent").exists()
    assert len(told.splitlines()) == 6
    assert all(line.isprintable() for line in told.splitlines())
    assert "open transaction of \\033[31m:" in told


def test_a_pipe_in_place_of_the_configuration_is_not_waited_for(root: Root) -> None:
    os.mkfifo(root.directory / "etc/certagent/agent.yaml")
    root.purge()
    assert not (root.directory / "etc/certagent/agent.yaml").exists()


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_a_state_directory_elsewhere_is_left_and_told(root: Root, quote: str) -> None:
    place = root.directory / "srv"
    root.write("etc/certagent/agent.yaml", f"state_dir: {quote}{place}{quote}  # here\n")
    assert root.purge() == f"certagent: state_dir {place} is left; remove it by hand\n"
    assert place.exists()
