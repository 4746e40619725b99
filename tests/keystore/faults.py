"""Standing between the code and the operating system: watch each call, fail it, or die at it."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Every call by which the code under test reads or changes files. Dying ahead of the next is dying after this one.
CALLS = (
    *("open", "replace", "rename", "symlink", "unlink", "mkdir", "rmdir", "fsync", "chmod", "fchmod", "fchown"),
    *("pwrite", "ftruncate", "link"),
)
KILLED = 99


@contextmanager
def watched(before: Callable[[int, str, tuple[Any, ...]], None], *, passing: bool = False) -> Iterator[None]:
    """Call `before(number, name, arguments)` ahead of each call; what it raises is the call's outcome.

    A path below a directory that is held open is given whole. A directory opened to be passed through counts only if
    `passing`: a walk of seven names is one look.
    """
    real = {name: getattr(os, name) for name in CALLS}
    count = 0

    def wrap(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            if passing or not (name == "open" and args[1] & os.O_PATH):
                count += 1
                before(count, name, _whole(args, kwargs))
            return real[name](*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, wrap(name))
    try:
        yield
    finally:
        for name in CALLS:
            setattr(os, name, real[name])


def _whole(arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    held = next((each for word, each in options.items() if word.endswith("dir_fd") and each is not None), None)
    if held is None:
        return arguments
    directory = Path(f"/proc/self/fd/{held}").readlink()
    return tuple(directory / each if isinstance(each, str | Path) else each for each in arguments)


def synced(action: Callable[[], object], apart_from: Path | None = None) -> list[str]:
    """What an action makes durable, by name, in order; but for what lies in one directory."""
    seen: list[str] = []

    def before(_number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "fsync":
            path = Path(f"/proc/self/fd/{arguments[0]}").readlink()
            seen.extend([path.name] if apart_from is None or not path.is_relative_to(apart_from) else [])

    with watched(before):
        action()
    return seen


@contextmanager
def failing(step: int, error: int) -> Iterator[list[str]]:
    """Call number `step` fails with errno `error`; what is yielded names it, and is empty if there was no such call."""
    hit: list[str] = []

    def before(number: int, name: str, _arguments: tuple[Any, ...]) -> None:
        if number == step:
            hit.append(name)
            raise OSError(error, os.strerror(error))

    with watched(before):
        yield hit


def killed(step: int, action: Callable[[], None]) -> bool:
    """Run `action` in a process that vanishes ahead of change number `step`; False if it ended before that.

    A real process and a real end: no `finally`, no `except` of the code under test runs.
    """

    changes = 0

    def before(_number: int, name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        # Ahead of a mere read or a sync, a death leaves what it leaves ahead of the next change.
        changes += not (name == "fsync" or (name == "open" and not arguments[1] & os.O_CREAT))
        if changes == step:
            os._exit(KILLED)

    child = os.fork()
    if child == 0:
        try:
            with watched(before):
                action()
        except BaseException:  # noqa: BLE001 -- a forked child must not return into pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), f"the child ended with {code}"
    return code == KILLED
