"""What a fault that nobody foresaw is called."""

from __future__ import annotations

import pytest

from certagent.errors import internal_fault

FAULTS = [
    pytest.param(MemoryError(), "there is not enough memory", id="out of memory"),
    pytest.param(ModuleNotFoundError("no", name="certagent.keys"), "certagent.keys is missing", id="a module is gone"),
    pytest.param(ValueError("a secret"), "internal error: ValueError at test_errors.py:", id="a fault of ours"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_it_is_told_in_one_line_with_what_to_do(fault: Exception, words: str) -> None:
    with pytest.raises(type(fault)) as caught:
        raise fault
    told = internal_fault(caught.value)
    assert words in str(told)
    assert "secret" not in str(told)
    assert told.hint
