"""A device before a CA that rolls over, both on one clock that a test moves; and how they stand, in one line."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from msgspec.structs import replace

from certagent import certificate as facts
from certagent.errors import RejectedError
from certagent.lab import Answer, Call, Generation, HttpAnswer, LabCA, Settings
from certagent.lab.generation import open_generation
from certagent.lab.rollover import ShadowRequest
from certagent.lab.transactions import ROLLOVER
from certagent.scep import PkiStatus, Request
from certagent.transaction.journal import Journal, Phase, Transaction
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Outcome, Result
from certagent.trust.proof import comes_from
from tests.renewal.site import DAY, Site, ran, recording_hook

SECOND = timedelta(seconds=1)


class RollingCA(LabCA):
    """Honest and on schedule, until its operator does something else.

    Generations go by the number of their place; one that replaces another of the same place by `2b` and so on.
    """

    def __init__(self, directory: Path, clock: Callable[[], datetime], settings: Settings | None = None) -> None:
        self.names: dict[x509.Certificate, str] = {}
        self.calls: Counter[str] = Counter()
        self.busy = 0  # an HTTP status
        self.down = self.withdrawn = self.refusing = self.wants_a_person = False
        super().__init__(directory, clock, settings)
        self.learn_names()

    def learn_names(self) -> None:
        for place, generation in enumerate(self.generations._generations, start=1):
            if generation.issuer.certificate not in self.names:
                taken = sum(1 for name in self.names.values() if name.rstrip("abc") == str(place))
                self.names[generation.issuer.certificate] = f"{place}{' bc'[taken].strip()}"
                self.names.update(dict.fromkeys(generation.above, f"root{place}"))

    def respond_http(self, call: Call) -> HttpAnswer:
        self.calls[call.operation] += 1
        if self.down:
            return HttpAnswer(503, "text/plain", b"out of order\n", "out of order")
        answer = super().respond_http(call)
        self.learn_names()
        return answer

    def next_ca(self) -> HttpAnswer:
        if self.withdrawn:
            return HttpAnswer(404, "text/plain", b"there is none\n", "withdrawn")
        if self.busy:
            return HttpAnswer(self.busy, "text/plain", b"try later\n", "busy")
        return super().next_ca()

    def decide(self, request: Request) -> Answer:
        if self.refusing and isinstance(request, ShadowRequest):
            raise RejectedError("not for you", fail_info="badRequest")
        return super().decide(request)

    def authenticate(self, request: Request, csr: x509.CertificateSigningRequest) -> str:
        kind = super().authenticate(request, csr)
        self.settings = replace(self.settings, manual=self.wants_a_person and kind == ROLLOVER)
        return kind

    # What its operator does.

    def approve(self) -> None:
        for waiting in self.store.all_waiting():
            self.store.decide(waiting, "approved")

    def replace_next(self) -> None:
        """Another next CA in place of the one announced."""
        place = len(self.generations._generations)
        self.generations._generations.pop()
        shutil.rmtree(self.store.directory / f"generation-{place}")

    def roll_over_now(self) -> None:
        """A new CA takes over, announced by nobody."""
        while self.generations.following is not None:
            self.replace_next()
        self.generations._generations.append(self.generations._made(self.clock()))
        self.generations.advance(self.clock())
        self.learn_names()


@dataclass
class Device(Site):
    """`live` lets it do whatever the agent would, until a moment; `off` lets time pass without it."""

    further: tuple[str, str] = ("", "")
    born: datetime = field(init=False)
    first: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        generation = self.ca.generation
        self.born, self.first = self.clock.now, (generation.issuer.certificate, *generation.above)[-1]
        hook = recording_hook(self, "hooks")
        events = "".join(f"{event}: [[{hook}]], " for event in ("post", "staged", "ca_changed", "failed", "pending"))
        self._keystore = f"ca_file: {self.ca_file}\nhooks: {{{events}}}\n{self.further[0]}"
        self.configure()
        assert self.run().result is Result.ENROLLED

    def configure(self, authority: str = "") -> None:
        pin = "" if "fingerprint:" in self.further[1] else f"fingerprint: {facts.fingerprint(self.first)}"
        self.write(self._keystore, "\n".join(filter(None, (pin, self.further[1], authority))))

    @property
    def ca(self) -> RollingCA:
        assert isinstance(self.server.ca, RollingCA)
        return self.server.ca

    @property
    def ca_file(self) -> Path:
        return self.path("files/ca.pem")

    @property
    def staged(self) -> Transaction | None:
        return Journal(self.keystore_directory, "rollover").open()

    def day(self, number: float) -> datetime:
        """The moment so many days after the device and its CA were new."""
        return self.born + number * DAY

    def live(self, until: datetime) -> Outcome:
        """What `certagent run` does until then: a worker whenever one is due."""
        for _ in range(120):
            outcome = self.run()
            assert self.pair_matches()
            due = outcome.next_action_at
            if due is None or due > until:
                if self.clock.now == until:
                    return outcome
                due = until
            self.clock.now = max(due, min(until, self.clock.now + SECOND))
        raise AssertionError(f"it goes round and round: {self.events()[-20:]}")

    def off(self, until: datetime) -> None:
        self.clock.now = until

    def hooks(self, event: str) -> int:
        """How often this event's hook ran."""
        return sum(line.split()[0] == event for line in ran(self, "hooks"))

    def by(self, certificate: x509.Certificate) -> str:
        """The generation that issued it; of the CA's own, the generation it is."""
        self.ca.learn_names()
        issuers = (name for ca, name in self.ca.names.items() if comes_from(certificate, ca))
        return self.ca.names.get(certificate) or next(issuers, "?")

    def trusted(self) -> list[str]:
        return [self.by(each) for each in facts.load_pem(self.ca_file.read_bytes(), "ca.pem")]

    def look(self) -> str:
        """`identity 1, shadow 2, ca_file 1+2, staged`: by whom the identity is, the shadow, whom ca_file trusts."""
        staged = self.staged
        if staged is None:
            shadow = "none"
        elif staged.phase is Phase.ISSUED:
            shadow = self.by(x509.load_der_x509_certificate(staged.certificate))
        else:
            shadow = staged.phase.value
        state = self.state.condition.value
        return f"identity {self.by(self.leaf())}, shadow {shadow}, ca_file {'+'.join(self.trusted())}, {state}"


def another(ca: LabCA, settings: Settings, number: int, begins: datetime) -> Generation:
    """A generation of other settings in the place of the CA's generation `number`."""
    store = ca.generations._store_of(number)
    store.create()
    return open_generation(store, settings, begins, begins=begins)


__all__ = ["DAY", "Device", "PkiStatus", "RollingCA", "Wish", "another"]
