"""`certagent history`: what happened to each keystore."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from certagent import durable, state
from certagent.cli.main import print_error
from certagent.cli.terminal import WIDE, print_plain, terminal
from certagent.config.configuration import Configuration
from certagent.config.load import load_configuration
from certagent.errors import ConfigError, StateError
from certagent.state import Event
from certagent.state_directory import StateDirectory
from certagent.text import iso, printable, stamp

if TYPE_CHECKING:
    from rich.console import Console


def history(arguments: argparse.Namespace) -> int:
    configuration = load_configuration(arguments.config)
    names = _remembered(configuration, arguments.names)
    told, unread = [], 0
    for name in names:
        try:
            told += [(name, event) for event in _events(configuration, name)]
        except StateError as error:  # of this keystore; the others have their own
            unread += 1
            print_error(error)
    told.sort(key=lambda each: each[1].at)
    if arguments.json:
        import json  # noqa: PLC0415 -- only programs need it

        for name, event in told:
            print(json.dumps(_event_line(name, event)))
        return 1 if unread else 0
    console = terminal()
    if not told:
        if not unread:
            print("nothing has happened yet")
    elif console is None:
        print_plain(("TIME (UTC)", "KEYSTORE", "EVENT", "DETAIL"), [_cells(name, event) for name, event in told])
    else:
        _print_events(console, told)
    return 1 if unread else 0


def _remembered(configuration: Configuration, names: Sequence[str]) -> list[str]:
    """The keystores whose history to show; one that is no longer configured still has its own."""
    directory = StateDirectory(Path(configuration.state_dir)).keystores
    try:
        on_disk = sorted(each.name for each in directory.iterdir()) if directory.is_dir() else []
    except OSError as error:
        raise StateError(f"{directory} cannot be read: {error.strerror}", durable.remedy(error)) from None
    everything = list(dict.fromkeys([*configuration.keystores, *on_disk]))
    for name in names:
        if name not in everything:
            raise ConfigError(f"there is no keystore {name!r}", f"known: {', '.join(everything) or 'none'}")
    return list(dict.fromkeys(names)) or everything


def _events(configuration: Configuration, name: str) -> list[Event]:
    try:
        return state.read_history(StateDirectory(Path(configuration.state_dir)).keystore(name).path)
    except OSError as error:
        where = error.filename or name
        raise StateError(f"{where} cannot be read: {error.strerror}", durable.remedy(error)) from None


def _event_line(name: str, event: Event) -> dict[str, Any]:
    """One line of `history --json`, without empty values."""
    rest = {key: value for key, value in msgspec.structs.asdict(event).items() if value and key != "at"}
    times = {key: iso(value) for key, value in rest.items() if isinstance(value, datetime)}
    return {"at": iso(event.at), "keystore": name, **rest, **times}


def _cells(name: str, event: Event, *, serial_digits: int = 64) -> tuple[str, str, str, str]:
    """The columns of `history`; `serial_digits` is how much of a serial number is shown."""
    serial = event.serial if len(event.serial) <= serial_digits else f"{event.serial[:serial_digits]}…"
    facts = [
        event.kind if event.event not in _DONE else "",
        f"until {stamp(event.not_after, event.at)}" if event.not_after else "",
        f"serial {serial}" if serial else "",
        "ca_file was brought up to date" if event.event == "trusted" else "",
    ]
    detail = event.message or ", ".join(filter(None, facts))
    return stamp(event.at, event.at), name, event.event, printable(detail)


_DONE = ("enrolled", "renewed", "rolled over", "trusted", "adjusted")
_EVENT_STYLES = {
    **dict.fromkeys(_DONE, "green"),
    "pending": "cyan",
    "next CA": "cyan",
    "staged": "cyan",
    "failed": "red",
    "rejected": "red",
    "rolled back": "red",
    "put back": "yellow",
    "hooks owed": "yellow",
    "revoked": "red",
    "abandoned": "yellow",
}


def _print_events(console: Console, told: Sequence[tuple[str, Event]]) -> None:
    from rich.table import Table  # noqa: PLC0415 -- loaded only to show this to people
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("time (UTC)", no_wrap=True, style="dim")
    table.add_column("keystore", no_wrap=True, max_width=40 if console.width >= WIDE else 16)
    table.add_column("event", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, event in told:
        at, _, word, detail = _cells(name, event, serial_digits=8)
        table.add_row(at, Text(name, "bold"), Text(word, _EVENT_STYLES.get(word, "")), Text(detail))
    console.print(table)
