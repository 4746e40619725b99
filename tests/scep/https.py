"""An HTTPS server on loopback, and certificates for it: tidy ones, or with something missing."""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent import keys
from certagent.certificate import to_pem
from certagent.config.key_types import KeyType
from certagent.keys import PrivateKey
from certagent.scep import Transport

from .parts import name

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Holder:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey


@dataclass(frozen=True)
class Shape:
    """What a certificate has; a tidy one has all that RFC 5280 asks for."""

    key_identifiers: bool = True  # subject's and authority's
    usage: bool = True
    critical: bool = True  # basicConstraints
    addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    path_length: int | None = None
    ended: bool = False


TIDY = Shape()


def certify(
    subject: str, issuer: Holder | None = None, *, ca: bool, key: PrivateKey | None = None, shape: Shape = TIDY
) -> Holder:
    """Self-signed without an `issuer`."""
    own = key or keys.generate(KeyType.EC_P256)
    signer = issuer.key if issuer else own
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name(subject)).public_key(own.public_key())
    builder = builder.issuer_name(issuer.certificate.subject if issuer else name(subject))
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - 60 * MINUTE)
    builder = builder.not_valid_after(now + (-30 if shape.ended else 60) * MINUTE)
    builder = builder.add_extension(x509.BasicConstraints(ca, shape.path_length), critical=shape.critical)
    for extension in _extensions(own, signer, ca=ca, shape=shape):
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.KeyUsage))
    return Holder(builder.sign(signer, hashes.SHA256()), own)


def _extensions(own: PrivateKey, signer: PrivateKey, *, ca: bool, shape: Shape) -> Iterator[x509.ExtensionType]:
    if shape.key_identifiers:
        yield x509.SubjectKeyIdentifier.from_public_key(own.public_key())
        yield x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    if shape.usage:
        words = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
        words |= {"encipher_only": False, "decipher_only": False}
        yield x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **words)
    if not ca:
        yield x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(each)) for each in shape.addresses])


@dataclass(frozen=True)
class Files:
    """PEM files of a TLS root, a server's certificate, a client's, and a root of somebody else."""

    directory: Path

    def __post_init__(self) -> None:
        root, other = (certify(f"CN={who}", ca=True) for who in ("root", "other"))
        server, client = (certify(f"CN={who}", root, ca=False) for who in ("server", "client"))
        for who, holder in {"root": root, "other": other, "server": server, "client": client}.items():
            self[f"{who}.pem"].write_bytes(to_pem([holder.certificate]))
            self[f"{who}.key"].write_bytes(keys.to_pem(holder.key))
        self["locked.key"].write_bytes(keys.to_pem(client.key, b"secret"))

    def __getitem__(self, file: str) -> Path:
        return self.directory / file

    @property
    def client(self) -> tuple[Path, Path]:
        return self["client.pem"], self["client.key"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.seen.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- as the base has it
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    body = b"yes"

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), Handler)
        self.seen: list[str] = []
        if tls is not None:
            # The handshake on the connection's own thread: one that fails must not end the server.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{shown}:{self.server_port}/scep"

    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake that fails is what some tests are about."""


@contextmanager
def running(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tls_server(
    files: Files,
    *,
    host: str = "127.0.0.1",
    wants_client: bool = False,
    later: bool = False,
    version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> Server:
    """`wants_client`: it asks for a certificate in the handshake; `later`: it may ask for one after it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    context.load_cert_chain(files["server.pem"], files["server.key"])
    context.post_handshake_auth = later
    if wants_client or later:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(files["root.pem"])
    return Server(host, context)


def transport(
    url: str, ca_file: Path | None = None, client: tuple[Path, Path] | None = None, proxy: str | None = None
) -> Transport:
    return Transport(url, timeout=timedelta(seconds=5), ca_file=ca_file, client_certificate=client, proxy=proxy)
