"""Clients of a consumer in its own protocol, with a certificate or without: one connection, and a word each way."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tests.consumers.clients import serial
from tests.waiting import PATIENCE

_MQTT_CONNECT = bytes.fromhex("10 0c 0004 4d515454 04 02 003c 0000")
_MQTT_CONNACK = bytes.fromhex("20 02 00 00")
_POSTGRES_SSL = struct.pack("!ii", 8, 80877103)
_POSTGRES_START = b"user\0postgres\0\0"


def _open_smtp(plain: socket.socket) -> None:
    _expect_smtp(plain, b"220")
    plain.sendall(b"EHLO client.example.net\r\n")
    _expect_smtp(plain, b"250")
    plain.sendall(b"STARTTLS\r\n")
    _expect_smtp(plain, b"220")


def _open_imap(plain: socket.socket) -> None:
    _expect(plain, b"* OK")
    plain.sendall(b"a STARTTLS\r\n")
    _expect(plain, b"a OK")


def _open_postgres(plain: socket.socket) -> None:
    plain.sendall(_POSTGRES_SSL)
    _expect(plain, b"S")


def _speak_http(tls: socket.socket) -> None:
    tls.sendall(b"GET / HTTP/1.1\r\nHost: www.example.net\r\nConnection: close\r\n\r\n")
    _expect(tls, b"HTTP/1.")


def _speak_smtp(tls: socket.socket) -> None:
    tls.sendall(b"EHLO client.example.net\r\n")
    _expect_smtp(tls, b"250")
    tls.sendall(b"QUIT\r\n")
    _expect_smtp(tls, b"221")


def _expect_smtp(connection: socket.socket, code: bytes) -> None:
    """A whole reply: its last line has a blank after the code (RFC 5321 §4.2)."""
    read = b""
    while not read.endswith(b"\n") or read.splitlines()[-1][3:4] != b" ":
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError(f"closed after {read[:100]!r}")
        read += piece
    if not read.startswith(code):
        raise ConnectionError(f"answered {read[:100]!r}")


def _speak_imap(tls: socket.socket) -> None:
    tls.sendall(b"b LOGOUT\r\n")
    _expect(tls, b"* BYE")


def _speak_mqtt(tls: socket.socket) -> None:
    tls.sendall(_MQTT_CONNECT)
    _expect(tls, _MQTT_CONNACK)


def _speak_postgres(tls: socket.socket) -> None:
    tls.sendall(struct.pack("!ii", 8 + len(_POSTGRES_START), 196608) + _POSTGRES_START)
    _expect(tls, b"R" + struct.pack("!ii", 8, 0))  # AuthenticationOk
    tls.sendall(b"X" + struct.pack("!i", 4))


def _expect(connection: socket.socket, wanted: bytes) -> None:
    """An answer that begins so; what follows is read with it, if it is there already."""
    read = b""
    while len(read) < len(wanted):
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError(f"closed after {read[:100]!r}")
        read += piece
    if not read.startswith(wanted):
        raise ConnectionError(f"answered {read[:100]!r}")


Talk = Callable[[socket.socket], None]

# What comes before TLS, and the word each way after the handshake.
PROTOCOLS: dict[str, tuple[Talk, Talk]] = {
    "http": (lambda _: None, _speak_http),
    "smtp": (_open_smtp, _speak_smtp),
    "imap": (_open_imap, _speak_imap),
    "mqtt": (lambda _: None, _speak_mqtt),
    "postgres": (_open_postgres, _speak_postgres),
}


class Peer:
    """Believes the CAs in `trusted` and the server's name; shows the certificate in `identity`, if there is one."""

    def __init__(self, port: int, protocol: str, server_name: str, trusted: Path, identity: Path | None = None) -> None:
        self._port, self._protocol, self._server_name = port, protocol, server_name
        self._context = ssl.create_default_context(cafile=trusted)
        if identity is not None:
            self._context.load_cert_chain(identity)

    def talk(self) -> int:
        """The serial number of the server's certificate. Raises OSError where either side refuses."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE) as plain:
            open_, speak = PROTOCOLS[self._protocol]
            open_(plain)
            with self._context.wrap_socket(plain, server_hostname=self._server_name) as tls:
                speak(tls)
                return serial(tls)

    def is_served(self) -> bool:
        """Whether both sides believe each other. Anything else that goes wrong is raised."""
        try:
            self.talk()
        except (ssl.SSLError, ConnectionError):
            return False
        return True


class AnyPeer(Protocol):
    """As Peer is to who uses it."""

    def talk(self) -> int: ...

    def is_served(self) -> bool: ...


class Load:
    """Inside `with`, three threads talk without a pause, a new handshake each time. What fails stands in `failures`."""

    def __init__(self, peer: AnyPeer) -> None:
        self._peer = peer
        self.handshakes = 0
        self.failures: list[str] = []
        self.serials: set[int] = set()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(3)]

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

    def _run(self) -> None:
        while not self._end.wait(0.01):  # lest the renewals have to wait for a processor
            try:
                self.serials.add(self._peer.talk())
                self.handshakes += 1
            except OSError as error:
                self.failures.append(repr(error))
                time.sleep(0.1)  # as somebody who tries again

    def await_more(self, handshakes: int = 100) -> None:
        wanted, deadline = self.handshakes + handshakes, time.monotonic() + PATIENCE
        while self.handshakes < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
