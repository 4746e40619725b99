"""tests/conftest.py: which real parts a host has, and which it cannot have."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import PARTS, on_this_debian

KNOWS_PACKAGES = shutil.which("apt-cache") is not None and any(Path("/var/lib/apt/lists").glob("*_Packages*"))


@pytest.mark.skipif(not KNOWS_PACKAGES, reason="apt knows no packages here")
@pytest.mark.parametrize(
    ("packages", "here"),
    [
        pytest.param("openssl", True, id="one"),
        pytest.param("", True, id="none needed"),
        pytest.param("openssl certagent-no-such-package", False, id="one of two unknown"),
    ],
)
def test_a_part_can_be_had_if_apt_knows_its_packages(packages: str, here: bool) -> None:
    assert on_this_debian(packages) is here


def test_every_part_names_packages_that_make_installs() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    named = {package for _, _, packages in PARTS.values() for package in packages.split()}
    assert {package for package in named if package not in makefile.split()} <= {"git", "systemd"}
