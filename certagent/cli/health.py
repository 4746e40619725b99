"""`certagent health`: one line and an exit code, as monitoring plugins give them.

0 OK        all is in order
1 WARNING   somebody should look: failed attempts, a request pending for long, no next CA or a refused one,
            nothing done that was due
2 CRITICAL  a service is failing, or about to: expired, failing in the last tenth of the life, key and
            certificate that cannot be used
3 UNKNOWN   the configuration or the state cannot be read, or the clock is not set
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import IntEnum

from certagent import policy
from certagent.cli import assemble
from certagent.cli.terminal import indented, shortened
from certagent.config.configuration import Configuration
from certagent.config.load import load_configuration
from certagent.errors import CertagentError
from certagent.host import identifier
from certagent.moments import later
from certagent.policy import Action, Condition, Lifetime
from certagent.status.crls import CrlStatus, take_crls
from certagent.status.snapshot import Snapshot, take_snapshots
from certagent.text import ahead, iso, printable, span

_LONG = timedelta(days=1)  # the operator may take this long to approve a request, or a tenth of the certificate's life


class Level(IntEnum):
    """The exit codes."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_WORST_LAST = (Level.OK, Level.UNKNOWN, Level.WARNING, Level.CRITICAL)


def health(arguments: argparse.Namespace) -> int:
    """Raises nothing for what is wrong: that is the answer."""
    try:
        configuration = load_configuration(arguments.config)
        names = assemble.chosen(configuration, arguments.names)
        now = assemble.clock()
        taken = take_snapshots(configuration, now=now, host=identifier(), names=names, debug=arguments.debug)
    except CertagentError as error:
        return _say(arguments, Level.UNKNOWN, str(error))
    crls = take_crls(configuration, now, arguments.names or None)
    level, text = judged(taken, now, _patience(configuration), crls)
    return _say(arguments, level, text, _figures(taken, now))


def _patience(configuration: Configuration) -> timedelta:
    """How late a due action may be before it seems that nothing runs to do it."""
    return configuration.check_every + configuration.worker_timeout


def _say(arguments: argparse.Namespace, level: Level, text: str, figures: dict[str, int] | None = None) -> int:
    """Print the line; a monitor draws what follows the bar. The metrics file has more about each keystore."""
    figures = figures or {}
    if arguments.json:
        print(indented({"level": level.name, "text": printable(text), **figures}))
        return level
    line = printable(f"{level.name} - {text}").replace("|", "/")
    drawn = " ".join(f"{word}={number}{'s' if word == 'least_left' else ''};;;0" for word, number in figures.items())
    print(f"{line} | {drawn}" if drawn else line)
    return level


def judged(
    taken: Sequence[Snapshot], now: datetime, patience: timedelta, crls: Sequence[CrlStatus] = ()
) -> tuple[Level, str]:
    """The worst level of all keystores and CRLs, and a line that names everything not in order, the worst first."""
    if not policy.clock_is_sane(now):
        return Level.UNKNOWN, f"the clock says {iso(now)}: nothing is done until it is set"
    if doubts := [each.situation.doubt for each in taken if each.situation.doubt is not None]:
        return Level.UNKNOWN, doubts[0].reason
    wrong: dict[tuple[Level, str], list[str]] = {}
    for each in taken:
        for fault in faults(each, now, patience):
            wrong.setdefault(fault, []).append(each.name)
    for crl in crls:
        for fault in crl_faults(crl, now, patience):
            wrong.setdefault(fault, []).append(crl.authority)
    if not wrong:
        return Level.OK, _all_well(taken, now)
    ordered = sorted(wrong, key=lambda fault: -_WORST_LAST.index(fault[0]))
    return ordered[0][0], "; ".join(f"{shortened(wrong[level, text])}: {text}" for level, text in ordered)


def _nothing(it: Snapshot, failing: str) -> tuple[Level, str] | None:
    """What to say if there is no certificate to look at."""
    if not it.situation.readable:
        unknown = it.last_error is not None and it.last_error.kind == "state"
        return (Level.UNKNOWN if unknown else Level.CRITICAL), f"cannot be read{failing}"
    if it.assessment.condition is not Condition.MISSING or it.situation.failures:
        return None
    return Level.WARNING, "no certificate yet" if it.assessment.action else it.assessment.reason


