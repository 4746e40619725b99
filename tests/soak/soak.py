"""Soak a device for so many seconds, and say what was seen."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.interop.commands import certagent
from tests.rollover.generations import Followers
from tests.soak import troubles
from tests.soak.device import Device
from tests.waiting import PATIENCE

# An agent that lives for less says nothing about leaks.
_SETTLED = 15.0
# The one in use, and the one before it, which readers may still hold.
_GENERATIONS = 2


@dataclass(frozen=True)
class Plan:
    """`life`: seconds that a certificate lives; half of them later it is renewed."""

    seed: int
    seconds: float
    life: float


@dataclass
class Figures:
    """`grown`: by how much an agent that lived on grew since it had settled, in kB; `files`: the most it had open.

    `state`: bytes of the state directory, a quarter of the way and at the end.
    """

    rotations: int = 0
    connections: int = 0
    failures: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    memory: int = 0
    grown: int = 0
    files: int = 0
    state: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        return (
            f"{self.rotations} rotations, {self.connections} handshakes, {len(self.failures)} failed; "
            f"{sum(self.happened.values())} troubles; agent at most {self.memory / 1024:.1f} MiB, grown by "
            f"{self.grown} kB, {self.files} files open; state {self.state[0]} then {self.state[1]} bytes; "
            f"{len(self.wrong)} wrong"
        )


def soak(directory: Path, plan: Plan) -> Figures:
    figures = Figures()
    device = Device(directory, plan.life)
    with device.running() as clients:
        _live(device, plan, figures)
        _settle(device, clients, figures)
        for each in clients:
            figures.connections += each.connections
            figures.failures += each.failures
    return figures


class _Agent:
    """Watches what the agent takes of the machine; one that was started anew is another."""

    def __init__(self, device: Device) -> None:
        self.device, self.process, self.begun, self.settled = device, device.agent, time.monotonic(), 0

    def look(self, figures: Figures) -> None:
        memory, now = self.device.memory(), time.monotonic()
        if self.device.agent is not self.process:
            self.process, self.begun, self.settled = self.device.agent, now, 0
        elif not self.settled and now > self.begun + _SETTLED:
            self.settled = memory
        elif self.settled:
            figures.grown = max(figures.grown, memory - self.settled)
        figures.memory, figures.files = max(figures.memory, memory), max(figures.files, self.device.open_files())


def _live(device: Device, plan: Plan, figures: Figures) -> None:
    random, agent = Random(plan.seed), _Agent(device)
    begun = time.monotonic()
    trouble_at = begun + plan.life
    seen: set[int] = set()
    while time.monotonic() < begun + plan.seconds:
        time.sleep(0.05)
        for each in device.consumers:
            with suppress(OSError, ValueError, IndexError):  # it is being replaced
                seen.add(each.serial)
        agent.look(figures)
        if time.monotonic() >= trouble_at:
            trouble = random.choice(troubles.ALL)
            trouble(device, random)
            figures.happened[trouble.__name__.replace("_", " ")] += 1
            trouble_at = time.monotonic() + random.random() * plan.life
        if not figures.state[0] and time.monotonic() > begun + plan.seconds / 4:
            figures.state = (device.state_size(), 0)
    figures.rotations = len(seen)
    figures.state = (figures.state[0], device.state_size())


def _settle(device: Device, clients: Sequence[Followers], figures: Figures) -> None:
    """With all troubles over: everything is whole, served, and tidy."""
    device.agent.send_signal(signal.SIGTERM)
    device.agent.wait(PATIENCE)
    for consumer, their in zip(device.consumers, clients, strict=True):
        done = certagent(device.config, "renew", "--force", consumer.name)
        if done.returncode:
            figures.wrong.append(f"{consumer.name}: {done.stderr}")
            continue
        their.await_served(consumer.serial)
        if not consumer.is_whole():
            figures.wrong.append(f"{consumer.name}: key and certificate do not match")
        figures.wrong += [f"{consumer.name}: left over: {name}" for name in consumer.leftovers()]
        keystore = device.directory / "state/keystores" / consumer.name
        open_ = [name for name in ("transaction", "shadow") if any(keystore.glob(f"{name}/*"))]
        figures.wrong += [f"{consumer.name}: {name} is not empty" for name in open_]
    generations = len(list((device.directory / "live/api").glob("generation-*")))
    if generations > _GENERATIONS:
        figures.wrong.append(f"{generations} generations are kept")
