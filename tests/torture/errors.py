"""The kernel says no: each call fails once, with one of the errors that it may fail with."""

from __future__ import annotations

import signal
from random import Random

from tests.torture import calls, judge
from tests.torture.calls import Call, Point
from tests.torture.session import Session

_ANY = ("ENOSPC", "EIO", "EACCES", "EROFS", "EMFILE", "ENOMEM", "EINTR")
_NAMES = ("ENOSPC", "EIO", "EACCES", "EROFS", "ENOMEM")
_CONTENT = ("ENOSPC", "EIO", "EINTR")
_OWNER = ("EIO", "EACCES", "EROFS", "ENOMEM")
_READ = ("EIO", "ENOMEM", "EINTR")
_KERNEL = ("EMFILE", "ENOMEM", "EAGAIN")
_NETWORK = ("EACCES", "ENOMEM", "EINTR", "ECONNRESET", "ETIMEDOUT")
# What a call may fail with; what is not here is never made to fail.
ERRORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("open", "openat", "creat"), _ANY),
    **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"), _NAMES),
    **dict.fromkeys(("unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"), _NAMES),
    **dict.fromkeys(("write", "pwrite64", "writev", "ftruncate", "truncate", "fallocate"), _CONTENT),
    **dict.fromkeys(("fsync", "fdatasync"), (*_CONTENT, "EROFS")),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat"), _OWNER),
    **dict.fromkeys(("read", "pread64", "getdents64", "fstat"), _READ),
    **dict.fromkeys(("socket", "pipe2", "vfork", "clone", "clone3"), _KERNEL),
    **dict.fromkeys(("connect", "sendto", "sendmsg", "recvfrom"), _NETWORK),
    "flock": ("EINTR", "ENOMEM"),
}
# Besides those about its files. Of the agent not: what asyncio does with them is no business of ours.
_ELSEWHERE = ("socket", "pipe2", "vfork", "clone", "clone3", *calls.NETWORK, "recvfrom")

# The hooks that are run until they succeed; the others tell, and are told themselves if they cannot be run.
_OWED = frozenset({"post", "ca_changed"})


def points(session: Session) -> list[tuple[Point, str]]:
    """Every call about a file of the device, the network, or a child; with every error it may end in."""
    return [
        (Point(call.name, call.nth), error)
        for call in session.reachable()
        if _concerns(session, call)
        for error in ERRORS.get(call.name, ())
    ]


def one_each(points: list[tuple[Point, str]], random: Random) -> list[tuple[Point, str]]:
    """Of each call one error, by chance."""
    by_call: dict[str, list[tuple[Point, str]]] = {}
    for each in points:
        by_call.setdefault(str(each[0]), []).append(each)
    return [random.choice(of_call) for of_call in by_call.values()]


def _concerns(session: Session, call: Call) -> bool:
    elsewhere = call.name in _ELSEWHERE and session.enough is None
    return not call.failed and (elsewhere or session.concerns(call))


def torture(session: Session, point: Point, error: str) -> list[str]:
    """What is wrong once that call has failed, and after the next run, when it does not fail any more."""
    attempt = session.begin()
    said, hit = calls.injected(session.device, session.flow.command, point, f"error={error}", session.enough)
    session.flow.salvage(session.device)
    wrong = judge.own_faults(said) + (judge.pair(attempt) if session.whole else [])
    ended = -signal.SIGTERM if session.enough else 0  # the agent, where it was not ready for the signal yet
    if said.code not in (0, 1, 2, 3, ended):
        wrong.append(f"it exits {said.code}: {said.text}")
    if said.code not in (0, ended) and not any(
        line.startswith(("web: ", "certagent: ")) for line in said.text.splitlines()
    ):
        wrong.append(f"it exits {said.code} and does not say why: {said.text}")
    wrong += judge.ended_well(attempt, session.reference, owed=_OWED)
    return [hit, *wrong] if wrong else []
