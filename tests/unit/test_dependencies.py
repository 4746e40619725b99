"""What pyproject.toml declares, what constraints.txt locks, and what the lowest versions are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from certagent.installed import OPTIONAL
from tests import lowest


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


@pytest.fixture(scope="module")
def declared(root: Path) -> dict[str, str]:
    pins = (pin.split("==") for pin in lowest.pins((root / "pyproject.toml").read_text()))
    return {_normal(name): version for name, version in pins}


@pytest.fixture(scope="module")
def locked(root: Path) -> dict[str, str]:
    """Nothing but names, versions and the Pythons they are for: no index, no host, no path."""
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"([a-z0-9-]+)==([\w.]+)( ; [\w.'!=<> ()]+)?", line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return {match[1]: match[2] for match in found if match}


def test_what_is_declared_is_locked_and_no_lower(declared: dict[str, str], locked: dict[str, str]) -> None:
    assert set(declared) <= set(locked)
    assert not {name for name in declared if _numbers(locked[name]) < _numbers(declared[name])}


def test_the_slim_installation_has_all_but_what_is_optional_in_the_same_versions(root: Path) -> None:
    wanted = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    optional = {package for package, _ in OPTIONAL.values()}
    slim = [line for line in (root / "requirements-slim.txt").read_text().splitlines() if not line.startswith("#")]
    assert slim == [each for each in wanted if re.split("[<>=]", each)[0] not in optional]
    assert len(wanted) - len(slim) == len(optional)


def test_a_lowest_version_is_a_pin() -> None:
    pyproject = """
        [build-system]
        requires = ["setuptools>=69"]
        [project]
        dependencies = ["apscheduler>=3.11,<4"]
        optional-dependencies.dev = ["types-PyYAML>=6.0.12"]
    """
    assert lowest.pins(pyproject) == ["apscheduler==3.11", "setuptools==69", "types-PyYAML==6.0.12"]


@pytest.mark.parametrize("requirement", ["requests", "requests<3", "requests==2", "requests~=2.32"])
def test_one_without_a_lowest_version_is_refused(requirement: str) -> None:
    pyproject = f"""
        build-system.requires = []
        [project]
        dependencies = ["{requirement}"]
        optional-dependencies.dev = []
    """
    with pytest.raises(ValueError, match=f"^'{requirement}' names no lowest version"):
        lowest.pins(pyproject)
