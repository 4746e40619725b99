"""What the agent itself sees of the keystores: memory, files and digests. No keystore is opened, nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from certagent import state
from certagent.agent.schedule import Look
from certagent.errors import StateError
from certagent.host import Host, this_host
from certagent.state_directory import ROLLOVER, STATE, TRANSACTION, StateDirectory


class Sights:
    """One look at each; what all of them share is looked at once for all of a sweep, in `begin`."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = StateDirectory(state_dir)
        self._keystores = str(self._state_dir.keystores)
        self._digests: Mapping[str, str] = {}
        self._uses: Mapping[str, str] = {}
        self._authorities: dict[str, str] = {}
        self._host = Host()

    def adopt(self, digests: Mapping[str, str], uses: Mapping[str, str]) -> None:
        """`digests` of the definitions, of those keystores that files tell all of; `uses`: each one's authority."""
        self._digests, self._uses = digests, uses

    def begin(self) -> None:
        names = set(self._uses.values())
        self._authorities = {name: state.signature_of(self._state_dir.authority(name)) for name in names}
        self._host = this_host()

    def of(self, name: str) -> Look | None:
        """None where only a worker can see how it is."""
        if name not in self._digests:
            return None
        place = f"{self._keystores}/{name}"
        try:
            known = state.read(f"{place}/{STATE}")
            kept_at = datetime.fromtimestamp(os.stat(f"{place}/{STATE}").st_mtime, UTC)
        except (StateError, OSError, ValueError, OverflowError):
            return None
        if known is None:
            return None
        return Look(
            known=known,
            kept_at=kept_at,
            definition=self._digests[name],
            authority=self._authorities[self._uses[name]],
            watched=state.watch(known.watched),
            open=os.path.lexists(f"{place}/{TRANSACTION}") or os.path.lexists(f"{place}/{ROLLOVER}"),
            host=self._host,
        )
