"""The metrics file: written by a process of its own when no worker has anything left to do, not by each of them."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from certagent.agent.worker_process import Worker

# It looks at every keystore. So many times as long as that takes, it is not done again.
_REST = 20


class Metrics:
    """`serve` writes it each time that it is `wanted`."""

    def __init__(self, config_path: Path, grace: timedelta) -> None:
        self._command = (sys.executable, "-m", "certagent", "-c", str(config_path), "renew", "--only-metrics")
        self._grace = grace
        self._wanted = asyncio.Event()
        self._writer: Worker | None = None

    def wanted(self) -> None:
        self._wanted.set()

    async def serve(self, time_limit: timedelta) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            begun = loop.time()
            self._writer = Worker(())
            await self._writer.run(self._command, limit=time_limit, grace=self._grace, on_report=lambda _: None)
            await asyncio.sleep(_REST * (loop.time() - begun))

    def stop(self) -> None:
        """A file that is half written takes nobody's place."""
        if self._writer is not None:
            self._writer.stop()
