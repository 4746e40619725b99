"""Types that commands decode every day have annotations that are values, not text.

msgspec evaluates text once more in each process, 0.05 ms for each field. So these modules do without
`from __future__ import annotations`, and put only what is not defined yet in quotes.
"""

from __future__ import annotations

import importlib

import pytest
from msgspec import Struct

CONFIGURATION = ("configuration", "authority", "keystores", "parts")
MEMORY = ("state", "lifetime", "host", "wall_clock", "trust.memory", "trust.next_ca")
MODULES = [*(f"config.{each}" for each in CONFIGURATION), *MEMORY]


@pytest.mark.parametrize("name", MODULES)
def test_annotations_are_no_text(name: str) -> None:
    module = importlib.import_module(f"certagent.{name}")
    types = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Struct)]
    own = [each for each in types if each.__module__ == module.__name__]
    assert own
    assert {each.__name__ for each in own if any(isinstance(it, str) for it in each.__annotations__.values())} == set()
