"""Lines for systemd's journal in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), which has room for fields:
`journalctl CERTAGENT_KEYSTORE=web` finds everything about one keystore.

Only used for a stream that goes to the journal anyway (`JOURNAL_STREAM`); otherwise the caller prints.
"""

from __future__ import annotations

import functools
import os
import struct
import time
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

SOCKET = "/run/systemd/journal/socket"
# None of our lines is longer; journald wants longer ones in a file.
_LONGEST = 48 * 1024
ERROR, INFO, DEBUG = 3, 6, 7
"""syslog's priorities."""


@functools.cache
def is_journal(descriptor: int) -> bool:
    """Whether this stream, 1 or 2, goes to the journal: systemd names it in JOURNAL_STREAM."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


@functools.cache
def _channel() -> socket.socket:
    import socket  # noqa: PLC0415 -- only who writes to the journal pays for it

    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    channel.setblocking(False)  # a journal that is stuck must not stop a renewal
    return channel


def send(message: str, priority: int, keystore: str = "", where: str = SOCKET) -> bool:
    """Send one entry; False if it could not be sent."""
    fields = {"MESSAGE": message, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "certagent"}
    if keystore:
        fields["CERTAGENT_KEYSTORE"] = keystore
    entry = b"".join(_field(name, value.encode("utf-8", "replace")) for name, value in fields.items())
    if len(entry) > _LONGEST:
        return False
    try:
        _channel().sendto(entry, where)
    except OSError:
        return False
    return True


def linger(seconds: float = 1, settle: float = 0.05) -> None:
    """Before our process ends: wait until the journal has read what was sent, for at most so long.

    It finds the unit of an entry by our process, so without this `journalctl -u` would miss our last lines
    (github.com/systemd/systemd/issues/2913). `settle`: for its look at /proc, after it has read.
    """
    if not _channel.cache_info().currsize:
        return
    deadline = time.monotonic() + seconds
    while _unread(_channel()) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(settle)


def _unread(channel: socket.socket) -> int:
    """How many bytes of ours wait for their reader (SIOCOUTQ, the same number as TIOCOUTQ)."""
    try:
        return int(struct.unpack("i", ioctl(channel, TIOCOUTQ, b"\0" * 4))[0])
    except OSError:
        return 0


def _field(name: str, value: bytes) -> bytes:
    """The value follows its length: a line break in it would otherwise begin another field."""
    return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
