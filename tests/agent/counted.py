"""What certagent does, counted: argv is `sweep CONFIGURATION`, or `command` and certagent's own arguments.

The last line on standard output is a JSON object: `decoded` definitions of keystores, files `opened` and directories
`listed` below the configuration's own directory, processes `started`; `requests`: whether HTTP was loaded.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from certagent.agent.clock import Clocks
from certagent.agent.keystores import Keystores
from certagent.agent.schedule import Pace
from certagent.agent.systemd import Status
from certagent.cli.main import main
from certagent.config.decode import Decoder
from certagent.config.load import load_for_agent

EVENTS = {"open": "opened", "os.listdir": "listed", "os.scandir": "listed", "subprocess.Popen": "started"}


class Count:
    """From `begin` on."""

    def __init__(self, directory: Path) -> None:
        self._directory = f"{directory}/"
        self._done: Counter[str] = Counter()
        self._begun = False
        self._seen: set[tuple[str, object]] = set()
        sys.addaudithook(self._hear)

    def begin(self) -> None:
        self._begun = True
        sys.setprofile(self._see)

    def tell(self) -> None:
        sys.setprofile(None)
        self._begun = False
        self._done["requests"] += "requests" in sys.modules
        print(json.dumps(dict.fromkeys(["decoded", *EVENTS.values()], 0) | self._done))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._begun or event not in EVENTS:
            return
        path = os.fspath(arguments[0]) if isinstance(arguments[0], str | os.PathLike) else ""
        if event == "subprocess.Popen":
            self._done["started"] += 1
        elif f"{path}/".startswith(self._directory) and (event, path) not in self._seen:
            self._seen.add((event, path))  # Python may tell of one that it opens twice
            self._done[EVENTS[event]] += 1

    def _see(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is Decoder.decode_struct.__code__:
            self._done["decoded"] += frame.f_locals["path"][:1] == ("keystores",) and len(frame.f_locals["path"]) == 2


async def sweep(config: Path, count: Count) -> None:
    served = load_for_agent(config)
    keystores = Keystores(Path(served.state_dir), ["false"], Pace(), Clocks(), Status(), at_rest=lambda: None)
    keystores.adopt(served)
    keystores.appointments.start()
    async with keystores.pool:
        count.begin()
        keystores.look_at_all()
        await asyncio.sleep(1)  # a worker would be started after a tenth of it
        count.tell()


if __name__ == "__main__":
    word, *rest = sys.argv[1:]
    if word == "sweep":
        asyncio.run(sweep(Path(rest[0]), Count(Path(rest[0]).parent)))
    else:
        counting = Count(Path(rest[rest.index("-c") + 1]).parent)
        counting.begin()
        main(rest)
        counting.tell()
