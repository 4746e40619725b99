"""The error tree. The class of an error answers "what next?":

    CertagentError
    ├── ConfigError        fix the file; nothing was tried
    ├── StateError         somebody must look at the state directory; certagent never starts again from nothing
    ├── BusyError          another process works on this keystore or authority; look again soon
    ├── TransientError     back off and try again
    │   ├── HttpError      the server answered, with an HTTP error
    │   ├── UnreachableError  no server answered; the second address, if there is one, is asked
    │   ├── HookError      a hook failed, hung or vetoed; try again later
    │   │   └── OwedError  the new files are in place; the hooks that must follow failed
    │   └── ProbeError     the consumer did not serve the new certificate; the old pair is back
    ├── RejectedError      the CA said no; retry slowly, warn
    ├── TrustError         the other side is not who it should be; alarm, never retried blindly
    │   └── UnfitError     the CA's certificate would not work; alarm, ask rarely: each try costs a certificate
    ├── RevokedError       the CA has revoked the certificate in place; alarm, until there is another
    └── KeystoreError      the keystore cannot be read or written; the consumer's files are untouched
        └── TokenLockedError   stop: one more wrong PIN locks the token

`str(error)` is one line saying what is wrong; `error.hint` one line saying what to do about it.
Neither ever holds a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from certagent.installed import lacking
from certagent.text import printable

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


class CertagentError(Exception):
    """Base of every error this project raises on purpose.

    Text from outside that it quotes becomes one printable line of bounded length. `wait`: how long the other side
    asked us to wait (Retry-After).
    """

    wait: timedelta | None = None

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(printable(message))
        self.hint = printable(hint)

    @property
    def kind(self) -> str:
        """The word that state files and reports use for this class: `transient`, `trust` …"""
        return type(self).__name__.removesuffix("Error").lower()


def longest_wait(errors: Iterable[CertagentError]) -> timedelta | None:
    """The longest wait that one of them asks for; None if none does."""
    return max((error.wait for error in errors if error.wait is not None), default=None)


def once(answers: dict[Question, Answer | CertagentError], question: Question, ask: Callable[[], Answer]) -> Answer:
    """What `ask` returned, or the CertagentError that it raised, when this question was first asked."""
    if question not in answers:
        try:
            answers[question] = ask()
        except CertagentError as error:
            answers[question] = error
    answer = answers[question]
    if isinstance(answer, CertagentError):
        raise answer
    return answer


class ConfigError(CertagentError):
    """The configuration is wrong. `problems` holds every fault found, each one line."""

    def __init__(self, message: str, hint: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.problems = problems


class StateError(CertagentError):
    """A state file is unreadable, damaged, or written by a newer version."""


class DamagedError(StateError):
    """A file of our own no longer contains what we wrote. Memory is set aside and made again; a journal never is."""

    @property
    def kind(self) -> str:
        return "state"


class BusyError(CertagentError):
    """Another process holds the lock."""


class TransientError(CertagentError):
    """A fault that may heal by itself: network, server, a clock not yet set."""


# Statuses of a server that cannot answer now, or a gateway that says so for it; they decide nothing.
OUT_OF_ORDER = (408, 425, 429, 502, 503, 504)


class HttpError(TransientError):
    """The server answered with an HTTP `status` other than 200."""

    def __init__(self, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status


class UnreachableError(TransientError):
    """No complete answer came: no connection, no TLS, a timeout, or a connection that broke off."""

    @property
    def kind(self) -> str:
        return "transient"


class HookError(TransientError):
    """A hook exited non-zero, could not be started, or ran past its time limit."""


class OwedError(HookError):
    """Everything is in place, but hooks failed and will run again. The message begins with that."""


class ProbeError(TransientError):
    """What the consumer serves is not what was put in place."""


class RejectedError(CertagentError):
    """The CA answered FAILURE. `fail_info` is RFC 8894 §3.2.1.4.5's word, e.g. `badRequest`."""

    def __init__(self, message: str, hint: str = "", fail_info: str = "") -> None:
        super().__init__(message, hint)
        self.fail_info = fail_info


class TrustError(CertagentError):
    """We cannot trust who answered, or the answer itself."""


class UnfitError(TrustError):
    """The certificate that the CA issued for our key cannot replace the one in place."""


class RevokedError(CertagentError):
    """The CA's CRL lists the certificate in place."""


class KeystoreError(CertagentError):
    """A key or certificate in place cannot be read, does not fit, or cannot be replaced."""


class TokenLockedError(KeystoreError):
    """The token's PIN is wrong or locked; remembered over restarts."""


def named(hint: str, keystore: str) -> str:
    """Put the keystore's name into a hint that was written without it (`enroll --force NAME`)."""
    return hint.replace("--force NAME`", f"--force {keystore}`")


def internal_fault(error: Exception) -> CertagentError:
    """A fault of certagent's own, in one line. Its text is not shown, because it may quote anything.

    Lack of memory is not such a fault, nor is a library that was left out (a ConfigError), nor a file that an upgrade
    removes while a command runs.
    """
    if isinstance(error, MemoryError):
        return CertagentError("there is not enough memory", "stop other programs, or raise the limit, e.g. MemoryMax")
    if isinstance(error, ModuleNotFoundError) and error.name:
        if (lack := lacking(error.name)) is not None:
            return ConfigError(*lack)
        return CertagentError(
            f"the Python module {error.name} is missing", "reinstall certagent, unless an upgrade is running right now"
        )
    import traceback  # noqa: PLC0415 -- only a fault of ours pays for it

    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    return CertagentError(
        f"internal error: {type(error).__name__} at {where}",
        "please report it, with the output of `certagent --debug …`",
    )
