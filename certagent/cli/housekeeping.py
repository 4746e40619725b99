"""`certagent cancel`, `remove` and `rename`: a keystore's records by hand. Consumers' files stay as they are.

Each first says what it will do, and does it once that is confirmed: with `y`, or with --yes if nobody can be asked.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from certagent import believed, durable
from certagent.cli import streams
from certagent.cli.assemble import chosen, contexts
from certagent.config.configuration import Configuration
from certagent.config.load import load_configuration
from certagent.config.values import Name
from certagent.errors import ConfigError, StateError
from certagent.state_directory import ROLLOVER, KeystoreDirectory, StateDirectory
from certagent.text import iso, printable
from certagent.transaction import recovery, walk
from certagent.transaction.context import AbandonedError
from certagent.transaction.journal import Journal, Phase, Transaction


def cancel(arguments: argparse.Namespace) -> int:
    """Give up an open transaction, and a rollover in preparation."""
    configuration = load_configuration(arguments.config)
    names = chosen(configuration, [arguments.name])
    [context] = contexts(configuration, names, _log, lambda _name, _line: None)
    found = _open(KeystoreDirectory(context.configured.directory))
    if not found:
        return _end(arguments, arguments.name, ["no transaction is open"], done=False)
    told = [_told(transaction) for transaction in found.values()]
    if not _confirmed(arguments, arguments.name, told):
        return 0
    with _locked(context.configured.directory, arguments.name):
        if message := recovery.recover_keystore(context.journal):
            _log(arguments.name, message)
        for journal, seen in found.items():
            now = journal.open()
            if now is not None and now.id == seen.id:  # not another one that began meanwhile
                walk.give_up(replace(context, journal=journal), AbandonedError("by hand"))
    return _end(arguments, arguments.name, told, done=True)


def _open(place: KeystoreDirectory) -> dict[Journal, Transaction]:
    """A keystore's transaction, and its rollover in preparation, by their journals. Raises StateError."""
    journals = (Journal(place.path), Journal(place.path, ROLLOVER))
    return {journal: found for journal in journals if (found := journal.open()) is not None}


def _told(transaction: Transaction) -> str:
    what = f"the {transaction.kind} begun at {iso(transaction.started_at)} ({transaction.phase}) is given up"
    if transaction.phase is Phase.ISSUED:
        return f"{what}; certificate {transaction.serial} was issued and will not be used: ask the CA to revoke it"
    if transaction.phase in (Phase.ACTIVATED, Phase.REVERTED):
        return f"{what}; the files in place stay, and its remaining hooks are not run"
    return f"{what}; certagent starts another when one is due"


def remove(arguments: argparse.Namespace) -> int:
    """Delete the records of a keystore that is no longer configured."""
    configuration, name = load_configuration(arguments.config), arguments.name
    if name in configuration.keystores:
        raise ConfigError(
            f"{name} is still configured: certagent would start it again", "remove it from the configuration first"
        )
    place = _state_of(configuration, name)
    told = [f"{place.path} is removed, with its history and the pair in previous/", *map(_told, _open(place).values())]
    live = Path(configuration.live_dir) / name
    if live.exists():
        told.append(f"{live} stays: its consumers may still read it")
    if not _confirmed(arguments, name, told):
        return 0
    with _locked(place.path, name):
        if message := recovery.recover_keystore(Journal(place.path)):
            _log(name, message)
        durable.remove(place.path)
    return _end(arguments, name, told, done=True)


def rename(arguments: argparse.Namespace) -> int:
    """Give the records of OLD to NEW, which is configured in its place."""
    configuration, old, new = load_configuration(arguments.config), arguments.old, arguments.new
    if old in configuration.keystores or new not in configuration.keystores:
        raise ConfigError(
            f"{new} is not configured in place of {old}", f"rename {old} to {new} in the configuration first"
        )
    source, target = _state_of(configuration, old), StateDirectory(Path(configuration.state_dir)).keystore(new)
    live = Path(configuration.live_dir) / old
    if live.exists():
        hint = f"set `swap: rename` for {old} and `certagent renew --force {old}`, then rename it"
        raise ConfigError(f"the files of {old} are links into {live}", hint)
    if target.transaction.exists() or target.previous.exists():
        raise ConfigError(f"{new} already has a pair or a transaction of its own", "give it another name")
    told = [f"its records become {new}'s"]
    if not _confirmed(arguments, old, told):
        return 0
    with _locked(source.path, old), _locked(target.path, new):
        if message := recovery.recover_keystore(Journal(source.path)):
            _log(old, message)
        durable.remove(target.path)  # left there by a first look
        durable.replace(source.path, target.path)
    return _end(arguments, old, told, done=True)


def _state_of(configuration: Configuration, name: str) -> KeystoreDirectory:
    place = StateDirectory(Path(configuration.state_dir)).keystore(name)
    if not _is_name(name) or not place.path.is_dir():
        known = StateDirectory(Path(configuration.state_dir)).keystores
        names = ", ".join(sorted(each.name for each in known.iterdir())) if known.is_dir() else "none"
        raise ConfigError(f"there are no records of a keystore {name!r}", f"known in {known}: {names}")
    return place


def _is_name(text: str) -> bool:
    """Whether a keystore can have this name: an invalid one, such as an empty name, would be another directory."""
    try:
        msgspec.convert(text, Name)
    except msgspec.ValidationError:
        return False
    return True


def _confirmed(arguments: argparse.Namespace, name: str, told: Sequence[str]) -> bool:
    """Say what will be done, and return whether to do it. Raises ConfigError if nobody can be asked."""
    if not arguments.json:
        for line in told:
            print(f"{name}: {line}")
    if arguments.dry_run:
        _end(arguments, name, told, done=False)
        return False
    if arguments.yes:
        return True
    if arguments.json or not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask for confirmation", "add --yes, or --dry-run to look first")
    return input("go on? [y/N] ").strip().lower() in ("y", "yes")


def _end(arguments: argparse.Namespace, name: str, told: Sequence[str], *, done: bool) -> int:
    """Report the end to programs; to people, who were told before, only if there was nothing to do."""
    if arguments.json:
        lines = [printable(line) for line in told]
        print(json.dumps({"keystore": name, "command": arguments.command, "done": done, "messages": lines}))
    elif not done and not arguments.dry_run:
        for line in told:
            print(f"{name}: {line}")
    return 0


@contextmanager
def _locked(directory: Path, name: str) -> Iterator[None]:
    """Raises StateError, BusyError."""
    believed.check_state(directory, deep=True)
    try:
        with durable.lock(KeystoreDirectory(directory).lock, f"keystore {name}"):
            yield
    except OSError as error:
        where = error.filename or directory
        raise StateError(f"{where}: {error.strerror}", "check the disk and the permissions") from None


def _log(name: str, line: str) -> None:
    streams.say(f"{name}: {printable(line)}", sys.stderr, name)
