"""A TPM 2.0 as a host has it: swtpm, its resource manager tpm2-abrmd on a bus of its own, and tpm2-pkcs11 over both.

Run as a program it starts the daemons, returns, and keeps them for as long as its standard input is open: so they
outlive every process that talks to them (a lost bus ends its clients) and are gone when the tests are, however
those end.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def free_ports() -> int:
    """A port whose successor is free as well: swtpm's clients expect its control channel there."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def wait_for(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


def serve(directory: Path) -> None:
    """The daemons, until standard input ends. The file `bus` holds the bus's address once all is up."""
    state = directory / "state"
    state.mkdir()
    port = free_ports()
    address = f"unix:path={directory}/bus.socket"
    environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": address}
    started = []

    def start(*argv: str) -> None:
        with (directory / "log").open("ab") as log:
            started.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment))

    try:
        start("dbus-daemon", "--session", "--nofork", f"--address={address}")
        start(
            *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags", "not-need-init,startup-clear"),
            *("--server", f"type=tcp,port={port},bindaddr=127.0.0.1"),
            *("--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1"),
        )
        wait_for((directory / "bus.socket").exists, "dbus-daemon")
        wait_for(lambda: _listens(port + 1), "swtpm")
        start("tpm2-abrmd", "--session", "--allow-root", f"--tcti=swtpm:host=127.0.0.1,port={port}")
        wait_for(lambda: _owned(environment), "tpm2-abrmd")
        (directory / "bus.new").write_text(address)
        (directory / "bus.new").rename(directory / "bus")
        sys.stdin.read()
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(directory)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _owned(environment: dict[str, str]) -> bool:
    argv = ["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"]
    argv += ["org.freedesktop.DBus.NameHasOwner", "string:com.intel.tss2.Tabrmd"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    return "boolean true" in done.stdout


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if os.fork():
        wait_for((place / "bus").exists, "the TPM's daemons")
    else:
        serve(place)
