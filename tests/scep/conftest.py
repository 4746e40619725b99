"""Keys and parties to share: making RSA keys is what would cost time."""

from __future__ import annotations

import pytest

from certagent import keys
from certagent.config.key_types import KeyType
from certagent.keys import PrivateKey

from .parts import World


@pytest.fixture(scope="session")
def rsa_keys() -> list[PrivateKey]:
    return [keys.generate(KeyType.RSA_2048) for _ in range(4)]


@pytest.fixture(scope="session")
def world(rsa_keys: list[PrivateKey]) -> World:
    return World.of(rsa_keys)
