"""What happens to a device. Each trouble is over when its function returns."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from random import Random

from tests.soak.device import Device
from tests.waiting import until


def the_agent_is_killed(device: Device, _random: Random) -> None:
    """And started again, as systemd does."""
    device.agent.kill()
    device.agent.wait()
    device.start_agent()


def a_worker_is_killed(device: Device, random: Random) -> None:
    """And the agent reloaded: the minute that it waits after a crash is longer than these certificates live."""
    for worker in device.workers():
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    until(lambda: not device.workers())
    the_agent_is_reloaded(device, random)


def the_agent_is_reloaded(device: Device, _random: Random) -> None:
    device.agent.send_signal(signal.SIGHUP)


def the_ca_is_silent(device: Device, random: Random) -> None:
    device.lab.send_signal(signal.SIGSTOP)
    time.sleep(random.random() * device.life / 8)
    device.lab.send_signal(signal.SIGCONT)


def hooks_fail(device: Device, random: Random) -> None:
    device.broken.touch()
    time.sleep(random.random() * device.life / 8)
    device.broken.unlink()


def a_file_is_touched(device: Device, random: Random) -> None:
    os.utime(random.choice(device.consumers).certificate)


ALL = (
    the_agent_is_killed,
    a_worker_is_killed,
    a_worker_is_killed,
    the_agent_is_reloaded,
    the_ca_is_silent,
    hooks_fail,
    a_file_is_touched,
)
