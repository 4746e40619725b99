"""The lab CA's directory: keys, certificates, the challenge, waiting requests, issued certificates.

    ca.key ca.pem                          the CA; keys are 0600
    ra-signing.key ra-signing.pem          only with an RA
    ra-encryption.key ra-encryption.pem
    root.key root.pem                      only with an intermediate CA
    challenge                              the challenge password, if no other file was given
    pending/TRANSACTION.pem                a request that waits for the operator, and the decision
    issued/NUMBER-SERIAL.pem               a certificate, and its transaction
    revoked/SERIAL                         when it was revoked
    generation-NUMBER/                     the CA's later generations: ca.key, ca.pem and so on
    version                                the version of all this; a lab of 0.1 began without one

The files of pending/ and issued/ are PEM after a few `word: value` lines, so that openssl
reads them too. Transaction IDs are percent-encoded in names and lines: a client may choose any text.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct
from msgspec.structs import replace

from certagent import durable, keys
from certagent.config.key_types import KeyType
from certagent.errors import ConfigError, StateError
from certagent.keys import PrivateKey
from certagent.scep import Signer

VERSION = 1
PUBLIC = durable.Ownership(0o644)
_LONGEST_NAME = 240  # bytes of a file name: common file systems allow 255, and the name gets a suffix


class Waiting(Struct, frozen=True):
    """A request that waits for the operator. `decision`: `waiting`, `approved` or `rejected`."""

    transaction_id: str
    kind: str
    requester: str
    csr: x509.CertificateSigningRequest
    decision: str = "waiting"


class Record(Struct, frozen=True):
    """An issued certificate. `kind`: `enrollment`, `introduction`, `renewal` or `rollover`.

    `requester`: hex SHA-256 of the public key that signed the request; this may not be the certificate's key.
    """

    transaction_id: str
    kind: str
    requester: str
    certificate: x509.Certificate

    @property
    def serial(self) -> int:
        return self.certificate.serial_number

    @property
    def subject(self) -> str:
        return self.certificate.subject.rfc4514_string()

    @property
    def not_before(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.certificate.not_valid_after_utc


class Store:
    """The directory. Raises StateError for a file that it cannot read; never starts again from nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pending = directory / "pending"
        self._issued = directory / "issued"
        self._revoked = directory / "revoked"
        self._version = directory / "version"
        self._number = 0
        if self._version.exists():
            text = _read(self._version).decode("ascii", "replace").strip()
            if not re.fullmatch(r"[0-9]{1,9}", text):
                raise _damaged(self._version)
            durable.check_version(self._version, int(text), VERSION)

    def create(self) -> None:
        """Make the directory if it is missing. Raises ConfigError."""
        try:
            durable.make_directory(self._pending)
            durable.make_directory(self._issued)
            durable.make_directory(self._revoked)
            if not self._version.exists():
                durable.write(self._version, f"{VERSION}\n".encode(), PUBLIC)
        except OSError as error:
            raise ConfigError(
                f"the lab cannot be kept in {self.directory}: {error.strerror}", "choose another directory with --dir"
            ) from None

    def exists(self) -> bool:
        return self._pending.is_dir()

    def pair(
        self, role: str, certify: Callable[[PrivateKey], x509.Certificate], key_type: KeyType = KeyType.RSA_2048
    ) -> Signer:
        """The key and certificate of `role`; made if missing. A key without a certificate is kept and gets one."""
        key_path, certificate_path = self._path(role, "key"), self._path(role, "pem")
        if key_path.exists():
            key = keys.load_private(_read(key_path), None, str(key_path))
        elif certificate_path.exists():
            raise StateError(f"{certificate_path} has lost its key", f"restore {key_path}, or use a new --dir")
        else:
            key = keys.generate(key_type)
            durable.write(key_path, keys.to_pem(key))
        if not certificate_path.exists():
            durable.write(certificate_path, certify(key).public_bytes(Encoding.PEM), PUBLIC)
        certificate = _parse(certificate_path)[1]
        if not isinstance(certificate, x509.Certificate) or not keys.match(key, certificate.public_key()):
            raise StateError(f"{certificate_path} does not belong to {key_path}", "use a new --dir")
        return Signer(key, certificate)

    def has(self, role: str) -> bool:
        return self._path(role, "key").exists()

    @property
    def challenge_file(self) -> Path:
        return self.directory / "challenge"

    def challenge(self) -> str:
        """The challenge password of this directory, made at its first use."""
        if not self.challenge_file.exists():
            # Hexadecimal fits into a PrintableString, the only type that the oldest clients can send.
            durable.write(self.challenge_file, secrets.token_hex(16).encode() + b"\n")
        return read_challenge(self.challenge_file)

    def waiting(self, transaction_id: str) -> Waiting | None:
        path = self._pending_path(transaction_id)
        return _waiting(path) if path.exists() else None

    def all_waiting(self) -> list[Waiting]:
        return [_waiting(path) for path in sorted(self._pending.glob("*.pem"))]

    def put_waiting(self, waiting: Waiting) -> None:
        head = {"kind": waiting.kind, "requester": waiting.requester, "decision": waiting.decision}
        durable.write(self._pending_path(waiting.transaction_id), _lines(head) + waiting.csr.public_bytes(Encoding.PEM))

    def decide(self, waiting: Waiting, decision: str) -> None:
        """Record the operator's decision; a running lab reads it when the client polls."""
        self.put_waiting(replace(waiting, decision=decision))

    def put_issued(self, record: Record) -> None:
        """Store an issued certificate, and remove its waiting request."""
        self._number += 1
        head = {"transaction": file_name(record.transaction_id), "kind": record.kind, "requester": record.requester}
        path = self._issued / f"{self._number:06}-{record.serial:x}.pem"
        durable.write(path, _lines(head) + record.certificate.public_bytes(Encoding.PEM), PUBLIC)
        self.remove_waiting(record.transaction_id)

    def remove_waiting(self, transaction_id: str) -> None:
        path = self._pending_path(transaction_id)
        if path.exists():  # with automatic approval nothing ever waits, and syncing a directory is slow
            durable.remove(path)

    def all_issued(self) -> list[Record]:
        """Every issued certificate, oldest first."""
        paths = sorted(self._issued.glob("*.pem"))
        if paths:
            self._number = int(paths[-1].name.partition("-")[0])
        return [_record(path) for path in paths]

    def revoke(self, serial: int, now: datetime) -> None:
        """Revoke it as of `now`; a running lab reads this whenever it matters. An earlier revocation stays as is."""
        path = self._revoked / f"{serial:x}"
        if not path.exists():
            durable.write(path, _lines({"since": now.isoformat(timespec="seconds")}), PUBLIC)

    def revoked(self) -> dict[int, datetime]:
        """Serial number → when it was revoked."""
        return {int(path.name, 16): _since(path) for path in sorted(self._revoked.glob("[0-9a-f]*"))}

    def _pending_path(self, transaction_id: str) -> Path:
        return self._pending / f"{file_name(transaction_id)}.pem"

    def _path(self, role: str, suffix: str) -> Path:
        return self.directory / f"{role}.{suffix}"


