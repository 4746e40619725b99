"""What is said when a library is missing that certagent can do without: what to add, and by which command."""

from __future__ import annotations

from pathlib import Path

import pytest

from certagent.errors import ConfigError, internal_fault
from certagent.installed import command_to_add, lacking

TOOLS = [
    pytest.param(
        [], True, "/v/bin/python3 -m pip install --no-warn-conflicts 'rich>=13.7'", id="pip in a virtual environment"
    ),
    pytest.param(
        [],
        False,
        "python3 -m pip --python /v/bin/python3 install --no-warn-conflicts 'rich>=13.7'",
        id="one without pip",
    ),
    pytest.param(["pipx_metadata.json"], True, "pipx inject certagent 'rich>=13.7'", id="pipx"),
    pytest.param(["uv-receipt.toml"], False, "uv tool install --with 'rich>=13.7' certagent", id="uv"),
]


@pytest.mark.parametrize(("files", "has_pip", "command"), TOOLS)
def test_the_command_is_of_the_tool_that_installed_certagent(
    files: list[str], has_pip: bool, command: str, tmp_path: Path
) -> None:
    prefix = tmp_path / "certagent"
    prefix.mkdir()
    for name in files:
        (prefix / name).touch()
    assert command_to_add("rich>=13.7", prefix, "/v/bin/python3", has_pip=has_pip) == command


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("pkcs11.exceptions", ("python-pkcs11 is not installed, and keystores in tokens need it", "'python-pkcs11>=")),
        ("rich", ("rich is not installed, and `certagent demo` needs it", "'rich>=")),
    ],
)
def test_a_part_that_was_left_out_is_named_with_its_package(module: str, words: tuple[str, str]) -> None:
    what, hint = lacking(module) or ("", "")
    assert (what, words[1] in hint) == (words[0], True)
    told = internal_fault(ModuleNotFoundError("no", name=module))
    assert (type(told), str(told), told.hint) == (ConfigError, what, hint)


@pytest.mark.parametrize("module", ["certagent.keys", "certagent.lab.ca", "cryptography", "richer", ""])
def test_nothing_else_is_optional(module: str) -> None:
    assert lacking(module) is None
