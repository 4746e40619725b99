"""Hooks marked `once`: each runs once for all keystores of a command that owe it, after the last one is in place.

As with any other entry, each keystore owes it in its own journal until it has succeeded; after a kill it runs
again. This module makes the keystores of one command wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import msgspec

from certagent import durable
from certagent.config.parts import HookCommand
from certagent.errors import CertagentError, HookError
from certagent.hooks import run_hook
from certagent.state_directory import KeystoreDirectory
from certagent.transaction import hours, owed_hooks
from certagent.transaction.context import Context
from certagent.transaction.journal import Transaction
from certagent.transaction.renewal import record_failure
from certagent.transaction.report import Outcome, Result

# An environment variable holds 128 KB, a name up to 64 characters.
_MOST_NAMES = 1000
# For the new pair, for the old one if the probe fails, and for ca_file alone.
_ROUNDS = 3


class _Owing(msgspec.Struct, frozen=True):
    """A keystore that owes a command for what this transaction put in place; `event` is the last that lists it."""

    context: Context
    transaction: Transaction
    event: str

    @property
    def name(self) -> str:
        return self.context.configured.name


class OnceHooks:
    """The keystores of one command. `finish` carries on with a keystore whose hooks have all succeeded."""

    def __init__(
        self, contexts: Sequence[Context], finish: Callable[[Context], Outcome], stopping: Callable[[], bool]
    ) -> None:
        self._finish = finish
        self._stopping = stopping
        self._commands = {each.configured.name: each.configured.definition.hooks.once for each in contexts}
        self._having: dict[HookCommand, list[Context]] = {}
        for context in contexts:
            for command in self._commands[context.configured.name]:
                self._having.setdefault(command, []).append(context)
        self._to_come = {
            command: {context.configured.name for context in having} for command, having in self._having.items()
        }
        self._held: dict[str, tuple[Context, Outcome]] = {}
        self._wanted: set[str] = set()
        self._failed: dict[str, list[tuple[_Owing, HookError, datetime]]] = {}

    def through(self, context: Context, outcome: Outcome) -> Iterator[Outcome]:
        """An attempt at a keystore is over: return the outcomes now final, also of keystores that waited for it."""
        name = context.configured.name
        if outcome.result is Result.IN_PLACE:
            self._held[name] = context, outcome
        else:
            yield outcome
        # Another hook may be the one that failed.
        if outcome.result is Result.IN_PLACE or (outcome.result is Result.FAILED and _may_run(context)):
            self._wanted.add(name)
        for command in self._commands[name]:
            self._to_come[command].discard(name)
            if not self._to_come[command]:
                self._run(command, self._wanted)
        yield from self._settled()

    def rest(self) -> Iterator[Outcome]:
        """The outcomes of those that still wait: certagent was asked to stop, and their hooks stay owed."""
        for _, outcome in self._held.values():
            yield msgspec.structs.replace(outcome, result=Result.STOPPED)

    def _settled(self) -> Iterator[Outcome]:
        """The outcomes of keystores whose hooks have all been tried; the probe may make them owe new ones."""
        ready = [each for each, _ in self._held.values() if not any(map(self._to_come.get, self._commands_of(each)))]
        for _ in range(_ROUNDS):
            again = {}
            for context in ready:
                outcome = self._end(context)
                if outcome.result is Result.IN_PLACE:
                    again[context.configured.name] = context
                else:
                    del self._held[context.configured.name]
                    yield outcome
            ready = list(again.values())
            for command in dict.fromkeys(command for context in ready for command in self._commands_of(context)):
                self._run(command, set(again))

    def _commands_of(self, context: Context) -> Sequence[HookCommand]:
        return self._commands[context.configured.name]

    def _end(self, context: Context) -> Outcome:
        failed = self._failed.pop(context.configured.name, [])
        if not failed:
            return self._finish(context)
        owing, _, at = failed[-1]
        error = owed_hooks.fault(owing.transaction, [(each.event, why) for each, why, _ in failed])
        # Keystores that failed together are tried again together.
        return record_failure(msgspec.structs.replace(context, clock=lambda: at), error)

    def _run(self, command: HookCommand, wanted: set[str]) -> None:
        """Run a command for all that owe it, if at least one of them has just reached it."""
        having = self._having[command]
        if self._stopping() or not any(each.configured.name in wanted for each in having):
            return
        owing = [owed for each in having if (owed := _owing(each, command)) is not None]
        if not any(each.name in wanted for each in owing):
            return
        for first in range(0, len(owing), _MOST_NAMES):
            self._run_for(command, owing[first : first + _MOST_NAMES])

    def _run_for(self, command: HookCommand, owing: Sequence[_Owing]) -> None:
        first = owing[0].context
        whom = first.configured.name if len(owing) == 1 else f"{len(owing)} keystores"
        first.say(f"running {owing[0].event} hook {command.run[0]} for {whom}")
        failed: HookError | None = None
        try:
            run_hook(command, _environment(owing), first.log)
        except HookError as error:
            failed = error
        at = first.clock()
        for each in owing:
            _keep(each, command, succeeded=failed is None)
            if failed is not None and each.name in self._held:
                self._failed.setdefault(each.name, []).append((each, failed, at))
        if failed is None:
            first.log(f"{owing[0].event} hook {command.run[0]} succeeded for {whom}")


def _may_run(context: Context) -> bool:
    """Whether the hooks owed do not have to wait for their hours."""
    try:
        transaction = context.journal.open()
        return transaction is not None and not hours.waits(context, transaction)
    except CertagentError:
        return False


def _owing(context: Context, command: HookCommand) -> _Owing | None:
    """None if it does not owe this command, or its journal cannot be read, which its own attempt reports."""
    try:
        transaction = context.journal.open()
    except CertagentError:
        return None
    if transaction is None or not owed_hooks.is_owing(transaction):
        return None
    events = [entry.event for entry in owed_hooks.owed(context, transaction) if entry.command == command]
    return _Owing(context, transaction, events[-1]) if events else None


def _environment(owing: Sequence[_Owing]) -> dict[str, str]:
    """The variables of a hook that runs for several keystores: none that is about one of them alone."""
    events = {each.event for each in owing}
    return {
        "CERTAGENT_EVENT": "post" if "post" in events else "ca_changed",
        "CERTAGENT_KEYSTORES": " ".join(each.name for each in owing),
        "CERTAGENT_ATTEMPT": str(max(each.transaction.attempt for each in owing) + 1),
    }


def _keep(owing: _Owing, command: HookCommand, *, succeeded: bool) -> None:
    """Record the result in the keystore's journal, unless another process has its lock, or it has moved on."""
    context, before = owing.context, owing.transaction
    try:
        place = KeystoreDirectory(context.configured.directory)
        with durable.lock(place.lock, f"keystore {owing.name}"):
            transaction = context.journal.open()
            if transaction is None or (transaction.id, transaction.phase) != (before.id, before.phase):
                return
            if succeeded:
                keys = [each.key for each in owed_hooks.owed(context, transaction) if each.command == command]
                owed_hooks.succeeded(context, transaction, *keys)
            else:
                context.journal.write(transaction.at(transaction.phase, attempt=transaction.attempt + 1))
    except (CertagentError, OSError) as error:
        context.log(f"that hook {command.run[0]} ran cannot be recorded, so it will run again: {error}")
