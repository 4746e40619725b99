"""Moments that stay within the calendar: a certificate without an end says 9999-12-31 (RFC 5280 §4.1.2.5). Pure.

Moments are aware and in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""In a file; a time without its zone could not be compared with others."""


def later(moment: datetime, by: timedelta) -> datetime:
    """`moment + by`; a result before or after the calendar becomes its first or last moment."""
    try:
        return moment + by
    except OverflowError:
        return LAST if by > timedelta(0) else FIRST
