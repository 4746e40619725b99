"""Makes the keystores' contexts from a configuration: clock, host and log come in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from certagent.config.configuration import Configuration
from certagent.errors import ConfigError
from certagent.host import identifier, this_host
from certagent.transaction.configured import configured_keystore

if TYPE_CHECKING:
    from certagent.keystore.base import Keystore
    from certagent.transaction.context import Context

Log = Callable[[str], None]


def clock() -> datetime:
    return datetime.now(UTC)


def chosen(configuration: Configuration, names: Sequence[str]) -> list[str]:
    """The keystores named, or all. Raises ConfigError for a name that is not configured."""
    for name in names:
        if name not in configuration.keystores:
            known = ", ".join(sorted(configuration.keystores)) or "none"
            raise ConfigError(f"there is no keystore {name!r}", f"configured: {known}")
    return list(dict.fromkeys(names)) or list(configuration.keystores)


def contexts(
    configuration: Configuration,
    names: Sequence[str],
    log: Callable[[str, str], None],
    say: Callable[[str, str], None],
    whole: Callable[[], Configuration] | None = None,
) -> list[Context]:
    """A context per keystore; `log` and `say` take the keystore's name and a line.

    `whole` reads the full configuration if `configuration` is an excerpt: a move may have begun in any keystore.
    """
    from certagent.transaction.context import Context  # noqa: PLC0415 -- only who works needs cryptography
    from certagent.trust.authorities import Authorities  # noqa: PLC0415

    authorities = Authorities(configuration.authorities, Path(configuration.state_dir))
    here, seen = identifier(), this_host()

    def peer(name: str) -> Keystore:
        known = configuration if whole is None or name in configuration.keystores else whole()
        [name] = chosen(known, [name])
        return configured_keystore(known, name, here).keystore

    def to(sink: Callable[[str, str], None], name: str) -> Log:
        return lambda line: sink(name, line)

    return [
        Context(
            configured=each,
            journal=each.journal,
            authorities=authorities,
            clock=clock,
            log=to(log, each.name),
            say=to(say, each.name),
            peer=peer,
            host=seen,
        )
        for each in (configured_keystore(configuration, name, here) for name in names)
    ]
