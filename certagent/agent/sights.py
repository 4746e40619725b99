"""What the agent itself sees of the keystores: memory, files and digests. It opens and changes no keystore."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from certagent import state
from certagent.agent.schedule import Look
from certagent.config.served import ServedAuthority, ServedKeystore
from certagent.errors import StateError
from certagent.host import Host, this_host
from certagent.state_directory import ROLLOVER, STATE, TRANSACTION, StateDirectory


class Sights:
    """Looks at keystores one by one; `begin` looks once at what all keystores of a sweep share."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = StateDirectory(state_dir)
        self._keystores = str(self._state_dir.keystores)
        self._authorities: list[str] = []
        self._host = Host()

    def begin(self, authorities: Iterable[ServedAuthority]) -> None:
        self._authorities = [state.signature_of(self._state_dir.authority(each.name)) for each in authorities]
        self._host = this_host()

    def of(self, name: str, served: ServedKeystore) -> Look | None:
        """None if only a worker can see how it is."""
        if not served.digest:
            return None
        place = f"{self._keystores}/{name}"
        try:
            known = state.read(f"{place}/{STATE}")
            kept_at = datetime.fromtimestamp(os.stat(f"{place}/{STATE}").st_mtime, UTC)
        except (StateError, OSError, ValueError, OverflowError):
            return None
        if known is None:
            return None
        begun = os.path.lexists(f"{place}/{TRANSACTION}")
        return Look(
            known=known,
            kept_at=kept_at,
            definition=served.digest.hex(),
            authority=self._authorities[served.authority],
            watched=state.watch(known.watched),
            open=begun or os.path.lexists(f"{place}/{ROLLOVER}"),
            begun=begun,
            host=self._host,
        )
