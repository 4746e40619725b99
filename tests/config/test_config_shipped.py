"""What is shipped and what is written down: examples load, the schema and the documentation fit the definitions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pytest
import yaml
from msgspec import Struct

from certagent.config.authority import Authority
from certagent.config.configuration import Configuration
from certagent.config.decode import describe
from certagent.config.keystores import (
    KeystoreCommon,
    KeystoreDefaults,
    KeystoreDefinition,
    PemKeystore,
    Snippet,
)
from certagent.config.load import load_configuration
from certagent.config.parts import HookCommand, Hooks, Probe, Secret
from certagent.config.schema import json_schema

from .conftest import FINGERPRINT, Site
from .test_config_fields import FIELDS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "agent.yaml.example"
# Files that only a host has: secrets, templates that were copied, PKCS#11 modules.
_OF_A_HOST = re.compile(r"/etc/certagent/([a-z0-9]+\.(password|pin)|keystores/\S+\.template|\S+\.so)|/usr/lib/\S+\.so")
KEYSTORES = sorted((ROOT / "keystores").glob("*.yaml"))


def test_the_example_loads_once_its_five_marked_lines_are_changed(site: Site) -> None:
    text = EXAMPLE.read_text()
    edits = {
        "1": "    url: http://127.0.0.1:8080/scep",
        "2": f"    fingerprint: {FINGERPRINT}",
        "3": "    challenge: {file: DIR/corp.challenge}",
        "4": "    subject: CN=device.test",
        "5": "    san: [dns:device.test]",
    }
    lines = [edits[mark[1]] if (mark := re.search(r"# ([1-5]):? ", line)) else line for line in text.splitlines()]
    assert len(re.findall(r"# [1-5]: ", text)) == 5
    site.write("agent.yaml", "\n".join(lines))
    loaded = load_configuration(site.main)
    assert loaded.keystores["web"].subject == "CN=device.test"


def test_every_line_the_example_comments_out_is_right_too(site: Site) -> None:
    text = re.sub(r"^( *)# (?=(?: {2})?[a-z_]+:(?: |$))", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    for wrong, right in {
        "0" * 64: "9f" * 32,
        "sha256:...": FINGERPRINT,
        "/etc/certagent/corp.challenge": "DIR/corp.challenge",
        "/etc/certagent/web.passphrase": "DIR/corp.challenge",
        "/etc/certagent/corp-root.pem": "DIR/root.pem",
        "/usr/local/sbin/tell-someone": "DIR/bin/nginx",
    }.items():
        text = text.replace(wrong, right)
    site.write("agent.yaml", text)
    loaded = load_configuration(site.main)
    assert loaded.keystores["web"].swap == "symlink"
    assert loaded.authorities["corp"].send_challenge == "always"


@pytest.mark.parametrize("shipped", KEYSTORES, ids=lambda path: str(path.name))
def test_a_shipped_keystore_loads_beside_the_example(site: Site, shipped: Path) -> None:
    site.change({2: "include: keystores/*.yaml"})
    site.write(f"keystores/{shipped.name}", _OF_A_HOST.sub("DIR/corp.challenge", shipped.read_text()))
    assert shipped.stem in load_configuration(site.main).keystores


def test_haproxy_gets_one_combined_file(site: Site) -> None:
    site.change({2: "include: keystores/*.yaml"})
    site.write("keystores/haproxy.yaml", (ROOT / "keystores/haproxy.yaml").read_text())
    haproxy = load_configuration(site.main).keystores["haproxy"]
    assert isinstance(haproxy, PemKeystore)
    assert haproxy.combined


@pytest.fixture(scope="session")
def validator() -> Any:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("shipped", [EXAMPLE, *KEYSTORES], ids=lambda path: str(path.name))
def test_what_is_shipped_is_right_by_the_schema(validator: Any, shipped: Path) -> None:
    validator.validate(yaml.safe_load(shipped.read_text()))


# What one value alone shows to be wrong, an editor shall underline.
_SEEN_BY_SCHEMA = (
    "unknown key at top",
    "a key of one type only in defaults",
    "needed key missing",
    "keystore name with a space",
    "mode without quotes",
    "one value where a list belongs",
    "one command where a list of commands belongs",
    "duration without a unit",
    "no workers",
    "key type misspelled",
    "authority nobody vouches for",
    "password in the URL",
    "probe without port",
    "probe of nothing",
    "probe by a command, with STARTTLS",
    "type misspelled",
    "a key of another type",
    "token by a URI with its PIN",
    "PKCS#12 password in the open",
    "type missing",
    "relative path",
    "secret in the open",
    "two sources of a secret",
)


@pytest.mark.parametrize("name", _SEEN_BY_SCHEMA)
def test_what_is_wrong_in_itself_is_wrong_by_the_schema(validator: Any, site: Site, name: str) -> None:
    [lines] = [case.values[0] for case in FIELDS if case.id == name]
    assert isinstance(lines, dict)
    site.change(lines)
    assert not validator.is_valid(yaml.safe_load(site.main.read_text()))


def test_the_base_is_right_by_the_schema(validator: Any, site: Site) -> None:
    validator.validate(yaml.safe_load(site.main.read_text()))


def _heading(cls: type[Struct]) -> str:
    """The heading of a keystore type's own section: its type (PKCS#12 for pkcs12), and `keystores`."""
    headings = re.findall(r"^##+ (.* keystores)$", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    tag = str(cls.__struct_config__.tag)
    return next((each for each in headings if each.lower().replace("#", "").split()[0] == tag), f"{tag} keystores")


_TABLES: dict[str, tuple[type[Struct], type[Struct] | None]] = {
    "The file": (Configuration, None),
    "Authorities": (Authority, None),
    "Every keystore": (KeystoreDefaults, None),
    "Not under defaults": (KeystoreCommon, KeystoreDefaults),
    "Snippets": (Snippet, None),
    "Hooks": (Hooks, None),
    "Commands": (HookCommand, None),
    "Probe": (Probe, None),
    "Secrets": (Secret, None),
    **{_heading(cls): (cls, KeystoreCommon) for cls in get_args(KeystoreDefinition)},
}


@pytest.mark.parametrize("heading", _TABLES)
def test_the_documentation_tells_every_key(heading: str) -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    section = re.search(rf"^##+ {heading}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/configuration.md has no section {heading!r}"
    told = set(re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE))
    cls, told_before = _TABLES[heading]
    assert told == set(cls.__struct_fields__) - set(told_before.__struct_fields__ if told_before else ())


@pytest.mark.parametrize("cls", [cls for cls, _ in _TABLES.values()], ids=lambda cls: str(cls.__name__))
def test_every_key_is_described(cls: type[Struct]) -> None:
    assert not [info.name for info in msgspec.structs.fields(cls) if not describe(info)]


def test_making_the_schema_leaves_memory_whole() -> None:
    """msgspec overran its memory for the type of `fingerprint`; with a checking allocator that ends the process."""
    code = (
        "import gc\n"
        "from certagent.config.schema import json_schema\n"
        "for _ in range(50):\n"
        "    json_schema()\n"
        "    gc.collect()\n"
    )
    environment = {**os.environ, "PYTHONMALLOC": "debug"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
