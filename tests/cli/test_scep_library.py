"""docs/library.md: its example is run as it stands there. docs/sscep.md: what it names exists."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certagent import certificate as facts
from certagent import keys, scep
from certagent.cli.scep.command import add_arguments
from certagent.trust import crl, next_ca, rules

from .hand import Hand

PUBLIC = {"scep": scep, "rules": rules, "crl": crl, "next_ca": next_ca, "Client": scep.Client}


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "library.md").read_text()


@pytest.fixture(scope="module")
def example(page: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return str(code)


def test_the_example_renews_a_certificate(hand: Hand, example: str) -> None:
    hand.enroll()
    scope: dict[str, Any] = {}
    exec(compile(example, "docs/library.md", "exec"), scope)
    renew: Callable[..., tuple[bytes, bytes]] = scope["renew"]
    key, certificate = renew(hand.server.url, hand.fingerprint, hand.path("web.key"), hand.path("web.pem"))
    successor = x509.load_pem_x509_certificate(certificate)
    assert keys.match(keys.load_private(key, None, "key"), successor.public_key())
    assert successor.subject == hand.certificate().subject
    assert facts.alternative_names(successor) == {"dns:web.example.net"}
    assert hand.server.ca.issued()[-1].kind == "renewal"


def test_the_example_is_twenty_lines_and_says_all_it_needs(example: str) -> None:
    (function,) = [node for node in ast.parse(example).body if isinstance(node, ast.FunctionDef)]
    _docstring, *statements = function.body
    last = statements[-1].end_lineno
    assert last is not None
    assert last - statements[0].lineno + 1 <= 20


def test_every_call_the_page_names_exists(page: str) -> None:
    calls = re.findall(r"`(?:(\w+)\.)?(\w+)(?:\([^`]*\))?`", page[page.index("| to do |") : page.index("Every error")])
    assert len(calls) > 10
    for owner, name in calls:
        holder: Any = PUBLIC.get(owner, scep.MessageType if owner == "MessageType" else scep)
        assert hasattr(holder, name) or hasattr(scep.MessageType, name), (owner, name)


# ── docs/sscep.md ─────────────────────────────────────────────────────────────────────────────────


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_every_command_of_the_sscep_page_is_understood(root: Path) -> None:
    commands = re.findall(r"certagent scep (get\w+|enroll) (--.*?)(?: >\S+)?$", page_text(root), re.MULTILINE)
    assert len(commands) == 6
    for operation, words in commands:
        assert parse([operation, *words.split()]).operation == operation


def test_every_option_of_the_sscep_page_exists(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    helped = ""
    for operation in ("getcaps", "getca", "getnextca", "enroll", "getcert", "getcrl"):
        with pytest.raises(SystemExit):
            parse([operation, "--help"])
        helped += capsys.readouterr().out
    named = set(re.findall(r"--[a-z][a-z-]+", page_text(root)))
    assert len(named) > 25
    assert not named - set(re.findall(r"--[a-z][a-z-]+", helped))


def page_text(root: Path) -> str:
    return (root / "docs" / "sscep.md").read_text()
