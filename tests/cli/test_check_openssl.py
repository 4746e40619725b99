"""What `check` says about kinds of keys that not every OpenSSL can use: it asks the one on this host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from certagent.cli import check_openssl
from certagent.cli.check_openssl import consumers
from certagent.cli.terminal import Mark
from tests.renewal.site import openssl

PURE = ["ed25519", "ed448", "ml-dsa:44", "ml-dsa:65", "ml-dsa:87"]


@pytest.fixture(autouse=True)
def asked_anew() -> None:
    check_openssl._makes.cache_clear()


@pytest.mark.parametrize("kinds", [[], ["rsa:2048"], ["ec:p256", "rsa:4096"], ["ec:p521"]])
def test_keys_that_every_openssl_can_use_are_not_worth_a_line(kinds: list[str]) -> None:
    assert list(consumers(kinds)) == []


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("kind", PURE)
def test_the_hosts_openssl_is_asked(kind: str) -> None:
    number = re.match(r"OpenSSL (\d+)\.(\d+)", openssl("version"))
    assert number is not None
    able = not kind.startswith("ml-dsa") or (int(number[1]), int(number[2])) >= (3, 5)
    [finding] = consumers([kind, kind])
    assert finding.mark is (Mark.FINE if able else Mark.WARNING)
    assert f"this host's OpenSSL {'can' if able else 'cannot'} use {kind} keys" in finding.text
    assert ("OpenSSL can since 3.5: use another key_type" in finding.hint) == (not able)


@pytest.mark.parametrize("kind", PURE)
def test_without_an_openssl_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    [finding] = consumers([kind])
    assert finding.mark is Mark.WARNING
    assert "no `openssl` is on PATH" in finding.text
    assert "try such a pair with each consumer first" in finding.hint


def test_one_that_cannot_be_started_is_no_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "openssl"
    program.write_bytes(b"\x7fELF for another machine")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    [finding] = consumers(["ml-dsa:65"])
    assert finding.mark is Mark.WARNING
    assert "is not known" in finding.text
