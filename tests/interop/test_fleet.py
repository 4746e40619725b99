"""One agent, many keystores due at the same moment, a lab CA in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.interop.commands import lab_process
from tests.interop.fleet import Fleet
from tests.waiting import PATIENCE, until


@contextmanager
def served(directory: Path, count: int) -> Iterator[Fleet]:
    fleet = Fleet(directory, tuple(f"device-{number:03}" for number in range(count)))
    fingerprint = fleet.adopt()
    with lab_process(fleet.lab) as url:
        fleet.write(url, fingerprint)
        yield fleet


@contextmanager
def running(fleet: Fleet) -> Iterator[subprocess.Popen[str]]:
    """The agent; its log is read as it comes, so that it never waits for us."""
    with fleet.start() as agent:
        lines: list[str] = []
        assert agent.stderr is not None
        reading = threading.Thread(target=lines.extend, args=(agent.stderr,), daemon=True)
        reading.start()
        try:
            yield agent
        finally:
            with suppress(ProcessLookupError):
                agent.kill()
            agent.wait()
            reading.join(5)
            print("".join(lines[-50:]))


def all_done(fleet: Fleet) -> bool:
    return fleet.renewals() >= len(fleet.names) and not fleet.open_transactions()


def assert_each_renewed_once(fleet: Fleet) -> None:
    assert fleet.renewed() == {f"CN={name}.example.net": 1 for name in fleet.names}
    assert fleet.mismatched() == []
    assert fleet.events() == {"renewed": len(fleet.names)}
    in_place = {fleet.certificate(name).subject.rfc4514_string() for name in fleet.names}
    assert in_place == {f"CN={name}.example.net" for name in fleet.names}
    assert len({fleet.certificate(name).serial_number for name in fleet.names}) == len(fleet.names)


def resident(process: int) -> int:
    """kB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1])


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
def test_many_keystores_due_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path, 70) as fleet:  # three batches for two workers
        with running(fleet) as agent:
            most = 0

            def done() -> bool:
                nonlocal most
                most = max(most, len(children(agent.pid)))
                return all_done(fleet)

            until(done, seconds=3000)
            until(lambda: not children(agent.pid))
            size = resident(agent.pid)
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(PATIENCE) == 0
        assert_each_renewed_once(fleet)
        assert most == 2
    with capsys.disabled():
        print(f"\nthe agent, idle after 70 renewals: {size / 1024:.1f} MB resident")


def kill_the_agent(agent: int) -> None:
    """Its workers live on, and their reports go nowhere."""
    os.kill(agent, signal.SIGKILL)


def kill_everything(agent: int) -> None:
    """As a power cut."""
    workers = children(agent)
    for process in (agent, *workers):
        os.kill(process, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [kill_the_agent, kill_everything])
def test_killed_in_the_middle_and_started_again(tmp_path: Path, kill: Callable[[int], None]) -> None:
    with served(tmp_path, 40) as fleet:
        with running(fleet) as agent:
            until(lambda: fleet.renewals() >= 10, seconds=300)
            kill(agent.pid)
        assert fleet.renewals() < 40
        with running(fleet) as agent:
            until(lambda: all_done(fleet), seconds=300)
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(PATIENCE) == 0
        assert_each_renewed_once(fleet)
