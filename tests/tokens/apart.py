"""Attempts in processes of their own, as certagent makes them: none of their forebears has loaded a PKCS#11 module.

What a module keeps (threads, a connection to a bus) does not survive a fork, and this process may have loaded one. So
children are forked by a server that was started by exec and never does more than import.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from certagent import durable
from certagent.cli.assemble import contexts
from certagent.config.load import load_configuration
from certagent.transaction.context import Context
from certagent.transaction.renewal import Wish, advance
from certagent.transaction.report import Result

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__, "certagent.keystore.token.driver"])


def context(config: Path, now: datetime) -> Context:
    """Of the keystore `web`, as a site's own, but with a clock that stands still."""
    made = contexts(load_configuration(config), ["web"], lambda *_: None, lambda *_: None)
    return replace(made[0], clock=lambda: now)


def attempt(config: Path, now: datetime, wish: Wish, *results: Result) -> None:
    """A renewal, with one of these results."""
    outcome = advance(context(config, now), wish, lambda: False)
    assert outcome.result in results, outcome


def killed_behind_a_login(config: Path, now: datetime) -> None:
    """A good one, of which nothing is noted any more."""
    durable.remove = lambda path: os.kill(os.getpid(), signal.SIGKILL)
    web = context(config, now)
    web.configured.keystore.create_shadow("00" * 16, web.configured.definition.key_type)


def apart(action: Callable[..., object], *arguments: object, kill_after: float | None = None) -> float:
    """Run one of these in a process of its own, which must end well: how many seconds it ran.

    With `kill_after`, it is killed after so many, unless it is done before.
    """
    begun = time.monotonic()
    code = exit_code(action, *arguments, kill_after=kill_after)
    assert code in ((0, -signal.SIGKILL) if kill_after is not None else (0,))
    return time.monotonic() - begun


def exit_code(action: Callable[..., object], *arguments: object, kill_after: float | None = None) -> int:
    child = _SERVER.Process(target=_act, args=(dict(os.environ), action, *arguments))
    child.start()
    if kill_after is not None:
        time.sleep(kill_after)
        child.kill()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def _act(environment: dict[str, str], action: Callable[..., object], *arguments: object) -> None:
    os.environ.update(environment)  # the server's is that of the first test
    action(*arguments)
