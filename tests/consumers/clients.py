"""Clients of a TLS server: they connect all the time, believe one CA and one name, and count what fails."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509

from tests.waiting import PATIENCE, until

SERVER_NAME = "www.example.net"


class Clients:
    """Inside `with`, three threads connect to 127.0.0.1:`port`, a new handshake each time.

    One of them asks several requests over each connection. Whatever goes wrong stands in `failures`.
    """

    def __init__(self, port: int, ca_file: Path) -> None:
        self.port = port
        self.context = ssl.create_default_context(cafile=ca_file)
        self.failures: list[str] = []
        self.connections = 0
        self.requests = 0
        self.serials: set[int] = set()
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(look,), daemon=True)
            for look in (self._handshake, self._handshake, self._ask)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, look: Callable[[], None]) -> None:
        while not self._end.wait(0.005):  # lest the renewals have to wait for a processor
            try:
                look()
            except OSError as error:  # ssl.SSLError and certificates that do not verify are
                self.failures.append(repr(error))
            except Exception as error:  # noqa: BLE001 -- whatever it is, the test tells it
                self.failures.append(f"unforeseen: {error!r}")

    def connect(self) -> ssl.SSLSocket:
        connection = self.context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE), server_hostname=SERVER_NAME
        )
        self.connections += 1
        self.serials.add(serial(connection))
        return connection

    def _handshake(self) -> None:
        self.connect().close()

    def _ask(self) -> None:
        http = HTTPConnection(SERVER_NAME)
        with self.connect() as connection:
            http.sock = connection
            for number in range(5):
                try:
                    http.request("GET", "/", headers={"Host": SERVER_NAME})
                    answer = http.getresponse()
                except (RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
                    # An idle connection may be closed at any time, and the request asked again on another
                    # (RFC 9112 §9.3.1). A new one that is closed without an answer is a failure.
                    if number == 0:
                        raise
                    return
                assert (answer.status, answer.read()) == (200, b"ok\n")
                self.requests += 1
                if answer.will_close:
                    return

    def await_served(self, number: int) -> None:
        """Until this serial number is: a reload is asynchronous, old workers answer for a moment."""
        until(lambda: self.served() == number)

    def served(self) -> int:
        with self.connect() as connection:
            return serial(connection)

    def await_more(self, connections: int = 60) -> None:
        """Until so many more were made, with a request over some of them."""
        before, requests = self.connections, self.requests
        until(lambda: self.connections >= before + connections and self.requests > requests)


def serial(connection: ssl.SSLSocket) -> int:
    der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number
