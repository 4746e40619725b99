"""Moments that never leave the calendar: a certificate without an end is written 9999-12-31 (RFC 5280 §4.1.2.5). Pure.

Moments are aware and in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""In a file; a time without its zone would not compare with any other."""


def later(moment: datetime, by: timedelta) -> datetime:
    """`moment + by`; what lies before or behind the calendar is its first or its last moment."""
    try:
        return moment + by
    except OverflowError:
        return LAST if by > timedelta(0) else FIRST
