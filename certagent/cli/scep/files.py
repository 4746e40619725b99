"""Files of `certagent scep`: PEM or DER in and out, `-` for stdin and stdout; and the capture of an exchange."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cryptography
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding

from certagent import __version__, durable, forms, keys, scep
from certagent import certificate as facts
from certagent.errors import CertagentError, ConfigError, KeystoreError

STANDARD = "-"
_PUBLIC = durable.Ownership(0o644)
_PEM = b"-----BEGIN "


def read(name: str) -> bytes:
    """A whole file, or stdin for `-`. Raises ConfigError."""
    try:
        return sys.stdin.buffer.read() if name == STANDARD else Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}", "name a file that can be read, or - for stdin") from None


def certificates(name: str) -> tuple[x509.Certificate, ...]:
    """Every certificate in a PEM file, a DER file or a PKCS#7 bundle; at least one. Raises ConfigError."""
    data = read(name)
    try:
        found = facts.load_pem(data, name) if _PEM in data else scep.read_ca_certificates(data)
    except CertagentError:
        found = ()
    if not found:
        what, hint = forms.told(data, name, otherwise="certagent reads PEM, DER and PKCS#7")
        raise ConfigError(f"{name} holds no certificate that can be read{what}", hint)
    return found


def certificate(name: str) -> x509.Certificate:
    """The first certificate in a file: in a chain, the leaf. Raises ConfigError."""
    return certificates(name)[0]


def request(name: str) -> x509.CertificateSigningRequest:
    """A PKCS#10 request whose own signature is valid. Raises ConfigError."""
    data = read(name)
    try:
        found = x509.load_pem_x509_csr(data) if _PEM in data else x509.load_der_x509_csr(data)
        is_right = found.is_signature_valid
        _ = (found.subject, found.extensions)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise ConfigError(
            f"{name} holds no certificate request that can be read", "certagent reads PEM and DER"
        ) from None
    if not is_right:
        raise ConfigError(f"the request in {name} is not signed by its own key", "make it again")
    return found


def private_key(name: str) -> keys.PrivateKey:
    """An unencrypted key, PEM or DER. Raises ConfigError or KeystoreError."""
    data = read(name)
    try:
        if _PEM not in data:
            loaded = serialization.load_der_private_key(data, None)
            data = loaded.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return keys.load_private(data, None, name)
    except KeystoreError as error:
        raise KeystoreError(str(error), f"give {keys.KINDS} without a passphrase, PEM or DER") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeystoreError(f"{name} holds no private key", f"give {keys.KINDS}, PEM or DER") from None


def write_key(name: str, key: keys.PrivateKey) -> None:
    """A new key file, PEM and 0600. The caller knows that it does not exist yet. Raises KeystoreError."""
    try:
        durable.write(Path(name), keys.to_pem(key))
    except OSError as error:
        raise KeystoreError(f"{name}: {error.strerror}", "the key must be saved before it is used") from None


def write(name: str, content: bytes) -> None:
    """Replace a file that everybody may read, durably; or write to stdout, or to something that is not a regular file.

    Raises KeystoreError.
    """
    path = Path(name)
    try:
        if name == STANDARD:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        elif path.exists() and not path.is_file():  # /dev/null, a FIFO: never rename over these
            path.write_bytes(content)
        else:
            durable.write(path.resolve(), content, _PUBLIC)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise KeystoreError(f"{name}: {error.strerror}", "the answer was not written") from None


def encoded(found: Sequence[x509.Certificate], *, der: bool) -> bytes:
    """PEM; or DER, which for several certificates is a PKCS#7 bundle."""
    if not der:
        return facts.to_pem(found)
    return facts.to_der(found[0]) if len(found) == 1 else scep.degenerate(found)


# ── capture ───────────────────────────────────────────────────────────────────────────────────────

_ABOUT = """\
What certagent {version} and a SCEP server said to each other, for a bug report.
(cryptography {cryptography}, {openssl})

NN-OPERATION.request.der    the message of a PKIOperation, as it was sent
NN-OPERATION.reply.der      the answer: ASN.1
NN-OPERATION.reply.txt      the answer: anything else, the words of GetCACaps for one
...-HTTP500                 the answer had this HTTP status, not 200

A request's content (the CSR with its challenge password) is encrypted to the CA, a reply's (the certificate) to the
key that asked. No private key and nothing decrypted is here. The certificates with their names are: look at them
before you publish them.

To look at a message, at who signed it and for what transaction, at the certificates of GetCACert:

    openssl cms -cmsout -print -noout -inform DER -in NN-PKIOperation.reply.der
    openssl asn1parse -inform DER -in NN-PKIOperation.request.der
    openssl pkcs7 -print_certs -inform DER -in NN-GetCACert.reply.der     (a bundle)
    openssl x509 -text -noout -inform DER -in NN-GetCACert.reply.der      (one certificate)
"""


class Capture:
    """Saves every exchange to `directory`, 0600 in 0700, as the transport reports it. It must be new or empty."""

    def __init__(self, directory: Path) -> None:
        """Raises ConfigError."""
        self._directory = directory
        self._number = 0
        try:
            if directory.exists() and any(directory.iterdir()):
                raise ConfigError(f"--capture: {directory} is not empty", "name a directory that does not exist yet")
            durable.make_directory(directory)
            directory.chmod(0o700)
        except OSError as error:
            raise ConfigError(f"--capture: {directory}: {error.strerror}", "name a directory to be made") from None
        about = _ABOUT.format(version=__version__, cryptography=cryptography.__version__, openssl=_openssl_version())
        self._keep("README", about.encode())

    def __call__(self, operation: str, message: bytes | None, answer: scep.Answer) -> None:
        self._number += 1
        name = f"{self._number:02}-{operation}"
        if message is not None:
            self._keep(f"{name}.request.der", message)
        status = "" if answer.status == 200 else f"-HTTP{answer.status}"
        kind = "der" if answer.body.startswith(b"\x30") else "txt"
        self._keep(f"{name}.reply{status}.{kind}", answer.body)

    def _keep(self, name: str, content: bytes) -> None:
        try:
            durable.write(self._directory / name, content)
        except OSError as error:
            raise KeystoreError(f"--capture: {self._directory / name}: {error.strerror}", "see the directory") from None


def _openssl_version() -> str:
    from cryptography.hazmat.backends.openssl import backend  # noqa: PLC0415 -- its own long chain of imports

    return backend.openssl_version_text()
