"""The certificates a lab CA has issued, found by what clients refer to them with. The caller holds the lock."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent.lab.store import Record, Store


class Issued:
    def __init__(self, store: Store) -> None:
        """Read the existing ones. Raises StateError."""
        self._store = store
        self._records: list[Record] = []
        self._by_transaction: dict[str, Record] = {}
        self._by_fingerprint: dict[bytes, Record] = {}
        for record in store.all_issued():
            self._remember(record)

    def all(self) -> tuple[Record, ...]:
        """Oldest first."""
        return tuple(self._records)

    def in_transaction(self, transaction_id: str) -> Record | None:
        """The newest one issued under this transaction ID."""
        return self._by_transaction.get(transaction_id)

    def of(self, certificate: x509.Certificate) -> Record | None:
        """The record of this certificate; None if it is not one of ours."""
        return self._by_fingerprint.get(_fingerprint(certificate))

    def with_serial(self, serial: int) -> Record | None:
        return next((record for record in self._records if record.serial == serial), None)

    def add(self, record: Record) -> None:
        """Durable on return."""
        self._store.put_issued(record)
        self._remember(record)

    def _remember(self, record: Record) -> None:
        self._records.append(record)
        self._by_transaction[record.transaction_id] = record
        self._by_fingerprint[_fingerprint(record.certificate)] = record


def _fingerprint(certificate: x509.Certificate) -> bytes:
    return certificate.fingerprint(hashes.SHA256())
