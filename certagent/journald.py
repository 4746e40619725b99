"""Lines for systemd's journal in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), which has room for fields:
`journalctl CERTAGENT_KEYSTORE=web` finds everything about one keystore.

Only used when standard error goes to the journal anyway (`JOURNAL_STREAM`); otherwise the caller prints.
"""

from __future__ import annotations

import functools
import os
import socket

SOCKET = "/run/systemd/journal/socket"
# None of our lines is longer; journald wants longer ones in a file.
_LONGEST = 48 * 1024


@functools.cache
def is_stderr() -> bool:
    """Whether standard error goes to the journal: it is the stream that systemd names in JOURNAL_STREAM."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def send(message: str, priority: int, keystore: str = "", where: str = SOCKET) -> bool:
    """Send one entry; False if it could not be sent. `priority`: syslog's, 3 is an error."""
    fields = {"MESSAGE": message, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "certagent"}
    if keystore:
        fields["CERTAGENT_KEYSTORE"] = keystore
    entry = b"".join(_field(name, value.encode("utf-8", "replace")) for name, value in fields.items())
    if len(entry) > _LONGEST:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)  # a journal that is stuck must not stop a renewal
            channel.sendto(entry, where)
    except OSError:
        return False
    return True


def _field(name: str, value: bytes) -> bytes:
    """The value follows its length: a line break in it would otherwise begin another field."""
    return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
