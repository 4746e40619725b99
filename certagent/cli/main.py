"""The argument parser, and the one place where errors become lines and exit codes.

Exit codes: 0 done; 1 at least one keystore failed; 2 usage or configuration; 3 waiting (pending). `health` has its own.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

from certagent import __version__
from certagent.cli import streams
from certagent.errors import CertagentError, ConfigError, internal_fault
from certagent.uncollected import uncollected

DEFAULT_CONFIG = Path("/etc/certagent/agent.yaml")

# command → (module below certagent, its function taking the arguments and returning the exit code).
# Modules are imported when their command is chosen: the agent must stay without cryptography, and
# `recover` runs at boot in milliseconds.
_COMMANDS = {
    "run": ("cli.run", "run"),
    "check": ("cli.check", "check"),
    "status": ("cli.status", "status"),
    "plan": ("cli.plan", "plan"),
    "history": ("cli.history", "history"),
    "health": ("cli.health", "health"),
    "enroll": ("cli.renew", "enroll"),
    "renew": ("cli.renew", "renew"),
    "crl": ("cli.crl", "crl"),
    "recover": ("cli.recover", "recover"),
    "cancel": ("cli.housekeeping", "cancel"),
    "remove": ("cli.housekeeping", "remove"),
    "rename": ("cli.housekeeping", "rename"),
    "schema": ("cli.schema", "schema"),
    "scep": ("cli.scep.command", "run"),
    "lab": ("lab.command", "run"),
    "demo": ("demo", "run"),
}


# They end soon, and look at ten thousand keystores perhaps: what is looked for in them costs, and finds nothing.
_SHOW = ("status", "plan", "health", "history")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    streams.complete()
    if not sys.warnoptions:
        # cryptography warns of odd certificates, whoever made them; whether they are accepted is ours to say.
        warnings.simplefilter("ignore")
    given = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser(given).parse_args(given)
    module, function = _COMMANDS[arguments.command]
    code = 0
    try:
        run = getattr(importlib.import_module(f"certagent.{module}"), function)
        with uncollected() if arguments.command in _SHOW else nullcontext():
            code = int(run(arguments))
        sys.stdout.flush()  # what it still holds may find no room
        return code
    except CertagentError as error:
        if arguments.debug:
            traceback.print_exc()
        print_error(error)
        return 2 if isinstance(error, ConfigError) else 1
    except BrokenPipeError:
        return code  # the reader (head, less) has seen enough
    except Exception as error:
        if arguments.debug:
            raise
        print_error(_unwritten(error) or internal_fault(error))
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        streams.let_go(sys.stdout)
        streams.let_go(sys.stderr)


def _unwritten(error: Exception) -> CertagentError | None:
    """What a full disk below our output raises names no file."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) and not error.filename:
        return CertagentError(f"the output cannot be written: {error.strerror}", "see where it is sent")
    return None


