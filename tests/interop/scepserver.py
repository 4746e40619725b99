"""Debian's scepserver (micromdm), and a forwarder that hides that it takes POST."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.waiting import free_port, listens, until

CHALLENGE = "an-other-secret"


@dataclass(frozen=True)
class ScepServer:
    directory: Path
    url: str

    @property
    def ca(self) -> Path:
        return self.directory / "depot/ca.pem"

    def asked(self) -> list[str]:
        """The operations it was asked for, in order, as its log tells."""
        words = (self.directory / "log").read_text().split()
        return [word.removeprefix("op=") for word in words if word.startswith("op=")]


@contextlib.contextmanager
def scepserver(directory: Path) -> Iterator[ScepServer]:
    port = free_port()
    made = ["scepserver", "ca", "-init", "-depot", "depot", "-keySize", "2048", "-organization", "PeerTest"]
    subprocess.run(made, cwd=directory, check=True, capture_output=True)
    settings = {"-depot": "depot", "-port": str(port), "-challenge": CHALLENGE, "-allowrenew": "0"}
    command = ["scepserver", *(word for pair in settings.items() for word in pair), "-debug"]
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(command, cwd=directory, stdout=log, stderr=log) as process,
    ):
        try:
            until(lambda: listens(port))
            yield ScepServer(directory, f"http://127.0.0.1:{port}/scep")
        finally:
            process.terminate()


@contextlib.contextmanager
def without_post(url: str) -> Iterator[str]:
    """The same server for clients that must use GET: its capabilities without POSTPKIOperation and SCEPStandard."""

    class Forwarder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with urllib.request.urlopen(f"{url}?{self.path.partition('?')[2]}") as answer:
                body, content_type = answer.read(), answer.headers["Content-Type"]
            if "operation=GetCACaps" in self.path:
                body = b"\n".join(word for word in body.split() if word not in (b"POSTPKIOperation", b"SCEPStandard"))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Forwarder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/scep"
        finally:
            server.shutdown()
            thread.join()