def faults(it: Snapshot, now: datetime, patience: timedelta) -> Iterator[tuple[Level, str]]:
    """What is not in order with one keystore. `patience`: how late a due action may be."""
    failing = f": {it.last_error.message}" if it.last_error else ""
    if (nothing := _nothing(it, failing)) is not None:
        yield nothing
        return
    lifetime = it.certificate.lifetime if it.certificate else None
    if it.assessment.condition is Condition.EXPIRED and lifetime is not None:
        yield Level.CRITICAL, f"expired {span(now - lifetime.not_after)} ago{failing}"
    elif it.assessment.condition is Condition.NOT_YET_VALID and lifetime is not None:
        yield Level.CRITICAL, f"not valid for another {span(lifetime.not_before - now)}: is the clock right?{failing}"
    elif it.situation.revoked is not None:
        told = "" if it.last_error is None or it.last_error.kind == "revoked" else failing
        yield Level.CRITICAL, f"its certificate is revoked since {iso(it.situation.revoked)}{told}"
    elif it.situation.failures:
        yield _failing(it, lifetime, failing, now)
    elif it.assessment.action is None:
        yield Level.WARNING, it.assessment.reason
    elif it.assessment.at is not None and later(it.assessment.at, patience) < now:
        yield (
            Level.WARNING,
            f"{it.assessment.action} is overdue by {span(now - it.assessment.at)}: is the agent running?",
        )
    arrival = it.situation.arrival
    if arrival is not None and arrival.again_after is not None:
        yield Level.WARNING, "renewing does not help: the CA's certificates all expire at the same time"
    if it.assessment.condition is Condition.PENDING and it.transaction is not None:
        yield from _pending(it, it.transaction.started_at, now)
    yield from _rollover(it, now)


def crl_faults(it: CrlStatus, now: datetime, patience: timedelta) -> Iterator[tuple[Level, str]]:
    """What is not in order with the CRLs of one authority."""
    why = f": {it.errors[0].message}" if it.errors else ""
    if it.fault is not None:
        yield Level.UNKNOWN, f"what is known of its CRL cannot be read{why}"
    elif it.ran_out(now) and it.ends is not None:
        yield Level.CRITICAL, f"its CRL expired {span(now - it.ends)} ago{why}"
    elif it.errors:
        left = f", {span(it.ends - now)} left" if it.ends else ""
        yield (Level.CRITICAL if it.is_short(now) else Level.WARNING), f"its CRL is not kept fresh{left}{why}"
    elif it.memory is not None and later(it.next_fetch(now), patience) < now:
        yield Level.WARNING, f"its CRL was to be fetched {span(now - it.next_fetch(now))} ago: does the agent run?"


def _failing(it: Snapshot, lifetime: Lifetime | None, why: str, now: datetime) -> tuple[Level, str]:
    if it.last_error is not None and it.last_error.kind == "owed":
        # As long as hooks fail, the service may still use the old certificate.
        used_until = it.transaction.old_not_after if it.transaction else None
        over = used_until is not None and used_until <= now
        return (Level.CRITICAL if over else Level.WARNING), it.last_error.message
    short = lifetime is not None and lifetime.remaining_share(now) < 0.1
    broken = it.last_error is not None and it.last_error.kind in ("keystore", "tokenlocked")
    left = f", {span(lifetime.remaining(now))} left" if lifetime else ""
    attempts = "1 attempt" if it.situation.failures == 1 else f"{it.situation.failures} attempts"
    return (Level.CRITICAL if short or broken else Level.WARNING), f"{attempts} failed{left}{why}"


def _pending(it: Snapshot, since: datetime, now: datetime) -> Iterator[tuple[Level, str]]:
    long = _LONG
    if it.certificate is not None:
        lifetime = it.certificate.lifetime
        long = min(long, lifetime.length / 10)
    if now - since >= long:
        yield Level.WARNING, f"the CA has not decided for {span(now - since)}"


def _rollover(it: Snapshot, now: datetime) -> Iterator[tuple[Level, str]]:
    """Refusals also count as failures, and were reported as such."""
    if it.rollover is not None and it.rollover.ca is not None and it.rollover.late(now) and not it.situation.failures:
        yield (
            Level.WARNING,
            f"its CA expires in {span(it.rollover.ca.lifetime.remaining(now))}, and no next one is known",
        )


def _all_well(taken: Sequence[Snapshot], now: datetime) -> str:
    many = "1 keystore" if len(taken) == 1 else f"{len(taken)} keystores"
    coming = [(each.assessment.at, each.name, each.assessment.action) for each in taken if each.assessment.at]
    if not coming:
        return many
    at, name, action = min(coming)
    word = "hooks have yet to run" if action is Action.HOOKS else f"next {action}"
    return f"{many}, {word} {name} {ahead(at, now)}"


def _figures(taken: Sequence[Snapshot], now: datetime) -> dict[str, int]:
    """Numbers of keystores; `least_left`: seconds of the shortest remaining life."""
    failing = sum(each.situation.failures > 0 or not each.situation.readable for each in taken)
    staged = sum(each.rollover is not None and each.rollover.switch_at is not None for each in taken)
    figures = {"keystores": len(taken), "failing": failing, "staged": staged}
    left = [each.certificate.lifetime.remaining(now).total_seconds() for each in taken if each.certificate]
    return figures | ({"least_left": round(min(left))} if left else {})
