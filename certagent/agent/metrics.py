"""The metrics file: written by its own process once no worker has anything left to do, not by each worker."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from certagent.agent.worker_process import Worker

# Writing looks at every keystore. It then pauses for this many times as long as that took.
_REST = 20


class Metrics:
    """`serve` writes the file each time it is `wanted`."""

    def __init__(self, config_path: Path, grace: timedelta) -> None:
        self._command = (sys.executable, "-m", "certagent", "-c", str(config_path), "renew", "--only-metrics")
        self._grace = grace
        self._wanted = asyncio.Event()
        self._writer: Worker | None = None

    def wanted(self) -> None:
        self._wanted.set()

    async def serve(self, time_limit: timedelta) -> None:
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            begun = loop.time()
            self._writer = Worker(())
            await self._writer.run(self._command, limit=time_limit, grace=self._grace, on_report=lambda _: None)
            await asyncio.sleep(_REST * (loop.time() - begun))

    def stop(self) -> None:
        """Stop; an incomplete file replaces nothing."""
        if self._writer is not None:
            self._writer.stop()
