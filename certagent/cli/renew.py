"""`certagent renew` and `certagent enroll`: the worker that the agent starts, and the command that people type."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from certagent import believed, policy, wall_clock
from certagent.cli import interrupted, streams, token_workers
from certagent.cli.assemble import chosen, clock, contexts
from certagent.cli.main import INTERRUPTED
from certagent.cli.reported import as_json, tell, tell_always
from certagent.cli.terminal import on_terminal
from certagent.config.configuration import Configuration
from certagent.config.load import load_configuration, load_handed
from certagent.errors import ConfigError, KeystoreError, internal_fault, named
from certagent.host import identifier
from certagent.journald import ERROR
from certagent.state_directory import StateDirectory
from certagent.text import iso, printable, with_hint
from certagent.transaction import recovery, walk
from certagent.transaction.configured import certificate_in_place
from certagent.transaction.context import Context
from certagent.transaction.journal import open_transactions
from certagent.transaction.once_hooks import OnceHooks
from certagent.transaction.renewal import advance
from certagent.transaction.report import Outcome, Result
from certagent.transaction.request import is_foreign
from certagent.transaction.wish import Wish

if TYPE_CHECKING:
    from certagent.status.snapshot import Snapshot
    from certagent.transaction.ends import End

Line = Callable[[str, str], None]

_WAITING = (Result.PENDING, Result.WAITING)


def renew(arguments: argparse.Namespace) -> int:
    if arguments.only_metrics:
        return _only_metrics(arguments)
    handed = load_handed(sys.stdin.fileno()) if arguments.definitions_from_stdin else None
    configuration = handed or load_configuration(arguments.config)
    names = chosen(configuration, arguments.names)
    if arguments.dry_run:
        return _foretell(configuration, names, arguments)
    wish = Wish.DUE if arguments.due else Wish.RENEW if arguments.force else Wish.NOW
    if arguments.finish:
        wish = Wish.FINISH
    if arguments.compromised:
        if not arguments.names:
            raise ConfigError("--compromised needs the name of a keystore", "write: renew --compromised NAME")
        wish = Wish.COMPROMISED
    return _serve(configuration, names, wish, arguments, excerpt=handed is not None)


def enroll(arguments: argparse.Namespace) -> int:
    """Raises KeystoreError for a valid identity, unless --force was given."""
    configuration = load_configuration(arguments.config)
    names = chosen(configuration, arguments.names)
    if arguments.into:
        return _move(configuration, names, arguments)
    if not arguments.force:
        for context in contexts(configuration, names, _log, _silent):
            _refuse_living(context)
    return _serve(configuration, names, Wish.ENROLL_ANEW if arguments.force else Wish.ENROLL, arguments)


def _move(configuration: Configuration, names: Sequence[str], arguments: argparse.Namespace) -> int:
    """`enroll NAME --into NEW`: requests a certificate for NEW with the identity in NAME, which is only read."""
    into = chosen(configuration, [arguments.into])
    if names == into:
        raise ConfigError(
            f"{names[0]} cannot be moved into itself", "name another keystore with --into: enroll NAME --into NEW"
        )
    if len(names) != 1:
        raise ConfigError("--into moves the identity of one keystore", "write: enroll NAME --into NEW")
    if not arguments.force:
        for context in contexts(configuration, into, _log, _silent):
            _refuse_living(context)
    _advise(configuration, names[0], into[0])
    wish = Wish.ENROLL_ANEW if arguments.force else Wish.ENROLL
    return _serve(configuration, into, wish, arguments, moves_from=names[0])


def _advise(configuration: Configuration, old: str, new: str) -> None:
    """Say so if this moves no identity of the authority's, but introduces with another CA's."""
    [context] = contexts(configuration, [new], _log, _silent)
    known, certificate = context.known(), certificate_in_place(context.peer(old))
    if known is None or certificate is None or not is_foreign(certificate, (*known.chain, *known.old)):
        return
    whose = f"another CA than that of {context.configured.definition.authority} issued the certificate in {old}"
    what = f"{new} gets its names; for names of its own, set introduce_with to {old}'s files (docs/introductions.md)"
    _log(new, f"{whose}: {what}")


def _refuse_living(context: Context) -> None:
    name = context.configured.name
    _refuse_unreadable(context)
    lifetime = policy.lifetime_of(certificate_in_place(context.configured.keystore))
    if lifetime is not None and lifetime.not_after > clock():
        raise KeystoreError(
            f"keystore {name} has a certificate valid until {iso(lifetime.not_after)}",
            f"`certagent renew --force {name}` renews it; `certagent enroll --force {name}` replaces it",
        )


def _refuse_unreadable(context: Context) -> None:
    """Report files in place that cannot be used before anything else: perhaps they only have to be restored."""
    try:
        context.configured.keystore.read()
    except KeystoreError as error:
        error.hint = named(error.hint, context.configured.name)
        raise


def _serve(
    configuration: Configuration,
    names: Sequence[str],
    wish: Wish,
    arguments: argparse.Namespace,
    moves_from: str = "",
    *,
    excerpt: bool = False,
) -> int:
    """One keystore after the other, each with a line of report as soon as it is done; then the metrics.

    Hooks that several of them share run after the last of these. `excerpt`: the configuration is an excerpt for these
    keystores only, which the agent passed to us.
    """
    file, stopping = arguments.config, _asked_to_stop()
    at_work: list[Context] = []
    whole = partial(load_configuration, file) if excerpt else None
    believed.check_state(Path(configuration.state_dir))
    if whole is None:
        _bring_strays_to_an_end(configuration)
    serve_apart = partial(token_workers.advance_apart, configuration=configuration, file=file, excerpt=excerpt)
    doubt = wall_clock.look(Path(configuration.state_dir), clock(), believed=wish is not Wish.DUE)

    def attempt(context: Context, wish: Wish) -> Outcome:
        streams.work_on(keystore=context.configured.name)
        at_work[:] = [context]
        apart = token_workers.wants_its_own(context, names)
        try:
            return (serve_apart if apart else advance)(context, wish, stopping)
        except Exception as fault:  # a bug of ours with one keystore must not affect the others
            if arguments.debug:
                raise
            error = internal_fault(fault)
            return Outcome(context.configured.name, Result.FAILED, message=str(error), hint=error.hint)

    quiet = as_json(arguments) or arguments.quiet or wish is Wish.DUE
    with _progress(quiet=quiet, lines=arguments.verbose) as say:
        served = [
            replace(each, moves_from=moves_from, doubt=doubt, leaves_once=True, at_once=arguments.now)
            for each in contexts(configuration, names, _log, say, whole)
        ]
        outcomes = _outcomes(served, wish, attempt, stopping, leave_once=arguments.leave_once)
        results = _tell_each(outcomes, at_work, arguments)
    if results is None:
        return INTERRUPTED
    if wish is Wish.DUE and not arguments.names and doubt is None and not stopping():
        results += _crls(configuration, quiet=arguments.quiet)
    if not excerpt:  # otherwise the agent writes them, once for all its workers
        _write_metrics(configuration, debug=arguments.debug)
    return _exit_code(results, wish)


def _crls(configuration: Configuration, *, quiet: bool) -> list[Result]:
    """The authorities' CRLs that are due: a command that looks at all keystores looks at these too."""
    from certagent.cli.crl import serve  # noqa: PLC0415 -- the agent's workers fetch none
    from certagent.config.crl_files import crl_files  # noqa: PLC0415

    reports = serve(configuration, crl_files(configuration), due=True, quiet=quiet)
    return [Result.FAILED for report in reports if report.result == "failed"]


