"""Finishing or undoing an activation that a kill or a power cut interrupted: local, no network, no cryptography.

Every worker does so first, and `certagent recover` does it at boot before the consumers start. It works from the
state directory alone, so a keystore that has left the configuration in the meantime is brought to an end as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from certagent import durable
from certagent.errors import CertagentError
from certagent.journal import Journal, Phase, Transaction
from certagent.keystore import swap

# What an interrupted phase becomes, and by which way.
_ENDS: dict[Phase, tuple[Callable[[swap.Record], None], Phase, str]] = {
    Phase.STAGING: (swap.undo, Phase.ISSUED, "undone: the old files are in place, the swap will be tried again"),
    Phase.ACTIVATING: (swap.finish, Phase.ACTIVATED, "finished: the new files are in place"),
    Phase.RESTORING: (swap.undo, Phase.ACTIVATED, "undone: going back to the old files will be tried again"),
    Phase.REVERTING: (swap.finish, Phase.REVERTED, "finished: the old files are back in place"),
}


@dataclass(frozen=True)
class Recovered:
    """What was done to one keystore; `error` set if it could not be brought to an end."""

    keystore: str
    message: str = ""
    error: CertagentError | None = None


def recover_keystore(journal: Journal) -> str | None:
    """Bring one keystore's files to a consistent end; a sentence if there was something to do.

    The caller holds the keystore's lock. Raises StateError, KeystoreError.
    """
    transaction = journal.open()
    if transaction is None or transaction.phase not in _ENDS or transaction.swap is None:
        return None
    end, phase, sentence = _ENDS[transaction.phase]
    end(transaction.swap)
    journal.write(transaction.at(phase, swap=None))
    return f"an interrupted swap was {sentence}"


def recover_all(state_dir: Path, names: Iterable[str] | None = None) -> list[Recovered]:
    """The keystores named, or every one under the state directory; one's trouble never stops another's."""
    done: list[Recovered] = []
    keystores = state_dir / "keystores"
    if names is None:
        names = sorted(each.name for each in keystores.iterdir()) if keystores.is_dir() else ()
    for name in names:
        directory = keystores / name
        try:
            with durable.lock(directory / "lock", f"keystore {name}"):
                message = recover_keystore(Journal(directory))
        except CertagentError as error:
            done.append(Recovered(name, error=error))
        else:
            if message:
                done.append(Recovered(name, message))
    return done


def open_transactions(state_dir: Path) -> dict[str, Transaction]:
    """Open transactions by keystore name, unreadable ones left out; nothing is locked or changed."""
    found = {}
    for file in sorted((state_dir / "keystores").glob("*/transaction/transaction.json")):
        try:
            transaction = Journal(file.parent.parent).open()
        except CertagentError:
            continue
        if transaction:
            found[file.parent.parent.name] = transaction
    return found
