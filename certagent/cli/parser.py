"""The argument parser: how `--help` looks, what every command takes, and the errors for a wrong command line.

All texts about the commands (--help, man page, completion) come from what is built here from `commands.py`.
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from certagent import __version__, shipped
from certagent.cli import commands
from certagent.cli.commands import DEFAULT_CONFIG
from certagent.errors import ConfigError, internal_fault
from certagent.installed import lacking

_ABOUT = "Keeps certificates alive over SCEP: renewal, rollover, safe swaps, hooks."
_EXAMPLES = """examples:
  certagent init         a first agent.yaml, by asking
  certagent check        is all in order? changes nothing
  certagent enroll web   the first certificate of keystore web
  certagent status       what is there, and what happens next
"""
_MORE = "`certagent COMMAND --help` tells more of each; `certagent man` prints the manual."


COMMON = ("config", "json", "verbose", "quiet", "debug")
"""Options that may be on either side of a command, by their `dest`."""


_SWITCHES = ("-v", "--verbose", "-q", "--quiet", "--json", "--debug")
"""Those of them that take no value."""


class Help(argparse.HelpFormatter):
    """Examples stay as they are written; everything else is wrapped."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip("\n").split("\n\n")
        return "\n\n".join(
            each if each.startswith("example") else super(Help, self)._fill_text(each, width, indent)
            for each in paragraphs
        )


class Parser(argparse.ArgumentParser):
    """One line for what is wrong, and one for what to do; argparse would print the whole usage, in its own words."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": Help, **options})
        self.given: Sequence[str] = ()

    def format_help(self) -> str:
        """For the program itself, also where its documentation is."""
        text = super().format_help()
        return f"{text}{_pages()}" if self.prog == "certagent" else text

    def error(self, message: str) -> NoReturn:
        what, hint = self._told(message)
        self.exit(2, f"{self.prog}: {what}\n  {hint}\n")

    def _told(self, message: str) -> tuple[str, str]:
        hint = f"`{self.prog} --help` shows its usage"
        if found := re.match(
            r"argument (\S+): invalid (?:\w+ value|choice): '?(.*?)'?(?: \(choose from .*|$)", message
        ):
            return self._none_of(found[1], found[2], hint)
        if found := re.match(r"the following arguments are required: (.*)", message):
            missing = found[1].partition(" [")[0]
            offered = commands.offered(self.given) if "NAME" in missing.split(", ") else ""
            if missing in ("COMMAND", "OPERATION", "ACTION"):
                hint = f"`{self.prog} --help` lists them"
            return f"{missing} is missing", f"{offered}; {hint}" if offered else hint
        return message, hint

    def _none_of(self, name: str, word: str, hint: str) -> tuple[str, str]:
        """The error for a word that is not a known one."""
        known = next((_words(each) for each in actions(self) if name in (*each.option_strings, each.metavar)), [])
        close = _closest(word, known)
        meant = f"did you mean {close}?" if close else ""
        if name.isupper():
            return f"there is no {name.lower()} {word!r}", meant or f"`{self.prog} --help` lists them"
        return f"{name}: {word!r} is not one of {', '.join(known)}", meant or hint

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """Report words that are left over, by the parser they were meant for."""
        known = [option for action in actions(self) for option in action.option_strings if option.startswith("--")]
        word = words[0].partition("=")[0]
        close = _closest(word, known) if word.startswith("--") else ""
        hint = f"`{self.prog} --help` shows what it takes"
        self.exit(
            2,
            f"{self.prog}: {' '.join(words)} is not known\n  {f'did you mean {close}? ' if close else ''}{hint}\n",
        )


def _pages() -> str:
    try:
        place = shipped.documents()
    except ConfigError:
        return ""
    return f"\ndocumentation:\n  {place}/index.md\n  {place}/troubleshooting.md: every message, and what to do\n"


def _words(action: argparse.Action) -> list[str]:
    return [str(each) for each in action.choices or ()]


def _closest(word: str, known: Sequence[str]) -> str:
    from certagent.config.meant import closest  # noqa: PLC0415 -- a command line without faults needs no guesses

    return closest(word, known)


def read(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of one command line; for a wrong one, prints what is wrong and raises SystemExit.

    Raises CertagentError if a module is missing, such as a command that was left out of this installation.
    """
    parser = build(argv)
    arguments, left = parser.parse_known_args(argv)
    chosen = _chosen(parser, arguments)
    if left:
        chosen.unknown(left)
    takes = (*commands.COMMANDS[arguments.command].takes, *(each.dest for each in actions(chosen)))
    for what, word in (("verbose", "-v"), ("quiet", "-q"), ("json", "--json")):
        if getattr(arguments, what) and what not in takes:
            chosen.unknown([word])
    if arguments.verbose and arguments.quiet:
        chosen.error("-v and -q contradict each other")
    return arguments


