"""Questions at a terminal. A wrong answer is reported at once, and the question repeated; a secret is never shown."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence

from certagent.errors import ConfigError
from certagent.text import printable

Fault = Callable[[str], str]


def ask(question: str, fault: Fault, *, default: str = "") -> str:
    """An answer without a fault. Raises ConfigError at the end of input (Ctrl-D)."""
    while True:
        answer = _line(f"{question}{f' [{default}]' if default else ''}: ").strip() or default
        if not answer:
            continue
        if told := fault(answer):
            print(f"  {printable(answer, 200)}: {printable(told)}")
            continue
        return answer


def choose(question: str, choices: Sequence[tuple[str, str]], fault: Fault, *, default: str) -> str:
    """One of several words, each shown with its meaning."""
    print(question)
    width = max(len(word) for word, _ in choices)
    for word, what in choices:
        print(f"  {word:{width}}  {printable(what)}")
    return ask("  which", fault, default=default)


def secret(question: str) -> str:
    """What is typed, without showing it; empty for nothing."""
    try:
        return getpass.getpass(f"{question}: ")
    except EOFError:
        raise _left() from None


def _line(prompt: str) -> str:
    try:
        return input(prompt)
    except EOFError:
        print()
        raise _left() from None


def _left() -> ConfigError:
    return ConfigError("not all questions were answered", "nothing was written; `certagent init` starts again")
