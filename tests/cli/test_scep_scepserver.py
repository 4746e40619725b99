"""`certagent scep` against a server none of us wrote: micromdm's, Debian's package `scep`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent import certificate as facts
from certagent.cli.main import main
from tests.interop.commands import openssl_confirms
from tests.interop.scepserver import CHALLENGE, ScepServer, scepserver

pytestmark = [pytest.mark.needs("scepserver"), pytest.mark.needs("openssl")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScepServer]:
    with scepserver(tmp_path_factory.mktemp("scepserver")) as running:
        yield running


def enroll(server: ScepServer, directory: Path, name: str, *words: str | Path) -> int:
    challenge = directory / "challenge"
    challenge.write_text(CHALLENGE)
    files = ["--key", directory / f"{name}.key", "--out", directory / f"{name}.pem", "--challenge-file", challenge]
    return main(["scep", "enroll", "--url", server.url, "--ca", str(server.ca), *map(str, (*files, *words))])


WEAK = ("--accept", "des", "--accept", "sha1")


def test_a_certificate_and_its_renewal(server: ScepServer, tmp_path: Path) -> None:
    assert enroll(server, tmp_path, "first", *WEAK, "--subject", "CN=by hand,O=Example", "--san", "dns:hand") == 0
    openssl_confirms(tmp_path / "first.key", tmp_path / "first.pem", server.ca)
    old: list[str | Path] = ["--sign-key", tmp_path / "first.key", "--sign-certificate", tmp_path / "first.pem"]
    assert enroll(server, tmp_path, "second", *WEAK, *old) == 0
    openssl_confirms(tmp_path / "second.key", tmp_path / "second.pem", server.ca)
    first, second = (facts.load_pem((tmp_path / f"{name}.pem").read_bytes(), name)[0] for name in ("first", "second"))
    assert facts.alternative_names(first) == facts.alternative_names(second) == {"dns:hand"}
    assert first.serial_number != second.serial_number


def test_its_weak_reply_is_refused_and_the_option_named(
    server: ScepServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enroll(server, tmp_path, "web", "--subject", "CN=weak") == 1
    assert "add des and sha1 to --accept" in capsys.readouterr().err
    assert not (tmp_path / "web.pem").exists()


@pytest.mark.parametrize("operation", ["getcert", "getcrl", "getnextca"])
def test_what_it_cannot_do_is_told(
    server: ScepServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], operation: str
) -> None:
    assert enroll(server, tmp_path, "web", *WEAK, "--subject", f"CN={operation}") == 0
    pair = ["--sign-key", str(tmp_path / "web.key"), "--sign-certificate", str(tmp_path / "web.pem")]
    words = ["--url", server.url, "--ca", str(server.ca), *WEAK, *(pair if operation != "getnextca" else [])]
    assert main(["scep", operation, *words, "--out", str(tmp_path / "out")]) == 1
    assert "answered HTTP 500" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