def _tell_each(
    outcomes: Iterator[Outcome], at_work: Sequence[Context], arguments: argparse.Namespace
) -> list[Result] | None:
    """A line of report each. None after Ctrl-C; then only those that were `at_work` are reported."""
    results = []
    try:
        for outcome in outcomes:
            tell(outcome, arguments)
            results.append(outcome.result)
    except KeyboardInterrupt:
        for context in at_work:
            tell_always(interrupted.outcome(context), arguments)
        return None
    return results


def _asked_to_stop() -> Callable[[], bool]:
    """Whether SIGTERM has asked us to stop, at the next durable point. Ctrl-C ends us where we are."""
    stop = False

    def stopping() -> bool:
        return stop

    def on_signal(_number: int, _frame: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGTERM, on_signal)
    return stopping


def _outcomes(
    served: Sequence[Context],
    wish: Wish,
    attempt: Callable[[Context, Wish], Outcome],
    stopping: Callable[[], bool],
    *,
    leave_once: bool,
) -> Iterator[Outcome]:
    """The outcome of each. If several share hooks that run once, IN_PLACE comes first, and the end later.

    `leave_once`: those hooks are left to whoever started us.
    """
    shared = OnceHooks(served, lambda context: attempt(context, Wish.FINISH), stopping)
    for context in served:
        if stopping():
            break
        outcome = attempt(context, wish)
        if outcome.result is Result.IN_PLACE:
            yield outcome
        if not leave_once:
            yield from shared.through(context, outcome)
        elif outcome.result is not Result.IN_PLACE:
            yield outcome
    yield from shared.rest()


