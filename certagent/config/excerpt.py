"""Makes what the agent keeps from a configuration that was read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from certagent.config.configuration import Configuration
from certagent.config.crl_files import crl_files, digest
from certagent.config.decode import Node, Scalar, Sequence, Table
from certagent.config.parts import HookCommand
from certagent.config.served import Served, ServedAuthority, ServedCrls, ServedKeystore, quoted, table

# What a worker for a batch does not need, and the tables that are cut to its keystores.
_LEFT_OUT = ("include", "authorities", "keystores")


def served(
    configuration: Configuration,
    main: Table,
    included: Iterable[Table],
    digests: Mapping[str, bytes],
    lacking: tuple[str, ...],
) -> Served:
    """`main`, `included`: the tables of agent.yaml and the files it includes. `digests`: empty, or missing, for
    keystores whose content no file shows.
    """
    files = (main, *included)
    settings = ((key, written(node)) for key, (_, node) in main.entries.items() if key not in _LEFT_OUT)
    authorities = _entries(files, "authorities")
    numbers = {name: number for number, name in enumerate(authorities)}
    texts = _entries(files, "keystores")
    return Served(
        state_dir=configuration.state_dir,
        max_workers=configuration.max_workers,
        worker_timeout=_plain(configuration.worker_timeout),
        check_every=_plain(configuration.check_every),
        writes_metrics=configuration.metrics_file is not None,
        lacking=lacking,
        settings=table(settings),
        default=numbers.get(configuration.defaults.authority),
        authorities=tuple(ServedAuthority(name, text) for name, text in authorities.items()),
        keystores={
            name: ServedKeystore(
                texts[name], numbers[definition.authority], digests.get(name, b""), not definition.jitter
            )
            for name, definition in configuration.keystores.items()
        },
        shared=_shared(configuration),
        crls=tuple(
            ServedCrls(
                name, digest(files, configuration.authorities[name].crl_source), tuple(file.path for file in files)
            )
            for name, files in crl_files(configuration).items()
        ),
    )


def _shared(configuration: Configuration) -> dict[str, tuple[int, ...]]:
    numbers: dict[HookCommand, int] = {}
    return {
        name: tuple(numbers.setdefault(command, len(numbers)) for command in definition.hooks.once)
        for name, definition in configuration.keystores.items()
        if definition.hooks.once
    }


def written(node: Node) -> str:
    """A node as text that is read back as the same node."""
    match node:
        case Table():
            return table((key, written(value)) for key, (_, value) in node.entries.items())
        case Sequence():
            return f"[{','.join(map(written, node.items))}]"
        case Scalar():
            return quoted(node.text) if isinstance(node.value, str) else node.text or "null"


def _entries(files: Iterable[Table], word: str) -> dict[str, str]:
    tables = (file.entries[word][1] for file in files if word in file.entries)
    return {
        name: written(node) for table in tables if isinstance(table, Table) for name, (_, node) in table.entries.items()
    }


def _plain(length: timedelta) -> timedelta:
    """The same as a plain timedelta, which is all a message can carry."""
    return timedelta(seconds=length.total_seconds())
