"""Whether the consumer has the new certificate: from what it serves, or from the result of a command."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from certagent.config.parts import Probe
from certagent.config.values import Argv
from certagent.errors import HookError, ProbeError
from certagent.hooks import run_to_success
from certagent.transaction.presented import presented

_PAUSE = 0.2  # seconds between two looks
_PAUSE_OF_COMMANDS = 1.0
_NOT_READ = "do the post hooks make it reload, and does it read this keystore's files?"


def await_consumer(
    probe: Probe, certificate: bytes, environment: Mapping[str, str], log: Callable[[str], None]
) -> None:
    """Return once the consumer has `certificate` (DER). Raises ProbeError after the time limit.

    A reload takes a moment, and old processes may answer for a while, so it looks many times. `environment` is for a
    command, as for hooks; `log` takes what its last run printed.
    """
    deadline = time.monotonic() + probe.timeout.total_seconds()
    while True:
        printed: list[str] = []
        try:
            if probe.run is None:
                _look(probe, certificate)
            else:
                _ask(probe.run, probe, environment, printed.append)
        except ProbeError as error:
            if (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, _PAUSE if probe.run is None else _PAUSE_OF_COMMANDS))
                continue
            _tell(printed, log)
            after = f"{probe.timeout.total_seconds():g} s after its post hooks"
            raise ProbeError(f"{error} {after}", error.hint) from None
        _tell(printed, log)
        return


def _look(probe: Probe, certificate: bytes) -> None:
    """Raises ProbeError unless the server presents it."""
    try:
        served = presented(probe)
    except (OSError, ValueError, OverflowError) as error:  # also invalid names and ports
        why = getattr(error, "strerror", None) or error
        raise ProbeError(f"the consumer at {probe.tls} cannot be reached ({why})", _NOT_READ) from None
    if served != certificate:
        raise ProbeError(f"the consumer at {probe.tls} still serves another certificate", _NOT_READ)


def _ask(argv: Argv, probe: Probe, environment: Mapping[str, str], log: Callable[[str], None]) -> None:
    """Raises ProbeError unless the command exits with 0 within its time limit."""
    try:
        run_to_success("probe", argv, probe.timeout, {**environment, "CERTAGENT_EVENT": "probe"}, log)
    except HookError as error:
        raise ProbeError(f"the consumer does not have the new certificate ({error})", error.hint) from None


def _tell(lines: list[str], log: Callable[[str], None]) -> None:
    for line in lines:
        log(line)
