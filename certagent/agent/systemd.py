"""Tells systemd how we are: sd_notify(3) in plain Python. Without systemd, every call does nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta

from certagent.text import printable

# systemd sets these for the main process only; a worker must not speak for the agent.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_PAUSE = 1.0  # s, between two status lines


def send(*assignments: str) -> None:
    """Send assignments such as `READY=1` or `STATUS=…` in one message. A missing service manager is no error."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # the abstract namespace
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.setblocking(False)  # a stuck manager must not stop the loop, which the watchdog checks
        try:
            channel.sendto("\n".join(assignments).encode(), address)
        except OSError:
            return


def starts_again() -> bool:
    """Whether systemd started this process, and will start it again after a failure (`Restart=on-failure`)."""
    return bool(os.environ.get("NOTIFY_SOCKET")) and bool(os.environ.get("INVOCATION_ID"))


def reloading() -> None:
    """A reload begins; `send("READY=1")` ends it."""
    send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval() -> timedelta | None:
    """How often systemd wants WATCHDOG=1: half of its limit; None if it does not watch this process."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        limit = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return timedelta(microseconds=limit) / 2 if limit > 0 else None


class Status:
    """The line that `systemctl status` shows: what is wrong, by topic, and then how things are."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}
        self._told = ""
        self._line: Callable[[], str] = str
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, topic: str) -> bool:
        return topic in self._troubles

    def trouble(self, topic: str, words: str) -> None:
        self._troubles[topic] = words

    def over(self, topic: str) -> None:
        self._troubles.pop(topic, None)

    def tell(self, line: Callable[[], str]) -> None:
        """Send the line if it changed; under load once a second, with the newest content. Needs the running loop."""
        self._line = line
        if self._timer is not None:
            return
        wait = self._not_before - asyncio.get_running_loop().time()
        if wait > 0:
            self._timer = asyncio.get_running_loop().call_later(wait, self._send)
        else:
            self._send()

    def end(self) -> None:
        """Cancel a line that was to be sent later."""
        if self._timer is not None:
            self._timer.cancel()

    def _send(self) -> None:
        self._timer = None
        self._not_before = asyncio.get_running_loop().time() + _PAUSE
        # A line break would begin another assignment.
        status = printable("; ".join([*self._troubles.values(), self._line()]))
        if status != self._told:
            self._told = status
            send(f"STATUS={status}")
