"""Runs commands: hooks, secrets that a command prints, certagent itself. A worker uses subprocess only here.

A hook gets an argv, never a shell; a small environment without secrets; and a time limit that ends the whole process
group. Its output goes to the log line by line.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from certagent import credentials
from certagent.config.parts import HookCommand, Secret
from certagent.config.programs import command_fault, owner_fault, search_path
from certagent.config.values import Argv
from certagent.directories import reach
from certagent.errors import ConfigError, HookError, KeystoreError, OwedError
from certagent.text import printable

log = logging.getLogger(__name__)

# Passed on to hooks. Nothing else is: they must not see the agent's `env` secrets.
_INHERITED = (
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "USER",
    "LOGNAME",
    "SHELL",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
)
_OUTPUT_LIMIT = 64 * 1024  # bytes kept of what a command prints; the rest is read and dropped
_TAIL = 1024  # and of the very end, where a failing command says why
_CREATE_IT = "create it, or correct the path"
_SHORT = 100  # longest command that a hint repeats, in characters
_SECRET_TIME = timedelta(seconds=60)
_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
_LOOK = 0.5  # seconds between two checks for a request to stop
_SETTLE = 0.5  # seconds to wait for the output of a command that has ended
_UNFIT = (errno.ENOENT, errno.ENOEXEC, errno.EACCES)
_START_HINTS = {
    **dict.fromkeys((errno.ENOENT, errno.EACCES, errno.ENOTDIR), "does it exist, and is it executable?"),
    **dict.fromkeys(
        (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
        "the host has run out of memory, processes or open files",
    ),
    errno.ENOEXEC: "is it a program for this machine's processor?",
    errno.ETXTBSY: "somebody is writing it at this moment",
}

Log = Callable[[str], None]


def run_hook(command: HookCommand, environment: Mapping[str, str], log: Log) -> None:
    """Run one hook to its end, if its `only_if` command allows it.

    Raises HookError if either command fails: exit code, signal, time limit, or it cannot be started.
    """
    if command.only_if is not None:
        try:
            run_to_success("only_if", command.only_if, command.timeout, environment, log, words=2)
        except HookError as error:
            raise HookError(f"hook {command.run[0]} was not run: {error}", error.hint) from None
    run_to_success("hook", command.run, command.timeout, environment, log)


def run_to_success(
    what: str, argv: Argv, limit: timedelta, environment: Mapping[str, str], log: Log, *, words: int = 1
) -> None:
    """Run one command, called `what` in errors. Raises HookError with the last `words` lines of its output."""
    name = argv[0]
    if fault := owner_fault(argv):
        raise HookError(f"{what} {name} is not run: it {fault[0]}", fault[1])
    code, output = _run(argv, {**_base(), **environment}, limit, errors=subprocess.STDOUT)
    lines = [printable(line, 500) for line in output.lines()]
    for line in lines:
        log(f"{Path(name).name}: {line}")
    if code is None:
        raise HookError(
            f"{what} {name} did not end within {limit.total_seconds():g} s and was killed",
            "give it more time with {run: [..], timeout: 5m}, or find out what it waits for",
        )
    if code:
        last = f": {' / '.join(lines[-words:])}" if lines else ""
        ended = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
        raise HookError(f"{what} {name} {ended}{last}", _remedy(argv) or f"run {_by_hand(argv)} by hand to see why")


def _by_hand(argv: Argv) -> str:
    """The command as somebody would type it, if it is short."""
    words = shlex.join(argv)
    return f"`{words}`" if len(words) <= _SHORT and words.isprintable() else "it"


def run_apart(
    words: Sequence[str], limit: timedelta, stopping: Callable[[], bool], *, with_stdin: bool = False
) -> tuple[int | None, bytes]:
    """Run certagent itself in its own process; returns the exit code (None: killed at the limit) and what it printed.

    `with_stdin`: it gets our standard input; otherwise its input is empty.

    It is the same code in the same environment, and its log goes where ours goes. Once `stopping`, it gets the same
    stop signal as we did. Raises HookError if it cannot be started.
    """
    home = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": home, "PYTHONSAFEPATH": "1"}
    argv = (sys.executable, "-m", "certagent", *words)
    code, output = _run(
        argv, environment, limit, errors=None, stopping=stopping, stdin=None if with_stdin else subprocess.DEVNULL
    )
    return code, output.start()


def succeeds(argv: Argv, limit: timedelta) -> bool:
    """Whether a command ends well in time; nothing that it prints is kept. Raises HookError if it cannot be started."""
    code, _ = _run(argv, _base(), limit, errors=subprocess.DEVNULL)
    return code == 0


def still_owed(done: str, failed: Sequence[tuple[str, HookError]]) -> OwedError:
    """The error for hooks that failed, each with its event, after what is `done`: that comes first."""
    events = " and ".join(dict.fromkeys(event for event, _ in failed))
    hooks = "hook" if len(failed) == 1 else "hooks"
    why = "; ".join(dict.fromkeys(str(error) for _, error in failed))
    return OwedError(f"{done}; the {events} {hooks} failed and will be retried: {why}", failed[0][1].hint)


def read_secret(secret: Secret, *, may_be_open: bool = False) -> bytes:
    """Fetch a secret at the moment it is needed, without one trailing newline, and without the byte order mark that
    Windows editors put before it.

    Refuses a file that everybody can read, unless `may_be_open`: somebody named it on a command line.

    Raises ConfigError; HookError if its command does not end, fails or cannot be started.
    """
    if secret.file is not None:
        value = _secret_file(secret.file, may_be_open=may_be_open)
    elif secret.credential is not None:
        path = credentials.path_of(secret.credential)
        if path is None:
            raise ConfigError(f"there is no credential {secret.credential}", credentials.hint(secret.credential))
        value = _secret_file(str(path), may_be_open=may_be_open)
    elif secret.env is not None:
        if secret.env not in os.environ:
            raise ConfigError(f"environment variable {secret.env} is not set", "set it for the certagent process")
        value = os.environb[secret.env.encode()]
    else:
        value = _command_secret(secret.command or ())
    if len(value) > _OUTPUT_LIMIT:
        raise ConfigError(
            f"the secret from {source(secret)} is longer than {_OUTPUT_LIMIT} bytes",
            "secrets are shorter: correct the source",
        )
    value = value.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise ConfigError(f"the secret from {source(secret)} is empty", "put the secret there")
    if b"\0" in value:
        raise ConfigError(
            f"the secret from {source(secret)} has zero bytes: it is UTF-16 text, or damaged",
            "write it again, as UTF-8",
        )
    if b"\n" in value or b"\r" in value:
        raise ConfigError(f"the secret from {source(secret)} has more than one line", "leave only the secret there")
    return value


def _secret_file(path: str, *, may_be_open: bool) -> bytes:
    try:
        with reach(Path(os.path.abspath(path))) as place:  # noqa: PTH100 -- a link in it is not to be followed here
            look = place.look(_OUTPUT_LIMIT)
    except KeystoreError as error:
        raise ConfigError(f"secret file {error}", error.hint) from None
    except OSError as error:
        hint = _CREATE_IT if isinstance(error, FileNotFoundError) else "let certagent's user read it"
        raise ConfigError(f"secret file {path}: {error.strerror}", hint) from None
    if look is None:
        raise ConfigError(f"secret file {path}: {os.strerror(errno.ENOENT)}", _CREATE_IT)
    if look.status.st_mode & 0o007 and not may_be_open:
        raise ConfigError(f"secret file {path} can be read by everybody on the host", f"run chmod o= {path}")
    return look.content


def _command_secret(argv: tuple[str, ...]) -> bytes:
    if fault := owner_fault(argv):
        raise HookError(f"secret command {argv[0]} is not run: it {fault[0]}", fault[1])
    # Its standard error is dropped, not logged: the complaint of a secret helper may quote the secret.
    code, output = _run(argv, _base(), _SECRET_TIME, errors=subprocess.DEVNULL)
    if code is None:
        raise HookError(f"secret command {argv[0]} did not end in time and was killed", "run it by hand")
    if code:
        hint = _remedy(argv) or "run it by hand to see why"
        raise HookError(f"secret command {argv[0]} exited with {code}", hint)
    return output.start()


def source(secret: Secret) -> str:
    """Where a secret comes from: a file, a credential, a variable, a program."""
    return secret.file or secret.credential or secret.env or (secret.command or ("command",))[0]


def _base() -> dict[str, str]:
    return {"PATH": search_path(), **{word: os.environ[word] for word in _INHERITED if word in os.environ}}


class _Output:
    """What a command prints, read as it comes so that the command never waits for us; a bounded part is kept."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._head = bytearray()
        self._tail = b""
        self._dropped = 0
        # A daemon thread: a service that a hook started may keep the other end open as long as it runs.
        self._thread = threading.Thread(target=self._read, name="hook-output", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            os.close(descriptor)
            raise

    def _read(self) -> None:
        while chunk := os.read(self._descriptor, 1 << 16):
            room = _OUTPUT_LIMIT + 1 - len(self._head)
            self._head += chunk[:room]
            self._tail = (self._tail + chunk[room:])[-_TAIL:]
            self._dropped += len(chunk[room:])
        os.close(self._descriptor)

    def settle(self) -> None:
        """Wait for the end of the output, but not for processes that keep it open."""
        self._thread.join(_SETTLE)

    def start(self) -> bytes:
        """The first bytes: up to one more than the limit."""
        return bytes(self._head)

    def lines(self) -> list[str]:
        """The text, without its middle if it was too long."""
        lines = self.start().decode("utf-8", "replace").splitlines()
        if self._dropped > len(self._tail):
            lines.append(f"({self._dropped - len(self._tail)} more bytes)")
        return lines + self._tail.decode("utf-8", "replace").splitlines()


def _run(
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    limit: timedelta,
    *,
    errors: int | None,
    stopping: Callable[[], bool] = lambda: False,
    stdin: int | None = subprocess.DEVNULL,
) -> tuple[int | None, _Output]:
    """Exit code (None: killed at the time limit, with its whole process group) and output.

    `errors`: where standard error goes; `stdin`: where its input comes from (None: our own).
    Once `stopping`, we ask the command to end, and wait for it.

    Processes that it leaves running after it ends in time are left alone: one may be the service it restarted.
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise _not_started(argv, error) from None
    try:
        output = _Output(reading)
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=stdin,
            stdout=writing,
            stderr=errors,
            start_new_session=True,
            cwd="/",
        )
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in an argument; no thread available
        raise _not_started(argv, error) from None
    finally:
        os.close(writing)
    began = time.monotonic()
    try:
        code = _wait(process, began + limit.total_seconds(), stopping)
    except KeyboardInterrupt:
        # It has no terminal, so we pass Ctrl-C on. It is still owed, and runs again.
        _kill(process, signal.SIGINT)
        raise
    ended = "killed" if code is None else f"exit code {code}"
    log.debug("ran %s: %s after %.2f s", argv[0], ended, time.monotonic() - began)
    output.settle()
    return code, output


def _remedy(argv: Argv) -> str:
    """What to do about a command that failed, if one look shows why."""
    fault = command_fault(argv)
    return f"{argv[0]} {fault[0]}: {fault[1]}" if fault else ""


def _not_started(argv: Argv, error: Exception) -> HookError:
    name, why = argv[0], error.strerror if isinstance(error, OSError) else error
    if isinstance(error, OSError) and error.errno in _UNFIT and (fault := command_fault(argv)):
        return HookError(f"{name} cannot be started: it {fault[0]}", fault[1])
    number = error.errno if isinstance(error, OSError) else errno.EAGAIN if isinstance(error, RuntimeError) else None
    return HookError(f"{name} cannot be started: {why}", _START_HINTS.get(number or 0, "correct the command"))


def _wait(process: subprocess.Popen[bytes], deadline: float, stopping: Callable[[], bool]) -> int | None:
    asked = False
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(min(left, _LOOK))
        if stopping() and not asked:
            asked = True
            _signal_group(process, signal.SIGTERM)
    _kill(process)
    return None


def _kill(process: subprocess.Popen[bytes], request: signal.Signals = signal.SIGTERM) -> None:
    """End the process group: ask, wait, then kill, including what outlived the command itself."""
    deadline = time.monotonic() + _GRACE
    _signal_group(process, request)
    # Look without reaping: as long as the command's PID is in use, its process group cannot be another's.
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while os.waitid(os.P_PID, process.pid, look) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    _signal_group(process, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: nothing helps
        process.wait(_GRACE)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(OSError):  # none left, or they belong to another user
        os.killpg(process.pid, number)