def print_error(error: CertagentError) -> None:
    """What is wrong, each fault a line, and what to do about it."""
    problems = error.problems if isinstance(error, ConfigError) else ()
    for line in problems or (str(error),):
        print(f"certagent: {line}", file=sys.stderr)
    if error.hint and not problems:
        print(f"  {error.hint}", file=sys.stderr)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="certagent", description="Keeps certificates alive over SCEP: renewal, rollover, safe swaps, hooks."
    )
    parser.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"default: {DEFAULT_CONFIG}"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("--version", action="version", version=f"certagent {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="the agent, in the foreground")
    # For the agent, which reads its configuration in a process of its own.
    run.add_argument("--definitions-to-stdout", action="store_true", help=argparse.SUPPRESS)
    check = commands.add_parser("check", help="configuration, keystores, authorities; changes nothing")
    check.add_argument("names", nargs="*", metavar="NAME", help="default: all keystores, and every authority")
    check.add_argument("--offline", action="store_true", help="contact no authority")
    status = commands.add_parser("status", help="what is there and what happens next")
    status.add_argument("names", nargs="*", metavar="NAME", help="default: all keystores")
    status.add_argument("--json", action="store_true", help="for programs")
    plan = commands.add_parser("plan", help="every event ahead, as a table and a timeline")
    plan.add_argument("names", nargs="*", metavar="NAME", help="default: all keystores")
    plan.add_argument("--until", metavar="DATE", help="default: two lifetimes, and past a rollover that has begun")
    plan.add_argument("--json", action="store_true", help="for programs")
    health = commands.add_parser("health", help="one line, and exit codes for monitoring: 0, 1, 2, 3")
    health.add_argument("names", nargs="*", metavar="NAME", help="default: all keystores")
    history = commands.add_parser("history", help="what happened: attempts, certificates, hooks")
    history.add_argument("names", nargs="*", metavar="NAME", help="default: all keystores")
    history.add_argument("--json", action="store_true", help="one event a line, for programs")
    _add_work(commands)
    crl = commands.add_parser("crl", help="fetch the authorities' CRLs, and put them where consumers read them")
    crl.add_argument("names", nargs="*", metavar="AUTHORITY", help="default: all that have a crl_file")
    crl.add_argument("--due", action="store_true", help="as the agent does it: only what is due")
    crl.add_argument("--report", choices=["json"], help="on stdout, a line per authority, for programs")
    commands.add_parser("recover", help="finish or undo an interrupted activation; local only")
    _add_housekeeping(commands)
    commands.add_parser("schema", help="a JSON Schema of the configuration, for editors")
    scep = commands.add_parser("scep", help="the protocol by hand: getcaps, getca, getnextca, enroll, getcert, getcrl")
    lab = commands.add_parser("lab", help="a SCEP CA on loopback, to try things with")
    demo = commands.add_parser(
        "demo", help="lab CA, agent and a TLS service: enrollment, renewals, a rollover, hooks, in a minute"
    )
    _add_own_arguments(argv, scep, lab, demo)
    for name, command in commands.choices.items():
        if name not in ("scep", "lab", "demo", "schema"):  # on either side of the command, for those that read it
            command.add_argument("-c", "--config", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
            command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


class _Parser(argparse.ArgumentParser):
    """One line for what is wrong, and one for what to do; argparse prints the whole usage, and its own words."""

    def error(self, message: str) -> NoReturn:
        what, hint = self._told(message)
        print(f"{self.prog}: {what}\n  {hint}", file=sys.stderr)
        raise SystemExit(2)

    def _told(self, message: str) -> tuple[str, str]:
        hint = f"`{self.prog} --help` shows how it is called"
        if found := re.match(r"argument COMMAND: invalid choice: '(.*?)'", message):
            from certagent.config.meant import closest  # noqa: PLC0415 -- a command that is one needs no guesses

            close = closest(found[1], _COMMANDS)
            hint = f"did you mean {close}?" if close else "`certagent --help` lists them"
            return f"there is no command {found[1]!r}", hint
        if found := re.match(r"the following arguments are required: (.*)", message):
            return f"{found[1].partition(' [')[0]} is missing", hint
        if found := re.match(r"unrecognized arguments: (.*)", message):
            return f"{found[1]} is not known here", "`certagent COMMAND --help` shows what a command takes"
        return message, hint


def _add_work(commands: argparse._SubParsersAction[_Parser]) -> None:
    """The commands that may change a keystore."""
    enroll = commands.add_parser("enroll", help="the first certificate")
    enroll.add_argument("names", nargs="+", metavar="NAME")
    enroll.add_argument(
        "--force", action="store_true", help="replace a living identity; a request that is under way is abandoned"
    )
    enroll.add_argument("--into", metavar="NEW", help="move: NEW is enrolled, signed by the identity in NAME")
    renew = commands.add_parser("renew", help="a successor where one is due")
    renew.add_argument("names", nargs="*", metavar="NAME", help="default: all keystores")
    how = renew.add_mutually_exclusive_group()
    how.add_argument(
        "--due", action="store_true", help="as the agent does it: not before a failed attempt's pause is over"
    )
    how.add_argument(
        "--force", action="store_true", help="whether due or not; a request that is under way is abandoned"
    )
    how.add_argument("--compromised", action="store_true", help="a new key in place of one that others know")
    # For the agent, which knows them already: as `-c` would read them, of the keystores named alone; and writes metrics
    # when all its workers are done.
    renew.add_argument("--definitions-from-stdin", action="store_true", help=argparse.SUPPRESS)
    renew.add_argument("--only-metrics", action="store_true", help=argparse.SUPPRESS)
    renew.add_argument("--dry-run", action="store_true", help="say what would happen, change nothing")
    # For a worker of ours: what is open and no more; hooks that it runs once for several keystores.
    how.add_argument("--finish", action="store_true", help=argparse.SUPPRESS)
    for command in (enroll, renew):
        command.add_argument("--now", action="store_true", help="swap and hooks at once, whatever activate_in says")
        command.add_argument("--leave-once", action="store_true", help=argparse.SUPPRESS)
        command.add_argument("--report", choices=["json"], help="on stdout, a line per keystore, for programs")


def _add_housekeeping(commands: argparse._SubParsersAction[_Parser]) -> None:
    cancel = commands.add_parser("cancel", help="give an open transaction up")
    cancel.add_argument("name", metavar="NAME")
    remove = commands.add_parser("remove", help="what is kept of a keystore that is configured no more")
    remove.add_argument("name", metavar="NAME")
    rename = commands.add_parser("rename", help="what is kept of OLD becomes NEW's, which is configured in its stead")
    rename.add_argument("old", metavar="OLD")
    rename.add_argument("new", metavar="NEW")
    for command in (cancel, remove, rename):
        command.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
        command.add_argument("-y", "--yes", action="store_true", help="do it without asking")


def _add_own_arguments(
    argv: Sequence[str], scep: argparse.ArgumentParser, lab: argparse.ArgumentParser, demo: argparse.ArgumentParser
) -> None:
    """Those who bring their own arguments, imported where they are called: the lab and the demo, and cryptography."""
    if "scep" in argv:
        importlib.import_module("certagent.cli.scep.command").add_arguments(scep)
    if "lab" in argv:
        importlib.import_module("certagent.lab.command").add_arguments(lab)
    if "demo" in argv:
        importlib.import_module("certagent.demo").add_arguments(demo)
