"""The demo's consumer: a TLS server in its own process, which reads its files only at SIGHUP.

It contains nothing of certagent: it stands for nginx, or any service that must be told to reload. Until there is a
certificate, it refuses connections.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import sys
import threading
from pathlib import Path

GREETING = b"the certagent demo greets you\n"
READY = "bound to "  # what it prints first, before the address
_PATIENCE = 5.0  # seconds to wait for a silent client


class Service:
    """Serves `fullchain.pem` and `key.pem` of a directory, on a free port of 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._context: ssl.SSLContext | None = None
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))

    def run(self) -> None:
        """Wait for SIGHUP again and again; SIGTERM ends the process."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        (self._directory / "service.pid").write_text(f"{os.getpid()}\n")
        print("{}{}:{}".format(READY, *self._socket.getsockname()), flush=True)
        while True:
            signal.sigwait({signal.SIGHUP})
            self._reload()

    def _reload(self) -> None:
        fresh = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            fresh.load_cert_chain(self._directory / "fullchain.pem", self._directory / "key.pem")
        except OSError as error:  # includes ssl.SSLError: a pair that does not match
            print(f"keeps what it has: {error}", flush=True)
            return
        first, self._context = self._context is None, fresh
        print("has read its files", flush=True)
        if first:
            self._socket.listen(64)
            threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _greet(self, connection: socket.socket) -> None:
        context = self._context
        if context is None:
            raise AssertionError  # connections are accepted only after the first certificate
        # A client may go away at any moment.
        with contextlib.suppress(OSError), connection:
            connection.settimeout(_PATIENCE)
            with context.wrap_socket(connection, server_side=True) as tls:
                tls.sendall(GREETING)


if __name__ == "__main__":
    Service(Path(sys.argv[1])).run()
