"""Looking at what a consumer serves: a TLS handshake, nothing believed, nothing sent."""

from __future__ import annotations

import socket
import ssl
import time

from certagent.config.parts import Probe
from certagent.errors import ProbeError

_ATTEMPT = 5.0
_PAUSE = 0.2


def wait_until_served(probe: Probe, certificate: bytes) -> None:
    """Return once the consumer presents `certificate` (DER) as its own. Raises ProbeError after the time limit.

    A reload takes a moment, and old processes may answer for a while: hence many looks, not one.
    """
    deadline = time.monotonic() + probe.timeout.total_seconds()
    while True:
        try:
            served = _served(probe)
        except (OSError, ValueError, OverflowError) as error:  # ssl.SSLError; names and ports that are none
            found = f"cannot be reached ({getattr(error, 'strerror', None) or error})"
        else:
            if served == certificate:
                return
            found = "still serves another certificate"
        if time.monotonic() >= deadline:
            raise ProbeError(
                f"the consumer at {probe.tls} {found} {probe.timeout.total_seconds():g} s after its post hooks",
                "do the post hooks really make it reload, and does it read this keystore's files?",
            )
        time.sleep(_PAUSE)


def _served(probe: Probe) -> bytes | None:
    host, _, port = probe.tls.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ATTEMPT) as connection,
        context.wrap_socket(connection, server_hostname=probe.server_name) as tls,
    ):
        return tls.getpeercert(binary_form=True)
