"""Power that fails: after a given number of calls that change the disk nothing changes it any more."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CHANGING = (
    "chmod",
    "fchmod",
    "fchown",
    "fsync",
    "link",
    "mkdir",
    "rename",
    "replace",
    "rmdir",
    "symlink",
    "truncate",
    "unlink",
)


class CutError(BaseException):
    """The process is gone. No `except Exception` may catch it, and no clean-up may still change anything."""


class Power:
    """The device's power. `cuts` counts how often it failed."""

    def __init__(self) -> None:
        self.cuts = 0
        self._left: int | None = None
        self._dead = False
        self._elsewhere = False

    def fails_after(self, calls: int | None) -> None:
        """Fail at the call after so many; None: it holds."""
        self._left, self._dead = calls, False

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """What happens on another machine is not touched by the device's power."""
        self._elsewhere = True
        try:
            yield
        finally:
            self._elsewhere = False

    @contextmanager
    def supplied(self) -> Iterator[None]:
        """Let every changing call of this process ask whether there is power."""
        real = {name: getattr(os, name) for name in CHANGING}
        for name, function in real.items():
            setattr(os, name, self._guarded(function))
        try:
            yield
        finally:
            for name, function in real.items():
                setattr(os, name, function)

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def guarded(*arguments: Any, **options: Any) -> Any:
            self._call()
            return function(*arguments, **options)

        return guarded

    def _call(self) -> None:
        if self._elsewhere:
            return
        if self._dead:
            raise CutError
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            self._dead = True
            self.cuts += 1
            raise CutError
