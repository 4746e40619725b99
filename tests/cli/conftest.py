"""Fixtures: a key to share, a device, and a lab CA it can reach."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent import keys
from certagent.certificate import fingerprint
from certagent.cli.main import main
from certagent.config.key_types import KeyType
from certagent.keys import PrivateKey
from certagent.lab import LabCA, LabServer, Settings, serve

from .hand import Hand
from .place import Check, Checked, Place


@pytest.fixture(scope="session")
def rsa_key() -> PrivateKey:
    return keys.generate(KeyType.RSA_2048)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """A lab CA on loopback for all tests of the commands."""
    ca = LabCA(tmp_path_factory.mktemp("lab"), lambda: datetime.now(UTC), Settings(challenge="open sesame"))
    with serve(ca) as server:
        yield server


@pytest.fixture
def place(tmp_path: Path, rsa_key: PrivateKey) -> Place:
    """A device whose authority answers nothing: the port is closed."""
    return Place(tmp_path / "device", rsa_key)


@pytest.fixture
def connected(place: Place, lab: LabServer) -> Place:
    """A device whose authority is the lab CA, with its challenge."""
    place.url = lab.url
    place.fingerprint = str(fingerprint(lab.ca.generation.issuer.certificate))
    challenge = place.root / "challenge"
    challenge.write_text("open sesame\n")
    challenge.chmod(0o600)
    place.authority.append(f"challenge: {{file: {challenge}}}")
    return place


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    """Run `check` in this process. Whatever it complains of has a hint below."""

    def run(place: Place, *options: str) -> Checked:
        place.configure()
        code = main(["-c", str(place.config), "check", *options])
        seen = Checked(code, capsys.readouterr().out.splitlines())
        for complaint in seen.faults + seen.warnings:
            assert seen.lines[seen.lines.index(complaint) + 1].startswith("      "), complaint
        return seen

    return run


@pytest.fixture
def hand(tmp_path: Path, lab: LabServer, capsys: pytest.CaptureFixture[str]) -> Hand:
    """Somebody with a directory of their own, before the shared lab CA."""
    return Hand(tmp_path, lab, capsys)