def read_challenge(path: Path) -> str:
    """The challenge password in a file; one trailing newline is removed. Raises ConfigError."""
    try:
        text = path.read_text("utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"the challenge file {path} cannot be read", "give a readable text file") from None
    if not text:
        raise ConfigError(f"the challenge file {path} is empty", "write the challenge password into it")
    return text


def file_name(transaction_id: str) -> str:
    """The transaction ID as a file name without suffix: percent-encoded, never hidden, never a path."""
    return quote(transaction_id, safe="").replace(".", "%2E")


def is_keepable(transaction_id: str) -> bool:
    """Whether the transaction ID, encoded, can be a file name."""
    return 0 < len(file_name(transaction_id)) <= _LONGEST_NAME


def _waiting(path: Path) -> Waiting:
    head, csr = _parse(path)
    known = head.get("decision") in ("waiting", "approved", "rejected") and {"kind", "requester"} <= head.keys()
    if not known or not isinstance(csr, x509.CertificateSigningRequest):
        raise _damaged(path)
    return Waiting(unquote(path.stem), head["kind"], head["requester"], csr, head["decision"])


def _record(path: Path) -> Record:
    head, certificate = _parse(path)
    if not {"transaction", "kind", "requester"} <= head.keys() or not isinstance(certificate, x509.Certificate):
        raise _damaged(path)
    return Record(unquote(head["transaction"]), head["kind"], head["requester"], certificate)


def _since(path: Path) -> datetime:
    try:
        return datetime.fromisoformat(_read(path).decode("ascii").strip().removeprefix("since: "))
    except ValueError:
        raise _damaged(path) from None


def _lines(head: dict[str, str]) -> bytes:
    return "".join(f"{word}: {value}\n" for word, value in head.items()).encode("ascii")


def _parse(path: Path) -> tuple[dict[str, str], x509.Certificate | x509.CertificateSigningRequest]:
    """The lines before the PEM block, and the content of the block."""
    text, begin, block = _read(path).partition(b"-----BEGIN ")
    head = dict(re.findall(r"^([a-z]+): (\S+)$", text.decode("ascii", "replace"), re.MULTILINE))
    try:
        if block.startswith(b"CERTIFICATE REQUEST-----"):
            return head, x509.load_pem_x509_csr(begin + block)
        return head, x509.load_pem_x509_certificate(begin + block)
    except ValueError:
        raise _damaged(path) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}", "does the lab belong to another user?") from None


def _damaged(path: Path) -> StateError:
    return StateError(f"{path} is damaged", "remove the file, or use a new --dir")
