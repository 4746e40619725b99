"""When to fetch an authority's CRLs again. Pure: values and `now` in, answer out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from certagent import policy
from certagent.moments import later
from certagent.policy import Lifetime, Past

# The share of a list's life after which it is fetched, minus up to this much jitter by host.
_SHARE, _JITTER = 0.5, 0.1
# New revocations must be known within a day, however long the list is valid.
_LONGEST = timedelta(days=1)
# Divides the rest of the life of a list that came late: its CA has not published the next one yet.
_REST = 4
_LONGEST_PAUSE = timedelta(hours=1)
_SOONEST = timedelta(seconds=1)

Validity = tuple[datetime, datetime | None]
"""thisUpdate and nextUpdate of a list; None if the CA does not say when the next one comes."""


def fetch_again(lists: Iterable[Validity], fetched_at: datetime, share: float) -> datetime:
    """When to fetch next, if everything went well at `fetched_at`. `share`: this host's, in [0, 1)."""
    moments = [_again(begins, ends, fetched_at, share) for begins, ends in lists]
    day = later(fetched_at, _LONGEST * (1 - _JITTER * share))
    return max(min([day, *moments]), later(fetched_at, _SOONEST))


def _again(begins: datetime, ends: datetime | None, fetched_at: datetime, share: float) -> datetime:
    if ends is None:
        return later(fetched_at, _LONGEST)
    usual = begins + (ends - begins) * (_SHARE - _JITTER * share)
    return usual if usual > fetched_at else fetched_at + (ends - fetched_at) / _REST * (1 - _JITTER * share)


def pause(past: Past, lists: Iterable[Validity], now: datetime, share: float | None = None) -> datetime:
    """When to try again after failures: like for renewals, but with many tries before the first list ends, and every
    hour once none is valid, if the server does not ask to be left alone for longer.

    `share` as for `policy.backoff`: hosts that failed together do not come back together.
    """
    ends = [Lifetime(begins, end) for begins, end in lists if end is not None]
    first = min(ends, key=lambda each: each.not_after, default=None)
    again = policy.backoff(past.kind, past.failures, first, now, past.wait, share=share)
    return again if past.wait is not None else min(again, later(now, _LONGEST_PAUSE))


def next_fetch(
    lists: Iterable[Validity], fetched_at: datetime | None, past: Past, share: float, now: datetime
) -> datetime:
    """When the next fetch is due; at once if the planned moment is so late that only a wrong clock can have set it."""
    every = list(lists)
    if past.failures:
        latest = pause(past, every, now, share=1.0)
        return past.retry_at if past.retry_at is not None and past.retry_at <= latest else now
    if fetched_at is None or fetched_at > now:
        return now
    return fetch_again(every, fetched_at, share)
