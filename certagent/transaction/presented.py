"""The certificate that a TLS server presents: only a handshake; nothing is trusted, no data is sent.

The certificate counts once the server has proven that it holds the key. What happens after that, such as an alert
because the server wants a client certificate, does not matter.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import time

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from certagent.config.parts import Probe
from certagent.text import printable

_LIMIT = 5.0  # seconds for the whole exchange
_MOST = 64 * 1024  # bytes that a server may send before TLS
_CHUNK = 16 * 1024
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's own message, before anything else


def presented(probe: Probe) -> bytes:
    """The certificate (DER) that the server at `probe.tls` presents.

    Raises OSError, with words for a person, if none is presented; ValueError for an invalid name or port.
    """
    host, _, port = (probe.tls or "").rpartition(":")
    deadline = time.monotonic() + _LIMIT
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_LIMIT) as connection:
        channel = _Channel(connection, deadline)
        match probe.starttls:
            case "smtp":
                _ask_smtp(channel)
            case "imap":
                _ask_imap(channel)
            case "postgres":
                _ask_postgres(channel)
        return _handshake(channel, probe.server_name)


class _Channel:
    """A connection with a deadline, and with lines for servers that speak before TLS."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._pending = b""
        self._left = _MOST

    def send(self, data: bytes) -> None:
        self._connection.settimeout(self._time_left())
        self._connection.sendall(data)

    def receive(self) -> bytes:
        """What has arrived; raises ConnectionError at the end."""
        self._connection.settimeout(self._time_left())
        data = self._connection.recv(_CHUNK)
        if not data:
            raise ConnectionError("it closed the connection")
        return data

    def line(self) -> str:
        while b"\n" not in self._pending:
            self._pending += self.receive()
            if len(self._pending) > self._left:
                raise ConnectionError("it says too much before TLS")
        line, _, self._pending = self._pending.partition(b"\n")
        self._left -= len(line) + 1
        return line.decode("utf-8", "replace").rstrip("\r")

    def address(self) -> str:
        """Our own address, as an SMTP client without a name gives it (RFC 5321 §4.1.3)."""
        own = ipaddress.ip_address(self._connection.getsockname()[0])
        return f"[IPv6:{own}]" if own.version == 6 else f"[{own}]"

    def _time_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("it takes too long")
        return left


def _ask_smtp(channel: _Channel) -> None:
    """RFC 3207."""
    _expect_smtp(channel, "220")
    channel.send(f"EHLO {channel.address()}\r\n".encode())
    _expect_smtp(channel, "250")
    channel.send(b"STARTTLS\r\n")
    _expect_smtp(channel, "220")


def _expect_smtp(channel: _Channel, code: str) -> None:
    while (line := channel.line())[3:4] == "-":
        pass
    if not line.startswith(code):
        raise ConnectionError(f"it does not start TLS: {printable(line, 200)}")


def _ask_imap(channel: _Channel) -> None:
    """RFC 9051 §6.2.1."""
    greeting = channel.line()
    if not greeting.upper().startswith("* OK"):
        raise ConnectionError(f"it does not start TLS: {printable(greeting, 200)}")
    channel.send(b"a STARTTLS\r\n")
    while not (line := channel.line()).startswith("a "):
        pass
    if not line.upper().startswith("A OK"):
        raise ConnectionError(f"it does not start TLS: {printable(line, 200)}")


def _ask_postgres(channel: _Channel) -> None:
    """The SSLRequest message of PostgreSQL's protocol."""
    channel.send(_SSL_REQUEST)
    if channel.receive()[:1] != b"S":
        raise ConnectionError("it does not start TLS: is ssl on?")


def _handshake(channel: _Channel, server_name: str | None) -> bytes:
    tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    tls.set_connect_state()
    if server_name is not None and not _is_address(server_name):  # RFC 6066 §3: names only
        tls.set_tlsext_host_name(_ascii(server_name))
    proven: bytes | None = None
    while True:
        try:
            tls.do_handshake()
        except SSL.WantReadError:
            ours = _to_send(tls)
            # If we have an answer to send, the server's own proof was right; at most it asks for our certificate.
            proven = _certificate(tls) if ours else proven
        except SSL.Error as error:
            if proven is not None:
                return proven
            raise ConnectionError(f"the TLS handshake failed: {_reason(error)}") from None
        else:
            certificate = _certificate(tls)
            if certificate is None:
                raise ConnectionError("it presents no certificate")
            return certificate
        try:
            channel.send(ours)
            tls.bio_write(channel.receive())
        except OSError:
            if proven is not None:
                return proven
            raise


def _to_send(tls: SSL.Connection) -> bytes:
    made = b""
    with contextlib.suppress(SSL.WantReadError):  # there is no more
        while True:
            made += tls.bio_read(_CHUNK)
    return made


def _certificate(tls: SSL.Connection) -> bytes | None:
    found = tls.get_peer_certificate(as_cryptography=True)
    return found.public_bytes(Encoding.DER) if found is not None else None


def _reason(error: SSL.Error) -> str:
    queue = error.args[0] if error.args else ()
    return next((str(each[-1]) for each in reversed(queue)), "") or "no reason given"


def _ascii(name: str) -> bytes:
    if not name:
        raise ValueError("server_name is empty")
    return name.encode("idna")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
