"""One flow, prepared and traced once, and then tried any number of times."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.torture import calls, judge, tree
from tests.torture.ca import Authority
from tests.torture.calls import Call, Enough, Recorded
from tests.torture.consumers import certificate_digest
from tests.torture.device import Device
from tests.torture.flows import Flow
from tests.torture.judge import Reference, Try


@dataclass(frozen=True)
class Session:
    """`before` is the device as prepared, `digest` of its certificate, `whole` whether its pair works; `recorded` what
    its command did, and `certificates` how many were issued meanwhile."""

    flow: Flow
    device: Device
    before: tree.Tree
    digest: str
    whole: bool
    recorded: Recorded
    certificates: int
    reference: Reference

    def begin(self, state: tree.Tree | None = None, *, certificates: int = 0) -> Try:
        """Set the device back to how it was, or to a state it was left in after so many certificates."""
        self.device.become(self.before if state is None else state)
        return Try(self.flow, self.device, self.digest, self.device.ca.issued() - certificates)

    @property
    def enough(self) -> Enough:
        return self.flow.enough_of(self.device)

    def reachable(self) -> list[Call]:
        """The calls that a number leads to: those of the command's own process; of a command that works through
        children, those that are the first of their name and number."""
        if self.flow.enough is None:
            return [call for call in self.recorded.calls if call.pid == self.recorded.pid]
        first: dict[tuple[str, int], Call] = {}
        for call in self.recorded.calls:
            first.setdefault((call.name, call.nth), call)
        return list(first.values())

    def concerns(self, call: Call) -> bool:
        """Whether a call is about a path of the device."""
        return any(path == str(self.device.root) or path.startswith(f"{self.device.root}/") for path in call.paths)


@contextmanager
def session(flow: Flow, names: tuple[str, ...], where: Path | None = None) -> Iterator[Session]:
    """Prepare a flow in a directory of its own, and trace the calls of these names.

    Raises AssertionError if it does not even go well untortured.
    """
    with tempfile.TemporaryDirectory(prefix="certagent-torture-", dir=where) as name:
        directory = Path(name)
        with Authority(directory / "ca", flow.life) as ca:
            device = Device(directory / "device", directory, ca)
            device.root.mkdir(mode=0o755)
            flow.prepare(device)
            ca.tell()
            device.path("world/hooks").unlink(missing_ok=True)
            before = device.read()
            digest, first = certificate_digest(device), Try(flow, device, certificate_digest(device), ca.issued())
            whole = not judge.pair(first)
            reference, wrong = judge.reference_of(first)
            assert not wrong, f"{flow.name}: {wrong}"
            acts = reference.certificates or reference.changed or reference.events
            assert acts or flow.only_tells, f"{flow.name} does nothing"
            device.become(before)
            issued = ca.issued()
            recorded = calls.record(device, flow.command, names, flow.enough_of(device))
            assert recorded.said.code == reference.said.code, f"{flow.name}: traced, it said {recorded.said.text}"
            yield Session(flow, device, before, digest, whole, recorded, ca.issued() - issued, reference)
