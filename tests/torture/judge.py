"""What must be true after a torture, and what is said where it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from tests.torture import tree
from tests.torture.command import Said
from tests.torture.consumers import certificate_digest
from tests.torture.device import OUTSIDE, Device
from tests.torture.flows import Flow

# What the command says of a fault of its own.
_OWN_FAULTS = ("Traceback (most recent call last)", "internal error")


@dataclass(frozen=True)
class Reference:
    """How a flow ends when nobody tortures it. `events`: how often which hook ran; `hooks`: what they noted at the
    end of the command itself; `certificates`: how many the CA issued."""

    said: Said
    hooks: list[tuple[str, str]]
    events: Counter[str]
    certificates: int
    changed: bool
    state: str
    shape: list[str]


@dataclass(frozen=True)
class Try:
    """One try on one device. `digest`: of the certificate in place before; `issued`: what the CA had issued."""

    flow: Flow
    device: Device
    digest: str
    issued: int


def reference_of(attempt: Try) -> tuple[Reference, list[str]]:
    """Run the flow to its end; and what is wrong already with that."""
    device = attempt.device
    said = attempt.flow.run(device)
    hooks = device.hooks()
    wrong = own_faults(said)
    ended = carried_on(attempt, ())
    wrong += ended
    return Reference(
        said=said,
        hooks=hooks,
        events=Counter(event for event, _ in device.hooks()),
        certificates=device.ca.issued() - attempt.issued,
        changed=certificate_digest(device) != attempt.digest,
        state=device.status("web"),
        shape=tree.shape(device.read(), OUTSIDE),
    ), wrong


def own_faults(said: Said) -> list[str]:
    return [f"a fault of its own: {said.text}"] if any(word in said.text for word in _OWN_FAULTS) else []


def pair(attempt: Try) -> list[str]:
    """Whether a consumer that starts now finds a pair that works."""
    wrong = attempt.flow.consumer(attempt.device)
    if wrong is None:
        return ["the identity is gone"] if attempt.digest else []
    return [f"the pair in place does not work: {wrong}"] if wrong else []


def recovered(attempt: Try, reference: Reference) -> list[str]:
    """`recover`, as at boot before the consumers start, and what they find then."""
    told = attempt.device.hooks()
    said = attempt.device.run("recover")
    wrong = own_faults(said)
    if said.code != 0:
        wrong.append(f"recover exits {said.code}: {said.text}")
    wrong += pair(attempt)
    # What a post hook was told is in place stays there; the way back tells of both.
    posts = [digest for event, digest in told if event == "post"]
    later = {digest for event, digest in reference.hooks[len(told) :] if event == "post"}
    if posts and not later and certificate_digest(attempt.device) != posts[-1]:
        wrong.append("the pair that a post hook was run for is not in place")
    return wrong


def carried_on(attempt: Try, expected: Collection[str]) -> list[str]:
    """What a person mends, and the next run, until it has nothing to complain about."""
    device, flow = attempt.device, attempt.flow
    flow.mend(device)
    for _ in range(flow.attempts):
        said = device.run(*flow.again)
        if said.code == 0:
            break
    if flow.insists and (said.code != 0 or not certificate_digest(device)):
        said = flow.run(device)
    wrong = own_faults(said)
    if said.code != 0:
        wrong.append(f"the next run exits {said.code}: {said.text}")
    return wrong + pair(attempt) + _unheard(device, expected)


def _unheard(device: Device, expected: Collection[str]) -> list[str]:
    hooks = device.hooks()
    wrong = [f"no {event} hook ran" for event in expected if event not in dict(hooks) and event != "failed"]
    posts = [digest for event, digest in hooks if event == "post"]
    if posts and posts[-1] != certificate_digest(device):
        wrong.append("the last post hook ran for another certificate than the one in place")
    return wrong


def ended_well(attempt: Try, reference: Reference, owed: Collection[str] | None = None) -> list[str]:
    """Everything that holds at the end, whatever was done to the command. `owed`: the hooks that must have run, where
    these are not all."""
    device = attempt.device
    wrong = carried_on(attempt, [event for event in reference.events if owed is None or event in owed])
    if (certificate_digest(device) != attempt.digest) != reference.changed:
        wrong.append("the certificate in place is not the new one" if reference.changed else "it was replaced")
    issued = device.ca.issued() - attempt.issued
    if issued > reference.certificates:
        wrong.append(f"{issued} certificates were issued, {reference.certificates} would do")
    if (state := device.status("web")) != reference.state:
        wrong.append(f"its state is {state}, not {reference.state}")
    return wrong + _differences(tree.shape(device.read(), OUTSIDE), reference.shape)


def _differences(shape: list[str], expected: list[str]) -> list[str]:
    more, fewer = Counter(shape), Counter(expected)
    left = [f"left over: {line}" for line in more - fewer]
    return left + [f"missing: {line}" for line in fewer - more]
