"""Whether something keeps the clock right: what the kernel says, or systemd-timedated where it may not be asked."""

from __future__ import annotations

import ctypes
import subprocess
import time
from datetime import UTC, datetime, timedelta


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2)."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "frequency", "maximum_error", "estimated_error")),
        ("status", ctypes.c_int),
        *((name, ctypes.c_long) for name in ("constant", "precision", "tolerance", "seconds", "fraction", "tick")),
        ("rest", ctypes.c_long * 24),
    )


_PATIENCE = 10  # s; timedated may have to be started
_ERROR = 5  # TIME_ERROR of sys/timex.h: nothing keeps the clock right, or not well enough


def is_synchronised(now: datetime) -> bool:
    """Whether the kernel says that something keeps its clock right (NTP, PTP), and `now` is that clock's time.

    A unit with ProtectClock= may not ask the kernel; it asks systemd-timedated.
    """
    timex = _Timex()
    try:
        answer = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
        seconds = timex.seconds if answer >= 0 else time.clock_gettime(time.CLOCK_REALTIME)
        kernel = datetime.fromtimestamp(seconds, UTC)
    except (OSError, AttributeError, ValueError, OverflowError):
        return False
    if abs(kernel - now) >= timedelta(minutes=1):
        return False
    return 0 <= answer < _ERROR if answer >= 0 else _timedated_says_so()


def _timedated_says_so() -> bool:
    """What systemd-timedated says about it, which it has from the kernel; False if it is not there."""
    argv = ("timedatectl", "show", "--property=NTPSynchronized", "--value")
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.stdout.strip() == b"yes"
