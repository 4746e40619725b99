"""The lab CA's web server: from the standard library, one thread per request, no connection kept alive."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.serialization import Encoding

from certagent.errors import CertagentError, ConfigError
from certagent.lab import Call, HttpAnswer, LabCA
from certagent.text import printable

log = logging.getLogger("certagent.lab")

_LONGEST_BODY = 1 << 20  # bytes; requests are a few thousand


class LabServer:
    """A lab CA on an address. Listens from the start; answers between `start` and `stop`, or inside `with`."""

    def __init__(self, ca: LabCA, host: str, port: int) -> None:
        self.ca = ca
        self._http = _HttpServer(ca, host, port)
        ca.crl_url = f"{self._address}/crl"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="lab", daemon=True)

    @property
    def url(self) -> str:
        return f"{self._address}/scep"

    @property
    def _address(self) -> str:
        host, port = self._http.server_address[:2]
        return f"http://{f'[{host!s}]' if ':' in str(host) else host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close the socket."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def serve(ca: LabCA, host: str = "127.0.0.1", port: int = 0) -> LabServer:
    """Bind the CA to an address, port 0 for any free one. Raises ConfigError if that fails."""
    try:
        return LabServer(ca, host, port)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error}", "choose another --port (0: any free one) or --listen"
        ) from None


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # many devices may connect at once; the library's default of 5 would turn some away

    def __init__(self, ca: LabCA, host: str, port: int) -> None:
        self.ca = ca
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        # A client that went away gets one line; a bug of the lab's gets a traceback.
        log.error("%s: the exchange failed: %r", client_address[0], error, exc_info=not isinstance(error, OSError))


class _Handler(BaseHTTPRequestHandler):
    server: _HttpServer
    protocol_version = "HTTP/1.1"
    server_version = "certagent-lab"
    sys_version = ""
    timeout = 30  # seconds without a byte

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        self._answer(Call(_first(query, "operation"), _first(query, "message")))

    def do_POST(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._send(HttpAnswer(411, "text/plain", b"a Content-Length is needed\n", "no Content-Length"), "POST")
        elif int(length) > _LONGEST_BODY:
            self._send(HttpAnswer(413, "text/plain", b"too long\n", "too long"), "POST")
        else:
            self._answer(Call(_first(query, "operation"), self.rfile.read(int(length))))

    def _answer(self, call: Call) -> None:
        match urlsplit(self.path).path:
            case "/scep":
                self._send(self._respond(lambda ca: ca.respond_http(call)), call.operation)
            case "/crl":
                self._send(self._respond(_crl), "CRL")
            case path if path.startswith("/crl/"):
                self._send(self._respond(lambda ca: _crl(ca, path.removeprefix("/crl/"))), "CRL")
            case _:
                self._send(HttpAnswer(404, "text/plain", b"SCEP is at /scep\n", "wrong path"), call.operation)

    def _respond(self, answer: Callable[[LabCA], HttpAnswer]) -> HttpAnswer:
        try:
            return answer(self.server.ca)
        except (CertagentError, OSError) as error:  # a damaged file, a full disk: nothing was issued
            return HttpAnswer(500, "text/plain", b"the lab is out of order\n", f"failed: {error}")

    def _send(self, answer: HttpAnswer, operation: str) -> None:
        line = f"{self.server.ca.clock():%Y-%m-%dT%H:%M:%SZ} {operation} {answer.note}"
        # A client may send anything; in the log it must stay one line, and not control a terminal.
        log.info("%s", printable(line))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        # After a lab is stopped and started again, old connections must not live on.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Silent: `_send` logs what a SCEP user wants to read."""


def _crl(ca: LabCA, name: str = "") -> HttpAnswer:
    """The CRL as RFC 5280 §4.2.1.13 requires it at an HTTP URI."""
    crl = ca.crl(name)
    return HttpAnswer(200, "application/pkix-crl", crl.public_bytes(Encoding.DER), f"{len(crl)} revoked")


def _first(query: dict[str, list[str]], name: str) -> str:
    return query.get(name, [""])[0]
