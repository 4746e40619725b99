"""The agent's decisions: when to look at what, with how many workers. Pure: values and `now` in, answer out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto

from msgspec import Struct

from certagent.host import Host
from certagent.policy import Action, Condition
from certagent.state import State
from certagent.text import ahead
from certagent.transaction import report
from certagent.transaction.report import Outcome, Result

# The start of a worker takes as much CPU as several renewals. The keystores of a batch share it, and wait behind one of
# them that hangs. So a batch is small, and grows while many wait: it is what a free worker would get in so many turns.
BATCH = 25
_TURNS = 8
# The largest batch, also of keystores that share a hook: a worker must end some time.
BATCH_LIMIT = 100
# A worker looks at each keystore at least this often.
LONGEST_REST = timedelta(days=1)
LONGEST_BACKOFF = timedelta(hours=1)
# An agent that starts spreads the renewals that came due while it was off over this time, or a 24th of what is left if
# that is shorter: all devices of a site boot together when the power is back. A device that is on for minutes gets
# through.
START_SPREAD = timedelta(minutes=5)


class Pace(Struct, frozen=True):
    """How long the agent waits for what."""

    # Between two looks at files and clock: an idle router wakes up once a minute, and a certificate that another tool
    # put in place is noticed within a minute. (Watchdog and `check_every` may need shorter pauses.)
    pulse: timedelta = timedelta(seconds=60)
    clock_wait: timedelta = timedelta(seconds=5)  # the same while the clock is not set: boot, a short time
    clock_tolerance: timedelta = timedelta(seconds=5)  # slewing is no jump; a minute of suspend is one
    coalesce: timedelta = timedelta(milliseconds=100)  # keystores due together go to workers together
    busy_again: timedelta = timedelta(seconds=1)  # first wait while another process holds the keystore
    crash_again: timedelta = timedelta(seconds=60)  # first wait after a worker crashed or hung
    # SIGTERM to SIGKILL: a hook may take 60 s, and a worker ends it first. Less than TimeoutStopSec of the unit.
    grace: timedelta = timedelta(seconds=75)


class Next(Enum):
    """What to do after a report."""

    AT_ONCE = auto()  # look again without a pause
    FRUITLESS = auto()  # look again, ever more slowly
    SETTLED = auto()  # look again when the next action comes


def batch(queue: Sequence[str], free_workers: int, shared: Mapping[str, Collection[object]]) -> list[str]:
    """The keystores of the next worker: those that waited longest, at most an even share and no large part of a long
    queue; but keystores that share something (`shared`: what each has) go together, so that one worker runs a shared
    hook once.
    """
    few = min(max(BATCH, len(queue) // (_TURNS * free_workers)), BATCH_LIMIT)
    share = min(-(-len(queue) // free_workers), few)
    having: dict[object, list[str]] = {}
    for name in queue:
        for what in shared.get(name, ()):
            having.setdefault(what, []).append(name)
    taken: dict[str, None] = {}
    for name in queue:
        if len(taken) >= share:
            break
        family = dict.fromkeys([name, *(other for what in shared.get(name, ()) for other in having[what])])
        taken |= dict.fromkeys([other for other in family if other not in taken][: BATCH_LIMIT - len(taken)])
    return list(taken)


def backoff(strikes: int, first: timedelta) -> timedelta:
    """The wait after `strikes` fruitless looks in a row: `first`, doubled each time, an hour at most."""
    doubled: int = 1 << min(strikes - 1, 30)
    return min(first * doubled, LONGEST_BACKOFF)


def files_changed(watched: int, seen: int, acted_on: int | None) -> bool:
    """Whether files differ from what the last worker left (`watched`), and no worker was sent because of that yet. All
    arguments are hashes of signatures.
    """
    return seen not in (watched, acted_on)


class Look(Struct, frozen=True):
    """What the agent sees of a keystore: `known` as its last worker left it, at `kept_at`; the rest as it is now.

    `definition` is the digest of its definition, `authority` the signature of its CAs; `begun`: a transaction has a
    journal; `open`: so has a transaction or a rollover.
    """

    known: State
    kept_at: datetime
    definition: str
    authority: str
    watched: Mapping[str, str]
    open: bool
    begun: bool
    host: Host

    @property
    def is_as_left(self) -> bool:
        """Whether definition, CAs and files are those that the last worker saw."""
        known = self.known
        same = (known.definition, known.authority) == (self.definition, self.authority)
        return same and known.watched == self.watched


def is_quiet(look: Look, now: datetime) -> bool:
    """Whether a keystore needs no worker before its next action: all is well, nothing changed, and a worker looked at
    it within a day.

    Only a keystore known to be well is left alone, and for a day at most, whatever time is remembered: the clock may
    have been wrong when it was written, and some things change with time alone.
    """
    known = look.known
    return (
        known.condition is Condition.VALID
        and not known.failures
        and not known.rollover.failures
        and known.last_error is None
        and not look.open
        and known.next_action_at is not None
        and known.next_action_at > now
        and timedelta(0) <= now - look.kept_at < LONGEST_REST
        and look.is_as_left
        and look.watched != {}
        and (known.host is None or known.host.may_be(look.host))
    )


def start_pause(look: Look, share: float, now: datetime) -> timedelta:
    """How long a keystore waits when the agent starts, because what it needs is due but not urgent. `share`: its own.

    Nothing waits that failed before, that somebody changed, that is open, or whose certificate is missing or not valid.
    A shadow that waits for the next CA is no hurry before its time: the worker asks only whether it is still announced.
    """
    known, seen = look.known, look.known.seen
    if known.failures or not look.is_as_left or seen is None or not seen.not_before <= now < seen.not_after:
        return timedelta(0)
    if known.condition is Condition.STAGED and not look.begun:
        at = known.next_action_at or now
        return share * start_spread(max(min(at, seen.not_after) - now, timedelta(0)))
    is_due = known.next_action in (Action.RENEW, Action.ROLLOVER) and not look.open
    return share * start_spread(seen.not_after - now) if is_due else timedelta(0)


def first_sweep(length: timedelta, share: float) -> timedelta:
    """When the first sweep comes after all were looked at; the others follow every `length`. `share`: this host's, so
    that hosts that start together do not look together for ever.
    """
    return length * (1 + share) / 2


def crl_start_pause(ends: datetime | None, failures: int, share: float, now: datetime) -> timedelta:
    """The same for an authority's CRLs that are to be fetched again; `ends`: when the first one of them expires."""
    if failures or ends is None or ends <= now:
        return timedelta(0)
    return share * start_spread(ends - now)


