"""sd_notify."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.agent import systemd


@pytest.mark.parametrize("abstract", [pytest.param(False, id="path"), pytest.param(True, id="abstract")])
def test_messages_reach_the_manager(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"certagent-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        systemd.send("READY=1", "STATUS=well")
        assert manager.recv(100) == b"READY=1\nSTATUS=well"


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("", id="no manager"),
        pytest.param("/nonexistent/notify", id="manager gone"),
        pytest.param("x" * 300, id="no address at all"),
    ],
)
def test_a_missing_manager_is_no_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.send("READY=1")


@pytest.mark.parametrize(
    ("limit", "process", "interval"),
    [
        pytest.param("20000000", None, timedelta(seconds=10), id="half of the limit"),
        pytest.param("20000000", str(os.getpid()), timedelta(seconds=10), id="for us"),
        pytest.param("20000000", "1", None, id="for another process"),
        pytest.param(None, None, None, id="not watched"),
        pytest.param("soon", None, None, id="nonsense"),
        pytest.param("0", None, None, id="off"),
    ],
)
def test_watchdog_interval(
    limit: str | None, process: str | None, interval: timedelta | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WATCHDOG_USEC", limit), ("WATCHDOG_PID", process)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert systemd.watchdog_interval() == interval
