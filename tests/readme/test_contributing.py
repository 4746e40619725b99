"""The pages for whoever carries on are true: what they name is there, and their lists are complete."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import fields

from certagent.config.authority import Authority
from certagent.config.keystores import KeystoreDefinition
from certagent.config.parts import Hooks

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
TYPES = sorted(each.__struct_config__.tag for each in get_args(KeystoreDefinition))
EVENTS = [each.name for each in fields(Hooks)]
AUTHORITY_KEYS = [each.name for each in fields(Authority)]


def recipe(title: str) -> list[str]:
    """The files of a recipe's numbered list; TYPE stands for the word of a keystore type."""
    found = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##)", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert found, title
    files = re.findall(r"^\d\. `([^`]+)`", found[1], re.MULTILINE)
    assert files, title
    return files


def text_of(file: str) -> str:
    return (ROOT / file).read_text()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("file", recipe("A keystore type"))
def test_every_keystore_type_is_in_every_file_of_its_recipe(kind: str, file: str) -> None:
    path = ROOT / file.replace("TYPE", kind)
    if "TYPE" in file and not path.exists():
        path = next((ROOT / "certagent/keystore").glob("*/driver.py"))  # a type of several modules is a package
    assert re.search(kind, path.read_text(), re.IGNORECASE), f"{path} says nothing of {kind}"


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("file", recipe("A hook event"))
def test_every_event_is_in_every_file_of_its_recipe(event: str, file: str) -> None:
    assert re.search(rf"\b{event}\b", text_of(file)), f"{file} says nothing of {event}"


@pytest.mark.parametrize("key", AUTHORITY_KEYS)
@pytest.mark.parametrize("file", recipe("A key of an authority"))
def test_every_key_of_an_authority_is_in_every_file_of_its_recipe(key: str, file: str) -> None:
    assert re.search(rf"\b{key}\b", text_of(file)), f"{file} says nothing of {key}"


@pytest.mark.parametrize("file", recipe("A CA's quirk"))
def test_what_the_recipe_for_a_quirk_names_is_there(file: str) -> None:
    assert (ROOT / file).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)", CONTRIBUTING))))
def test_make_knows_each_target(target: str) -> None:
    assert re.search(rf"^{target}:", text_of("Makefile"), re.MULTILINE)


PAGES = ("CONTRIBUTING.md", "docs/architecture.md", "README.md", "tests/README.md")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page: str) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of(page)):
        assert (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\b(?:[a-z_]+/)+[a-z_]+\.py\b", ARCHITECTURE + CONTRIBUTING))))
def test_each_module_named_is_there(name: str) -> None:
    assert any((ROOT / start / name).exists() for start in ("", "certagent"))


MODULES = sorted(
    path.relative_to(ROOT / "certagent")
    for path in (ROOT / "certagent").rglob("*.py")
    if path.stem != "__init__"
    and path.relative_to(ROOT / "certagent").parts[0] not in ("scep", "keystore", "cli", "lab", "demo")
)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_the_picture_of_the_layers_shows_each_module(module: Path) -> None:
    picture = ARCHITECTURE.split("## Layers")[1].split("```")[1]
    if module.parent != Path():
        picture = picture[picture.index(f"{module.parent}/") :]
    assert re.search(rf"\b{re.escape(module.stem)}\b", picture)


def test_every_decision_is_in_the_list() -> None:
    listed = re.findall(r"\]\(([^)]+\.md)\)", text_of("docs/decisions/README.md"))
    assert sorted(listed) == sorted(
        path.name for path in (ROOT / "docs/decisions").glob("*.md") if path.name != "README.md"
    )


def test_no_file_cites_a_document_that_is_not_here() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in tracked.splitlines():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".yaml", ".service", ".toml") and path.is_file() and path != Path(__file__):
            assert "DESIGN" not in path.read_text(), name
