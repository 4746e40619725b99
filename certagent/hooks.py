"""Running commands: hooks, and secrets that a command prints. The one door to subprocess in a worker.

Hooks get an argv, never a shell; a small environment without secrets; a time limit that ends the whole
process group; and their output goes to the log line by line.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from certagent.definitions import HookCommand, Secret
from certagent.errors import ConfigError, HookError

# Inherited by hooks. Everything else stays behind: an `env` secret of the agent is nobody's business.
_INHERITED = (
    "PATH",
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
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OUTPUT_LIMIT = 64 * 1024
_SECRET_LIMIT = 64 * 1024
_GRACE = 5.0

Log = Callable[[str], None]


def run_hook(command: HookCommand, environment: Mapping[str, str], log: Log) -> None:
    """Run one hook to its end. Raises HookError: exit code, signal, time limit, or cannot be started."""
    name = command.run[0]
    code, output = _run(command.run, {**_base(), **environment}, command.timeout, merge=True)
    lines = output.decode("utf-8", "replace").splitlines()
    for line in lines:
        log(f"{Path(name).name}: {_printable(line)}")
    if code is None:
        raise HookError(
            f"hook {name} did not end within {command.timeout.total_seconds():g} s and was killed",
            "give it more time with {run: [..], timeout: 5m}, or see what it waits for",
        )
    if code:
        last = f": {_printable(lines[-1])}" if lines else ""
        ended = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
        raise HookError(f"hook {name} {ended}{last}", "run it by hand to see why")


def read_secret(secret: Secret) -> bytes:
    """Fetch a secret at the moment it is needed; one trailing newline is cut. Raises ConfigError."""
    if secret.file is not None:
        try:
            value = Path(secret.file).read_bytes()
        except OSError as error:
            raise ConfigError(f"secret file {secret.file}: {error.strerror}", "let the agent's user read it") from None
    elif secret.env is not None:
        if secret.env not in os.environ:
            raise ConfigError(f"environment variable {secret.env} is not set", "set it for the certagent process")
        value = os.environb[secret.env.encode()]
    else:
        value = _command_secret(secret.command or ())
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise ConfigError(f"the secret from {_source(secret)} is empty", "put the secret there")
    return value


def _command_secret(argv: tuple[str, ...]) -> bytes:
    # Its standard error is dropped, not logged: what a secret helper complains about may quote the secret.
    code, output = _run(argv, _base(), timedelta(seconds=60), merge=False)
    if code is None:
        raise HookError(f"secret command {argv[0]} did not end within 60 s and was killed", "run it by hand")
    if code:
        raise HookError(f"secret command {argv[0]} exited with {code}", "run it by hand to see why")
    if len(output) > _SECRET_LIMIT:
        raise ConfigError(f"secret command {argv[0]} printed more than {_SECRET_LIMIT} bytes", "print the secret only")
    return output


def _source(secret: Secret) -> str:
    return secret.file or secret.env or (secret.command or ("command",))[0]


def _base() -> dict[str, str]:
    return {"PATH": _DEFAULT_PATH, **{word: os.environ[word] for word in _INHERITED if word in os.environ}}


def _run(
    argv: tuple[str, ...], environment: Mapping[str, str], limit: timedelta, *, merge: bool
) -> tuple[int | None, bytes]:
    """Exit code (None: killed at the time limit) and output. The whole process group dies with the command."""
    try:
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    except OSError as error:
        raise HookError(f"{argv[0]} cannot be started: {error.strerror}", "is it there, and executable?") from None
    with process:
        try:
            output, _ = process.communicate(timeout=limit.total_seconds())
        except subprocess.TimeoutExpired:
            output = _kill(process)
            return None, output[:_OUTPUT_LIMIT]
    return process.returncode, output[:_OUTPUT_LIMIT]


def _kill(process: subprocess.Popen[bytes]) -> bytes:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            return process.communicate(timeout=_GRACE)[0]
        except subprocess.TimeoutExpired:
            continue
    return b""


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else "·" for character in line)[:500]
