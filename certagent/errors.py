"""The error tree. The class of an error answers "what next?":

    CertagentError
    ├── ConfigError        fix the file; nothing was tried
    ├── StateError         a person must look at the state directory; never started afresh over it
    ├── BusyError          somebody else is at work on this keystore or authority; look again soon
    ├── TransientError     back off and try again
    │   ├── HttpError      the server answered, with an HTTP error
    │   ├── UnreachableError  no server answered; where there is a second address, it is asked
    │   ├── HookError      a hook failed, hung or vetoed; try again later
    │   │   └── OwedError  what was to be put in place is; hooks that are owed for it failed
    │   └── ProbeError     the consumer did not serve the new certificate; the old pair is back
    ├── RejectedError      the CA said no; retry slowly, warn
    ├── TrustError         the other side is not who it should be; alarm, never retried blindly
    │   └── UnfitError     the CA issued what would not serve; alarm, asked again rarely: each time costs a certificate
    ├── RevokedError       the CA has revoked the certificate in place; alarm, until another is there
    └── KeystoreError      the keystore cannot be read or written; the consumer's files are untouched
        └── TokenLockedError   stop: one more wrong PIN locks the token

`str(error)` is one line saying what is wrong; `error.hint` one line saying what to do about it.
Neither ever holds a secret.
"""

from __future__ import annotations

import traceback
from datetime import timedelta
from pathlib import Path

from certagent.text import printable


class CertagentError(Exception):
    """Base of every error this project raises on purpose.

    Whatever text from outside it quotes, it is one printable line of bounded length. `wait`: how long the other side
    asked to be left alone (Retry-After).
    """

    wait: timedelta | None = None

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(printable(message))
        self.hint = printable(hint)

    @property
    def kind(self) -> str:
        """The word that state files and reports use for this class: `transient`, `trust` …"""
        return type(self).__name__.removesuffix("Error").lower()


class ConfigError(CertagentError):
    """The configuration is wrong. `problems` holds every fault found, each one line."""

    def __init__(self, message: str, hint: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.problems = problems


class StateError(CertagentError):
    """A state file is unreadable, damaged, or written by a newer version."""


class DamagedError(StateError):
    """A file of our own is no more what was written. Memory is set aside and made again; a journal is law."""

    @property
    def kind(self) -> str:
        return "state"


class BusyError(CertagentError):
    """Another process holds the lock."""


class TransientError(CertagentError):
    """A fault that may heal by itself: network, server, a clock not yet set."""


class HttpError(TransientError):
    """The server answered with another HTTP `status` than 200."""

    def __init__(self, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status


class UnreachableError(TransientError):
    """No whole answer came: no connection, no TLS, no time left, or it broke off."""

    @property
    def kind(self) -> str:
        return "transient"


class HookError(TransientError):
    """A hook exited non-zero, could not be started, or ran past its time limit."""


class OwedError(HookError):
    """All is in place, but for hooks that failed and are run again. The message begins with that."""


class ProbeError(TransientError):
    """What the consumer serves is not what was put in place."""


class RejectedError(CertagentError):
    """The CA answered FAILURE. `fail_info` is RFC 8894 §3.2.1.4.5's word, e.g. `badRequest`."""

    def __init__(self, message: str, hint: str = "", fail_info: str = "") -> None:
        super().__init__(message, hint)
        self.fail_info = fail_info


class TrustError(CertagentError):
    """Who answered, or what it answered, cannot be believed."""


class UnfitError(TrustError):
    """What the CA issued for our key is not fit to take the place of what is there."""


class RevokedError(CertagentError):
    """The CA's list has the certificate in place."""


class KeystoreError(CertagentError):
    """A key or certificate in place cannot be read, does not fit, or cannot be replaced."""


class TokenLockedError(KeystoreError):
    """The token's PIN is wrong or locked; remembered over restarts."""


def named(hint: str, keystore: str) -> str:
    """A hint that was written where the name of the keystore is not known (`enroll --force NAME`), with the name."""
    return hint.replace("--force NAME`", f"--force {keystore}`")


def internal_fault(error: Exception) -> CertagentError:
    """A fault of certagent's own, in one line. Its text is not shown: who knows what it quotes.

    Want of memory is none, nor is a part that an upgrade takes away while a command runs.
    """
    if isinstance(error, MemoryError):
        return CertagentError("there is not enough memory", "stop other programs, or raise the limit, e.g. MemoryMax")
    if isinstance(error, ModuleNotFoundError) and error.name:
        return CertagentError(
            f"the Python module {error.name} is missing", "reinstall certagent, unless an upgrade is running right now"
        )
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    return CertagentError(
        f"internal error: {type(error).__name__} at {where}",
        "please report it, with the output of `certagent --debug …`",
    )
