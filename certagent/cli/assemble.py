"""From a configuration to the keystores being worked on: the edge where clock, host and log come from."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from certagent.config.configuration import Configuration
from certagent.config.load import digest_of
from certagent.errors import ConfigError
from certagent.hooks import read_secret
from certagent.keystore import open_keystore
from certagent.keystore.base import Keystore
from certagent.transaction.context import Context
from certagent.transaction.journal import Journal
from certagent.trust.authorities import Authorities

Log = Callable[[str], None]


def clock() -> datetime:
    return datetime.now(UTC)


def host() -> str:
    """What tells this machine from its siblings: the machine ID, else the host name."""
    try:
        return Path("/etc/machine-id").read_text().strip() or socket.gethostname()
    except OSError:
        return socket.gethostname()


def chosen(configuration: Configuration, names: Sequence[str]) -> list[str]:
    """The keystores named, or all. Raises ConfigError for a name that is not configured."""
    for name in names:
        if name not in configuration.keystores:
            known = ", ".join(sorted(configuration.keystores)) or "none"
            raise ConfigError(f"there is no keystore {name!r}", f"configured: {known}")
    return list(dict.fromkeys(names)) or list(configuration.keystores)


def keystore_directory(configuration: Configuration, name: str) -> Path:
    return Path(configuration.state_dir) / "keystores" / name


def contexts(
    configuration: Configuration, names: Sequence[str], log: Callable[[str, str], None], say: Callable[[str, str], None]
) -> list[Context]:
    """One Work per keystore; `log` and `say` take the keystore's name and a line."""
    authorities = Authorities(configuration.authorities, Path(configuration.state_dir))
    here = host()

    def opened(name: str) -> Keystore:
        [name] = chosen(configuration, [name])
        return open_keystore(
            name,
            configuration.keystores[name],
            directory=keystore_directory(configuration, name),
            live_dir=Path(configuration.live_dir),
            read_secret=read_secret,
        )

    def to(sink: Callable[[str, str], None], name: str) -> Log:
        return lambda line: sink(name, line)

    made = []
    for name in names:
        definition = configuration.keystores[name]
        authority = configuration.authority_of(definition)
        directory = keystore_directory(configuration, name)
        context = Context(
            name=name,
            definition=definition,
            authority=authority,
            digest=digest_of(definition, authority),
            host=here,
            directory=directory,
            keystore=opened(name),
            journal=Journal(directory),
            rollover=Journal(directory, "rollover"),
            authorities=authorities,
            clock=clock,
            log=to(log, name),
            say=to(say, name),
            peer=opened,
        )
        made.append(context)
    return made
