"""certagent's real command lines, and what openssl says of what they left."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.renewal.site import openssl
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]


def argv(*words: str | Path) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "certagent", *map(str, words)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}


def certagent(config: Path, *words: str, timeout: float = PATIENCE) -> Done:
    """A command line, as a person types it."""
    return subprocess.run(
        argv("-c", config, *words), env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


def start(config: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv("-c", config, *words), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@contextlib.contextmanager
def lab_process(directory: Path, *options: str) -> Iterator[str]:
    """`certagent lab` in a process of its own; its URL."""
    with (directory.with_name(f"{directory.name}.log")).open("w+") as log:
        command = argv("lab", "--dir", directory, "--port", "0", *options)
        with subprocess.Popen(command, env=environment(), stdout=log, stderr=log) as process:
            try:
                banner = Path(log.name)
                until(lambda: "Requests:" in banner.read_text() or process.poll() is not None)
                found = re.search(r"URL +(\S+)", banner.read_text())
                assert found is not None, banner.read_text()
                yield found[1]
            finally:
                process.terminate()


def openssl_confirms(key: Path, certificate: Path, ca: Path) -> None:
    """The key is the certificate's, and the certificate the CA's."""
    assert openssl("pkey", "-in", str(key), "-pubout") == openssl("x509", "-in", str(certificate), "-noout", "-pubkey")
    assert openssl("verify", "-CAfile", str(ca), str(certificate)) == f"{certificate}: OK\n"


def openssl_shows(certificate: Path, *words: str) -> str:
    return openssl("x509", "-in", str(certificate), "-noout", *words).strip()
