"""A keystore's own objects in its token: make them, keep them apart from everybody else's, destroy them.

Each key's ID is recorded before the key is made (`own_keys`), so that certagent finds what a killed run left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from cryptography import x509

from certagent.config.key_types import KeyType
from certagent.keystore.token import objects
from certagent.keystore.token.own_keys import Entry, OwnKeys
from certagent.keystore.token.session import Token
from certagent.moments import later


class OwnObjects:
    """The keys and certificates of one keystore in a token, all under the same label. IDs are hex digits.

    Every method may raise KeystoreError or StateError.
    """

    def __init__(self, token: Token, own_keys: OwnKeys, label: str) -> None:
        self._token = token
        self._keys = own_keys
        self._label = label

    def ids(self) -> set[str]:
        return set(self._keys.read())

    def make_key(self, key_id: str, key_type: KeyType) -> None:
        self._keys.record(key_id, Entry())
        with self._making():
            objects.generate(self._token, bytes.fromhex(key_id), self._label, key_type)

    def put_certificate(self, key_id: str, certificate: x509.Certificate) -> None:
        """Store the certificate beside its key, in place of an older one."""
        with self._making():
            self._token.use(
                "keep the certificate beside its key",
                lambda session: objects.put_certificate(session, bytes.fromhex(key_id), self._label, certificate),
            )

    def sweep(self, in_use: Collection[str], shadows: Collection[str]) -> None:
        """Destroy keys that no consumer can know, except those of `shadows`. Mark those `in_use` as used."""
        for key_id, entry in self._keys.read().items():
            if key_id in in_use and not entry.used:
                self._keys.record(key_id, Entry(used=True))
        orphans = [key_id for key_id, entry in self._keys.read().items() if not entry.used and key_id not in shadows]
        self.destroy(orphans)
        if orphans and not shadows:
            self._sweep_unfinished()

    def retire(self, active: str, now: datetime, retire_after: timedelta) -> list[str]:
        """Mark the keys that are now out of use; return those that have been out of use for `retire_after`."""
        over = []
        for key_id, entry in self._keys.read().items():
            if key_id == active:
                self._keys.record(key_id, Entry(used=True))
            # A time in the future was recorded while the clock was wrong.
            elif entry.used and (entry.retired_at is None or entry.retired_at > now):
                self._keys.record(key_id, Entry(used=True, retired_at=now))
            elif entry.retired_at is not None and later(entry.retired_at, retire_after) <= now:
                over.append(key_id)
        return over

    def destroy(self, key_ids: Collection[str]) -> None:
        if not key_ids:
            return
        with self._token.alone():
            for key_id in key_ids:
                objects.destroy(self._token, bytes.fromhex(key_id))
        self._keys.forget(key_ids)

    @contextmanager
    def _making(self) -> Iterator[None]:
        """Wraps the making of objects: if that is interrupted, a later sweep removes what is left."""
        self._sweep_unfinished()
        self._keys.mark(making=True)
        with self._token.alone():
            yield
        self._keys.mark(making=False)

    def _sweep_unfinished(self) -> None:
        if self._keys.making:
            with self._token.alone():
                objects.sweep_unfinished(self._token)
            self._keys.mark(making=False)
