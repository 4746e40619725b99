"""What a consumer makes of the files in place: whether the pair works, as OpenSSL or the token has it."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.torture.device import Device

NAME = "web.example.net"
PIN, TOKEN, MODULE = "1234", "vpn", "/usr/lib/softhsm/libsofthsm2.so"

# Says what is wrong with the pair in place, empty if nothing is; None if there is no identity.
Consumer = Callable[[Device], str | None]


def two_files(device: Device, name: str = "web") -> str | None:
    key, certificate = device.path(f"files/{name}.key"), device.path(f"files/{name}.pem")
    if not (key.exists() or certificate.exists()):
        return None
    return _handshake(certificate, key, device)


def moved(device: Device) -> str | None:
    """The identity that was asked for with another's signature; that one has to work all the time."""
    wrong = two_files(device, "old")
    return wrong if wrong != "" else two_files(device)


def one_file(device: Device) -> str | None:
    file = device.path("files/web.pem")
    return _handshake(file, file, device) if file.exists() else None


def with_directory(device: Device) -> str | None:
    """The same of two files; and who looks for the CA in `cas` finds it."""
    wrong, certificate = two_files(device), device.path("files/web.pem")
    where = ["-no-CAfile", "-no-CAstore", "-CApath", str(device.path("files/cas"))]
    done = subprocess.run(["openssl", "verify", *where, str(certificate)], capture_output=True, check=False)
    return wrong or (wrong if done.returncode == 0 else done.stderr.decode())


def pkcs12(device: Device) -> str | None:
    """The file that `web.pem` names is a PKCS#12 file here."""
    file = device.path("files/web.pem")
    if not file.exists():
        return None
    argv = ["openssl", "pkcs12", "-in", str(file), "-nodes", "-passin", f"file:{device.path('password')}"]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode != 0:
        return done.stderr.decode()
    with tempfile.NamedTemporaryFile(dir=device.beside) as pem:
        pem.write(done.stdout)
        pem.flush()
        return _handshake(Path(pem.name), Path(pem.name), device)


def token(device: Device) -> str | None:
    """The key that `uri_file` names signs in the token, and the certificate verifies that."""
    uri, certificate = device.path("files/web.uri"), device.path("files/web.pem")
    if not (uri.exists() or certificate.exists()):
        return None
    try:
        [key_id] = re.findall(r"id=([%0-9a-f]+)", uri.read_text())
        public = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    except (OSError, ValueError) as error:
        return str(error)
    words = ["--login", "--pin", PIN, "--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", key_id.replace("%", "")]
    argv = ["pkcs11-tool", "--module", MODULE, "--token-label", TOKEN, *words]
    done = subprocess.run(argv, input=b"a pair?", capture_output=True, env=os.environ, check=False)
    try:
        assert isinstance(public, rsa.RSAPublicKey)
        public.verify(done.stdout[-public.key_size // 8 :], b"a pair?", padding.PKCS1v15(), hashes.SHA256())
    except Exception as error:  # noqa: BLE001 -- InvalidSignature, and whatever else there may be
        return f"the token does not sign for the certificate: {error!r} {done.stderr.decode()}"
    return ""


def _handshake(certificate: Path, key: Path, device: Device) -> str:
    """A TLS handshake in memory, by a server with this pair and a client that trusts the CA and its successors."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        server.load_cert_chain(certificate, key)
        client.load_verify_locations(cadata=device.ca.certificates())
        ends = (
            client.wrap_bio(to_client, to_server, server_hostname=NAME),
            server.wrap_bio(to_server, to_client, server_side=True),
        )
        for end in (*ends, *ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except OSError as error:  # ssl.SSLError is one
        return f"{certificate.name}: {error}"
    return "" if ends[0].version() and ends[1].version() else f"{certificate.name}: no handshake"


def certificate_digest(device: Device) -> str:
    """SHA-256 of the file consumers read the certificate from; empty without one."""
    file = device.path("files/web.pem")
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""
