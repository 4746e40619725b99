"""Finish or undo an activation that a kill or a power cut interrupted: local, no network, no cryptography.

Every worker does this first, and `certagent recover` does it at boot before the consumers start. It uses only the
state directory, so it also finishes a keystore that has been removed from the configuration in the meantime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from certagent import believed, durable, interrupt
from certagent.errors import CertagentError, StateError
from certagent.keystore import swap, swap_plan
from certagent.state_directory import StateDirectory
from certagent.transaction.journal import Journal, Phase, Transaction, keystore_names


class _End(Struct, frozen=True):
    """How an interrupted phase is finished, and what it becomes: `undone` if the swap could not be made."""

    by: Callable[[swap_plan.Record], None]
    done: Phase
    undone: Phase
    sentence: str


_ENDS = {
    Phase.STAGING: _End(
        swap.undo, Phase.ISSUED, Phase.ISSUED, "undone: the old files are in place, and the swap will be tried again"
    ),
    Phase.ACTIVATING: _End(swap.finish, Phase.ACTIVATED, Phase.ISSUED, "finished: the new files are in place"),
    Phase.RESTORING: _End(
        swap.undo, Phase.ACTIVATED, Phase.ACTIVATED, "undone: certagent will try to restore the old files again"
    ),
    Phase.REVERTING: _End(swap.finish, Phase.REVERTED, Phase.ACTIVATED, "finished: the old files are back in place"),
}


class Recovered(Struct, frozen=True):
    """What was done to one keystore; `error` is set if it could not be finished."""

    keystore: str
    message: str = ""
    error: CertagentError | None = None


def recover_keystore(journal: Journal) -> str | None:
    """Bring one keystore's files to a consistent end; returns a sentence if there was something to do.

    The caller holds the keystore's lock. Raises StateError, KeystoreError.
    """
    transaction = journal.open()
    if transaction is None:
        journal.sweep()
        return None
    if transaction.phase not in _ENDS:
        return None
    if transaction.swap is None:
        raise StateError(
            f"{journal.directory} is at {transaction.phase} but does not say which files it is about",
            "compare the keystore's files with previous/, then move the directory away",
        )
    with interrupt.held():
        return _brought_to_an_end(journal, transaction, transaction.swap)


def _brought_to_an_end(journal: Journal, transaction: Transaction, record: swap_plan.Record) -> str:
    end = _ENDS[transaction.phase]
    journal.settle()
    try:
        end.by(record)
    except swap.UndoneError:
        journal.write(transaction.at(end.undone, swap=None))
        raise
    except ValueError:  # a NUL, or a character that cannot be encoded: certagent never wrote that
        raise StateError(
            f"{journal.directory} names an impossible file",
            "compare the keystore's files with previous/, then move the directory away",
        ) from None
    journal.write(transaction.at(end.done, swap=None))
    return f"an interrupted swap was {end.sentence}"


def recover_all(state_dir: Path, names: Iterable[str] | None = None) -> list[Recovered]:
    """Recover the keystores named, or all under the state directory; a problem with one never stops the others.

    Raises StateError if the state directory itself cannot be read or trusted.
    """
    believed.check_state(state_dir)
    done: list[Recovered] = []
    place = StateDirectory(state_dir)
    for name in _with_transaction(place) if names is None else names:
        directory = place.keystore(name)
        try:
            believed.check_state(directory.path, deep=True)
            with durable.lock(directory.lock, f"keystore {name}"):
                message = recover_keystore(Journal(directory.path))
        except CertagentError as error:
            done.append(Recovered(name, error=error))
        except OSError as error:
            fault = StateError(
                f"{error.filename or directory.path}: {error.strerror}", "check the disk and the permissions"
            )
            done.append(Recovered(name, error=fault))
        else:
            if message:
                done.append(Recovered(name, message))
    return done


def _with_transaction(place: StateDirectory) -> list[str]:
    return [name for name in keystore_names(place.keystores) if place.keystore(name).transaction.exists()]
