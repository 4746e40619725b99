"""How long certagent waits after a failure, and between two polls. Pure; other modules use it through `policy`."""

from __future__ import annotations

from datetime import datetime, timedelta

from certagent.lifetime import Lifetime
from certagent.moments import later

# How a certificate's remaining life divides into attempts, and the slowest rhythm: (first, share, longest).
_RHYTHM: dict[str, tuple[timedelta, int, timedelta]] = {
    "rejected": (timedelta(minutes=15), 8, timedelta(days=1)),
    # Never retried blindly: an alarm each time, and rarely. But a router nobody visits must recover when its CA does.
    "trust": (timedelta(minutes=15), 8, timedelta(days=1)),
    # Each new attempt costs the CA a certificate.
    "abandoned": (timedelta(minutes=15), 8, timedelta(days=1)),
    "probe": (timedelta(minutes=15), 8, timedelta(days=1)),
    "unfit": (timedelta(hours=6), 2, timedelta(days=7)),
    "revoked": (timedelta(hours=1), 8, timedelta(days=1)),
}
_USUAL = (timedelta(seconds=30), 24, timedelta(hours=6))
_SOONEST = timedelta(seconds=1)

# Between its shortest and its longest, a pause is different for each keystore and failure: this part of the pause at
# least, or this part more than the other side asked for. Measured (docs/fleet.md): a smaller part, and a CA that
# is overrun takes longer to serve everybody; a larger part, and too many come back together.
_LEAST, _MORE = 0.4, 0.25

# Each attempt costs the CA a certificate, so none comes sooner.
_COSTLY = frozenset({"abandoned", "probe", "unfit"})


def backoff(
    kind: str,
    failures: int,
    lifetime: Lifetime | None,
    now: datetime,
    asked: timedelta | None = None,
    *,
    share: float | None = None,
) -> datetime:
    """When to try again after `failures` attempts failed in a row, the last with an error of this kind.

    The wait doubles, but certagent still tries a number of times before a certificate ends. If the other side `asked`
    for a longer wait, it gets it, within the same limits.

    `share`, in [0, 1]: where this wait lies between its shortest and its longest; an `asked` one is up to a quarter
    longer. So devices that failed together, each with its own share (`Rules.pause_share`), do not come back together.
    None: exactly as long as the rule says, which is never shorter.
    """
    first, attempts, longest = _RHYTHM.get(kind, _USUAL)
    wait: timedelta = min(first * (1 << min(max(failures - 1, 0), 20)), longest)
    if kind not in _COSTLY:
        wait = _of_its_own(wait, share)
    if asked is not None:
        wait = min(max(wait, _as_asked(asked, share)), longest)
    if lifetime is not None and lifetime.not_after > now:
        wait = min(wait, lifetime.remaining(now) / attempts)
    return later(now, max(wait, _SOONEST))


def _of_its_own(longest: timedelta, share: float | None) -> timedelta:
    return longest if share is None else longest * (_LEAST + (1 - _LEAST) * share)


def _as_asked(least: timedelta, share: float | None) -> timedelta:
    return least * (1 + (share or 0.0) * _MORE)


def poll_pause(
    interval: timedelta,
    wait: timedelta | None,
    lifetime: Lifetime | None,
    now: datetime,
    *,
    share: float | None = None,
) -> timedelta:
    """How long to wait for the next poll: `poll_interval`, or longer if the CA asks for it (`wait`), but never so long
    that the certificate in place (or its CA, for a rollover) comes much nearer to its end.

    `share` as for `backoff`: devices that were enrolled together do not poll together.
    """
    _, attempts, longest = _USUAL
    pause = _of_its_own(interval, share)
    if wait is None:
        return pause
    if lifetime is not None and lifetime.not_after > now:
        longest = min(longest, lifetime.remaining(now) / attempts)
    return max(pause, min(_as_asked(wait, share), longest))