def _exit_code(results: Sequence[Result], wish: Wish) -> int:
    if Result.FAILED in results or (Result.BUSY in results and wish is not Wish.DUE):
        return 1
    return 3 if any(result in _WAITING for result in results) else 0


def _bring_strays_to_an_end(configuration: Configuration) -> None:
    """Keystores that left the configuration in the middle of a transaction: finish the swap, report what is left."""
    state_dir = Path(configuration.state_dir)
    strays = list(open_transactions(state_dir, apart_from=configuration.keystores))
    if not strays:
        return
    for done in recovery.recover_all(state_dir, strays):
        _log(done.keystore, done.message or str(done.error))
    for name in strays:
        _log(
            name,
            "is no longer configured, but a transaction is open; configure it again, or remove "
            f"{StateDirectory(state_dir).keystore(name).path}",
        )


def _only_metrics(arguments: argparse.Namespace) -> int:
    _write_metrics(load_configuration(arguments.config), debug=arguments.debug)
    return 0


def _write_metrics(configuration: Configuration, *, debug: bool) -> None:
    if configuration.metrics_file is None:
        return
    from certagent.status.crls import take_crls  # noqa: PLC0415 -- the agent's workers write none
    from certagent.status.metrics import prometheus_text, write_metrics  # noqa: PLC0415
    from certagent.status.snapshot import take_snapshots  # noqa: PLC0415

    now = clock()
    taken = take_snapshots(configuration, now=now, host=identifier(), debug=debug)
    text = prometheus_text(taken, now, take_crls(configuration, now))
    try:
        write_metrics(Path(str(configuration.metrics_file)), text)
    except ConfigError as error:
        streams.say(f"metrics: {with_hint(str(error), error.hint)}", sys.stderr, priority=ERROR)


def _log(keystore: str, line: str) -> None:
    streams.say(f"{keystore}: {printable(line)}", sys.stderr, keystore)


def _silent(_keystore: str, _line: str) -> None:
    pass


@contextmanager
def _progress(*, quiet: bool, lines: bool) -> Iterator[Line]:
    """Shows people what is being done: a spinner in a terminal, lines elsewhere, nothing for the agent."""
    if quiet:
        yield _silent
    elif lines or not sys.stderr.isatty() or (console := on_terminal(stderr=True)) is None:
        yield _log
    else:
        with console.status("") as spinner:
            yield lambda keystore, line: spinner.update(f"{keystore}: {line}")


def _foretell(configuration: Configuration, names: Sequence[str], arguments: argparse.Namespace) -> int:
    """--dry-run: what would be done, from the same decisions; contacts and changes nothing."""
    from certagent.status.snapshot import take_snapshots  # noqa: PLC0415 -- as above

    now = clock()
    failed = False
    wish = Wish.RENEW if arguments.force else Wish.NOW
    places = {each.configured.name: each for each in contexts(configuration, names, _log, _silent)}
    for seen in take_snapshots(configuration, now=now, host=identifier(), names=names, debug=arguments.debug):
        end = walk.ending(places[seen.name], seen.transaction, wish) if seen.transaction is not None else None
        would, line = _would(seen, end, arguments, now)
        failed = failed or would == "cannot"
        if as_json(arguments):
            at = iso(seen.assessment.at) if seen.assessment.at else None
            print(json.dumps({"keystore": seen.name, "would": would, "at": at, "message": printable(line)}))
        elif not arguments.quiet or would == "cannot":
            print(f"{seen.name}: {line}")
    return 1 if failed else 0


def _would(seen: Snapshot, end: End | None, arguments: argparse.Namespace, now: datetime) -> tuple[str, str]:
    """In a word, and in a line: what would be done with this keystore."""
    coming = seen.assessment
    if seen.transaction is not None and end is not None:
        anew = f"{seen.transaction.kind} anew" if end.stands else "whatever is due"
        return "give up", f"would give up the {seen.transaction.kind} that is open: {end.reason}; then {anew}"
    if seen.last_error is not None and coming.action is None:
        return "cannot", f"cannot: {with_hint(seen.last_error.message, seen.last_error.hint)}"
    if coming.action is None or coming.at is None:
        return "nothing", f"nothing: {coming.reason}"
    if (arguments.force and not coming.waits) or (arguments.now and coming.waits) or coming.at <= now:
        why = "--now" if coming.waits else "--force" if arguments.force else coming.reason
        return coming.action.value, f"would {coming.action} now ({why})"
    return "nothing", f"nothing now; {coming.action} at {iso(coming.at)} ({coming.reason})"