def start_spread(left: timedelta) -> timedelta:
    """Over how long the starts of agents are spread whose certificates or CRLs end in `left`."""
    return min(START_SPREAD, left / 24)


def clock_jumped(drift: timedelta, tolerance: timedelta) -> bool:
    """Whether wall and monotonic clock drifted apart since the plan was made: somebody set it, or the device slept."""
    return abs(drift) > tolerance


def blamed(names: Sequence[str], reported: Collection[str]) -> str | None:
    """The keystore a worker was at when it crashed or hung: it takes them in order, so the first without a report."""
    return next((name for name in names if name not in reported), None)


def following(outcome: Outcome, when: datetime | None, strikes: int, now: datetime) -> Next:
    """What to do after a report. `when`: the next action's time; `strikes`: fruitless looks in a row before."""
    due = when is not None and when <= now
    if due and outcome.next_action is Action.SWITCH and not strikes:
        return Next.AT_ONCE  # the CA changed during the look: once without a pause, then with one
    if due or outcome.result in (Result.BUSY, Result.STOPPED):
        return Next.FRUITLESS  # also for work not done, or due again at once: never a busy loop
    return Next.SETTLED


def sentence(outcome: Outcome, when: datetime | None, now: datetime) -> str:
    """A report in words: `renewed, next renew in 55 d`; for a failure also why, and what to do."""
    words = report.words(outcome)
    return f"{words}, next {outcome.next_action or 'look'} {ahead(when, now)}" if when else words


def status_line(keystores: int, queued: int, workers: int, first: tuple[str, datetime] | None, now: datetime) -> str:
    """What `systemctl status` shows: `200 keystores, 3 due, 2 workers, next web in 3 h`."""
    parts = [_count(keystores, "keystore"), f"{queued} due", _count(workers, "worker")]
    if first:
        name, when = first
        parts.append(f"next {name} {ahead(when, now)}")
    return ", ".join(parts)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
