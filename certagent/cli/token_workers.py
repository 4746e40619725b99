"""Keystores in tokens, each in its own process: a vendor's module may crash or hang at any call.

That costs its keystore one failed attempt, and the other keystores of the batch nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from certagent.config.configuration import Configuration
from certagent.config.introduction import TokenIntroduction
from certagent.config.keystores import Pkcs11Keystore
from certagent.errors import CertagentError, HookError, KeystoreError
from certagent.hooks import run_apart
from certagent.lifetime import lifetime_of
from certagent.transaction import report
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import Context
from certagent.transaction.renewal import record_failure
from certagent.transaction.report import Outcome
from certagent.transaction.wish import Wish

_COMMANDS = {
    Wish.DUE: ("renew", "--due"),
    Wish.NOW: ("renew",),
    Wish.RENEW: ("renew", "--force"),
    Wish.ENROLL: ("enroll",),
    Wish.ENROLL_ANEW: ("enroll", "--force"),
    Wish.COMPROMISED: ("renew", "--compromised"),
    Wish.FINISH: ("renew", "--finish"),
}
# Share of the time that the agent gives a worker without a report: it must not run out while we wait for ours.
_SHARE = 0.5


def wants_its_own(context: Context, names: Sequence[str]) -> bool:
    """Whether a keystore of this batch gets its own process. Alone in its batch, it already has one."""
    return len(names) > 1 and _module(context) != ""


def _module(context: Context) -> str:
    """The module that is used; empty if none is. A factory identity's, where that may sign the next request."""
    definition, introduction = context.configured.definition, context.configured.introduction
    if isinstance(definition, Pkcs11Keystore):
        return definition.module
    if not isinstance(introduction, TokenIntroduction):
        return ""
    certificate = certificate_in_place(context.configured.keystore)
    lifetime = lifetime_of(certificate)
    may_sign = lifetime is None or lifetime.not_after <= context.clock() or context.is_introduced(certificate)
    return introduction.module if may_sign else ""


def advance_apart(
    context: Context,
    wish: Wish,
    stopping: Callable[[], bool],
    configuration: Configuration,
    file: Path,
    *,
    excerpt: bool,
) -> Outcome:
    """`renewal.advance` in a process of its own, by the command that people would type.

    `excerpt`: the configuration came on our standard input, and this process reads it from there too.
    """
    command = (*_COMMANDS[wish], "--definitions-from-stdin") if excerpt else _COMMANDS[wish]
    words = ("-c", str(file.absolute()), *command, "--leave-once", "--report", "json", context.configured.name)
    if context.at_once:
        words = (*words[:-1], "--now", context.configured.name)
    limit = configuration.worker_timeout * _SHARE
    try:
        code, printed = run_apart(words, limit, stopping, with_stdin=excerpt)
    except HookError as error:
        return record_failure(context, error)
    outcome = _reported(printed)
    if outcome is not None and outcome.keystore == context.configured.name:
        return outcome
    return record_failure(context, _why(context, code, limit.total_seconds()))


def _reported(printed: bytes) -> Outcome | None:
    """The report; None if the process did not get that far. The module may have printed anything, too."""
    return next(filter(None, map(report.decode, printed.splitlines())), None)


def _why(context: Context, code: int | None, limit: float) -> CertagentError:
    module = _module(context)
    if code is None:
        return KeystoreError(
            f"{module} did not answer within {limit:g} s", "is its service or device stuck? restart it"
        )
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    return KeystoreError(
        f"the process that works with {module} was ended by {ended}",
        f"`certagent renew {context.configured.name}` shows the details",
    )
