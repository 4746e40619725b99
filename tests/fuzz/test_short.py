"""Some fuzzing for each parser, the same at every run; `python -m tests.fuzz.run` takes its time."""

from __future__ import annotations

import contextlib
import resource
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certagent.errors import CertagentError
from tests.cost import cost
from tests.fuzz.mutation import changed
from tests.fuzz.targets import TARGETS, Target

INPUTS = 100
DEAREST = 100  # units for one input
# What `cryptography` says about a name that is empty or too long is not an error.
pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")
EACH = pytest.mark.parametrize("target", [pytest.param(each, id=each.name) for each in TARGETS])


def refused_or_read(target: Target, data: bytes) -> None:
    with contextlib.suppress(CertagentError):
        target.run(data)


@EACH
def test_honest_input_passes(target: Target) -> None:
    """Else everything below would be refused at the door."""
    for seed in target.seeds():
        target.run(seed)


@EACH
def test_changed_input_is_refused_or_read_in_time_and_space(target: Target) -> None:
    random, seeds = Random(target.name), target.seeds()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(INPUTS):
        data = changed(target, random.choice(seeds), random)
        assert cost(refused_or_read, target, data) < DEAREST, data.hex()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 128 * 1024  # KiB


@EACH
def test_anything_is_refused_or_read(target: Target) -> None:
    @given(st.binary(max_size=300))
    @settings(max_examples=60, deadline=None, database=None)
    def check(data: bytes) -> None:
        refused_or_read(target, data)

    check()