def _chosen(parser: Parser, arguments: argparse.Namespace) -> Parser:
    """The parser of the command that was named, or of its operation."""
    chosen = parser
    for word in (arguments.command, getattr(arguments, "operation", None) or getattr(arguments, "lab_action", None)):
        for below in subparsers(chosen):
            chosen = below.get(word or "", chosen)
    return chosen


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options and arguments of a parser. argparse has no other way to ask."""
    return list(parser._actions)  # noqa: SLF001


def subparsers_of(action: argparse.Action) -> dict[str, Parser]:
    """The commands behind an argument; empty if it has none."""
    return dict(action.choices) if isinstance(action, argparse._SubParsersAction) else {}  # noqa: SLF001


def subparsers(parser: argparse.ArgumentParser) -> list[dict[str, Parser]]:
    """The commands of a parser, by their names; empty if it has none."""
    return [found for found in map(subparsers_of, actions(parser)) if found]


def summaries(parser: argparse.ArgumentParser) -> dict[str, str]:
    """A line for each command of a parser."""
    found = next((each for each in actions(parser) if subparsers_of(each)), None)
    return {each.dest: each.help or "" for each in getattr(found, "_choices_actions", ())}


def build(argv: Sequence[str], *, whole: bool = False) -> Parser:
    """The parser. Commands with arguments of their own add them if `argv` names the command, or with `whole`.

    Where `argv` names a command, the others are not needed, and left out.
    """
    parser = Parser(prog="certagent", description=f"{_ABOUT}\n\n{_MORE}", epilog=_EXAMPLES)
    parser.add_argument("--version", action="version", version=f"certagent {__version__}")
    _add_common(parser, COMMON, top=True)
    below = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for name in commands.COMMANDS if whole else _needed(argv):
        command = commands.COMMANDS[name]
        made = below.add_parser(name, help=command.summary, description=command.text, epilog=command.epilog)
        if command.add is not None:
            command.add(made)
        elif command.brings and (whole or name in argv):
            _add_own(made, command, whole=whole)
        for each in (made, *(inner for inside in subparsers(made) for inner in inside.values())):
            _add_common(each, command.takes)
            each.given = argv
    return parser


def _add_own(made: Parser, command: commands.Command, *, whole: bool) -> None:
    """Raises CertagentError if a module is missing.

    `whole`: a command that was left out of this installation has no arguments.
    """
    try:
        importlib.import_module(f"certagent.{command.module}").add_arguments(made)
    except ModuleNotFoundError as missing:
        if not whole or lacking(missing.name or "") is None:
            raise internal_fault(missing) from None


def _needed(argv: Sequence[str]) -> Sequence[str]:
    """The command that `argv` names, also after common options; else all, for whoever asks for help or mistypes one."""
    words = iter(argv)
    for word in words:
        if word in commands.COMMANDS:
            return (word,)
        if word in ("-c", "--config"):
            next(words, None)
        elif word not in _SWITCHES:
            break
    return tuple(commands.COMMANDS)


def _add_common(parser: argparse.ArgumentParser, takes: Sequence[str], *, top: bool = False) -> None:
    """The options on either side of the command. After it, an earlier value is not overwritten (SUPPRESS)."""

    def missing(value: object) -> Any:
        return value if top else argparse.SUPPRESS

    if "config" in takes:
        parser.add_argument(
            "-c", "--config", type=Path, default=missing(DEFAULT_CONFIG), metavar="FILE",
            help=f"the configuration (default: {DEFAULT_CONFIG})",
        )  # fmt: skip
    if "json" in takes:
        parser.add_argument("--json", action="store_true", default=missing(False), help="print JSON, for programs")
    if "verbose" in takes:
        parser.add_argument(
            "-v", "--verbose", action="store_true", default=missing(False),
            help="log every exchange with the CA, and every command that runs, to standard error",
        )  # fmt: skip
    if "quiet" in takes:
        parser.add_argument(
            "-q", "--quiet", action="store_true", default=missing(False), help="show only what is wrong"
        )
    parser.add_argument("--debug", action="store_true", default=missing(False), help="show tracebacks")
