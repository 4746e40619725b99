"""Runs one command from its command line to its end; the only place where errors become lines and exit codes.

Exit codes: 0 done; 1 at least one keystore failed; 2 usage or configuration; 3 waiting (pending); 130 Ctrl-C. `health`
has its own.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext

from certagent import journald
from certagent.cli import parser, streams
from certagent.cli.commands import COMMANDS
from certagent.errors import CertagentError, ConfigError, internal_fault
from certagent.uncollected import loading, uncollected, uncollected_at_the_end

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells define it: 128 plus SIGINT's number."""

# Short commands, perhaps for ten thousand keystores: garbage collection would cost time and find nothing.
_SHOW = ("status", "plan", "health", "history")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    streams.complete()
    uncollected_at_the_end()
    if not sys.warnoptions:
        # cryptography warns about odd certificates, whoever made them; certagent itself decides whether to accept them.
        warnings.simplefilter("ignore")
    try:
        return _run(parser.read(sys.argv[1:] if argv is None else list(argv)))
    except CertagentError as error:  # of a command line; those of the command are told below
        return _failed(error)
    except KeyboardInterrupt as stop:
        streams.say(f"certagent: interrupted{f'; {stop}' if str(stop) else ''}", sys.stderr)
        return INTERRUPTED
    finally:
        streams.let_go(sys.stdout)
        streams.let_go(sys.stderr)
        journald.linger()


def _run(arguments: argparse.Namespace) -> int:
    command = COMMANDS[arguments.command]
    code = 0
    streams.hushed.set(arguments.quiet)
    if arguments.verbose and arguments.command != "run":  # the agent sets up its own log, and passes -v to its workers
        streams.tell_all()
    try:
        with loading():
            run = getattr(importlib.import_module(f"certagent.{command.module}"), command.function)
        with uncollected() if arguments.command in _SHOW else nullcontext():
            code = int(run(arguments))
        sys.stdout.flush()  # there may be no room for buffered output
        return code
    except CertagentError as error:
        if arguments.debug:
            import traceback  # noqa: PLC0415 -- only --debug pays for it

            traceback.print_exc()
        return _failed(error)
    except BrokenPipeError:
        return code  # the reader (head, less) has seen enough
    except Exception as error:
        if arguments.debug:
            raise
        return _failed(_unwritten(error) or internal_fault(error))
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop) or command.interrupted) from None


def _unwritten(error: Exception) -> CertagentError | None:
    """The error of a full disk for our output; it names no file."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) and not error.filename:
        return CertagentError(f"the output cannot be written: {error.strerror}", "check where it is sent")
    return None


def _failed(error: CertagentError) -> int:
    """Print it; returns the exit code."""
    print_error(error)
    return 2 if isinstance(error, ConfigError) else 1


def print_error(error: CertagentError) -> None:
    """Print what is wrong, each fault on a line, and what to do about it."""
    problems = error.problems if isinstance(error, ConfigError) else ()
    for line in problems or (str(error),):
        streams.say(f"certagent: {line}", sys.stderr, priority=journald.ERROR)
    if error.hint and not problems:
        streams.say(f"  {error.hint}", sys.stderr, priority=journald.ERROR)
