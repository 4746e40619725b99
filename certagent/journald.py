"""Lines for systemd's journal in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), which has room for fields:
`journalctl CERTAGENT_KEYSTORE=web` finds everything about one keystore.

Only where standard error is the journal's anyway (`JOURNAL_STREAM`); in all other cases the caller prints.
"""

from __future__ import annotations

import functools
import os
import socket

SOCKET = "/run/systemd/journal/socket"
# More than one line of ours ever has; journald wants longer ones in a file.
_LONGEST = 48 * 1024


@functools.cache
def is_stderr() -> bool:
    """Whether standard error goes to the journal: what systemd says of the stream it made is true of this one."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def send(message: str, priority: int, keystore: str = "", where: str = SOCKET) -> bool:
    """Send one entry; False where it could not be sent. `priority`: of syslog, 3 is an error."""
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
    """A line break would begin another field, so every value goes with its length before it."""
    return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
