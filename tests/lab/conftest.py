"""Fixtures: keys to share, and a lab CA on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent import keys
from certagent.lab import LabCA, Settings
from tests.renewal.conftest import make_site

from .device import CHALLENGE, Clock, Lab, MakeLab

__all__ = ["lab", "make_site", "rsa_keys"]


@pytest.fixture(scope="session")
def rsa_keys() -> list[rsa.RSAPrivateKey]:
    """Keys to go round: making them is what would cost time."""
    return [rsa.generate_private_key(65537, 2048) for _ in range(6)]


@pytest.fixture
def lab(tmp_path: Path, rsa_keys: list[rsa.RSAPrivateKey]) -> Iterator[MakeLab]:
    """`lab(lifetime=…, ra=True, …)` starts one; LabCA's subclass as `kind`."""
    with ExitStack() as stack:

        def make(kind: type[LabCA] = LabCA, **settings: object) -> Lab:
            directory = tmp_path / "lab"
            directory.mkdir()
            for role, key in zip(("ca", "ra-signing", "ra-encryption"), rsa_keys[:3], strict=True):
                if role == "ca" or settings.get("ra"):
                    (directory / f"{role}.key").write_bytes(keys.to_pem(key))
            given = Settings(**{"challenge": CHALLENGE, **settings})  # type: ignore[arg-type]  # a test's own words
            return Lab(directory, Clock(), given, kind, stack, rsa_keys[5])

        yield make
