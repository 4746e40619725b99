"""One device's life: what happens to it, by one seed, and what certagent makes of it."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from certagent import certificate as facts
from certagent import keys, wall_clock
from certagent.cli import assemble
from certagent.config.key_types import KeyType
from certagent.config.load import load_configuration
from certagent.keys import PrivateKey
from certagent.lab import LabCA, Settings
from certagent.lab.store import Waiting
from certagent.moments import later
from certagent.scep import transport
from certagent.transaction import recovery
from certagent.transaction.journal import Journal, Phase
from certagent.transaction.renewal import Wish, advance

from .device import BrokenPromiseError, Keystore
from .network import Network, Wire
from .power import CutError, Power

START = datetime(2027, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
# Dead batteries, firmware's dates, a hand that slipped: by how many days a clock is wrong, from and to.
WRONG_CLOCKS = ((-20_000, -10_000), (-300, -1), (1, 30), (30, 350), (370, 5000))
# After a trouble has gone the next attempt may be a day away, and every third one fails for the network's sake.
GRACE = 4 * DAY


@dataclass(frozen=True)
class Plan:
    """What one life is: its seed, how long, and which parts of certagent are taken out to try the checks themselves.

    `hours`: the keystores' `activate_in`, empty for none.
    """

    seed: int
    years: float = 5
    recovers: bool = True
    hours: str = ""


class KeyPool:
    """RSA keys to take from, since making them would be most of a life's CPU; a life sees none of them twice."""

    def __init__(self, generate: Callable[[KeyType], PrivateKey] = keys.generate) -> None:
        self._generate = generate
        self._made: list[PrivateKey] = []

    def deal(self, kind: KeyType) -> Iterator[PrivateKey]:
        number = 0
        while True:
            if number == len(self._made):
                self._made.append(self._generate(kind))
            yield self._made[number]
            number += 1


@contextmanager
def replaced(module: object, name: str, value: object) -> Iterator[None]:
    real = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, real)


class Life:
    """Live it with `run`; `counts` says what happened, `story` the last things that did."""

    def __init__(self, plan: Plan, directory: Path, pool: KeyPool) -> None:
        self.plan = plan
        self.now = START
        self.counts: Counter[str] = Counter()
        self.story: deque[str] = deque(maxlen=40)
        self._dice = random.Random(plan.seed)
        self._directory = directory
        self._down_until = self._excused_until = START
        self._skew = timedelta(0)
        self._skewed_until = START
        self._power = Power()
        self._keys = pool.deal(KeyType.RSA_2048)
        self._looks: dict[str, datetime] = {}
        self._asked: dict[str, datetime] = {}
        self._keystores = [self._keystore(name) for name in ("web", "vpn")[: self._dice.choice((1, 1, 2))]]

    def _keystore(self, name: str) -> Keystore:
        directory = self._directory / name
        directory.mkdir(parents=True)
        choices = {
            "layout": self._dice.choice(("pair",) * 12 + ("combined",) * 7 + ("pkcs12",)),
            "swap": self._dice.choice(("rename", "symlink")),
            "renew_at": "66%",
            "format": "fullchain",
            "hours": self.plan.hours,
        }
        self._looks[name] = START
        return Keystore(name, directory, choices)

    def run(self) -> None:
        """Raises BrokenPromiseError as soon as something is as it must never be."""
        with ExitStack() as stack:
            for module, name, value in (
                (assemble, "clock", self._clock),
                (assemble, "identifier", lambda: f"device {self.plan.seed}"),
                (keys, "generate", lambda _kind: next(self._keys)),
            ):
                stack.enter_context(replaced(module, name, value))
            self._ca = LabCA(self._directory / "ca", lambda: self.now, self._settings())
            self._pin = facts.fingerprint(self._ca.generation.issuer.certificate)
            self._network = Network(self._ca, self._dice, lambda: self.now < self._down_until)
            wire = type("LifeWire", (Wire,), {"network": _Elsewhere(self._network, self._power)})
            stack.enter_context(replaced(transport, "Transport", wire))
            stack.enter_context(self._power.supplied())
            self._live()
        self._account()

    def _clock(self) -> datetime:
        """What the device believes; the CA's clock is right."""
        return self.now + self._skew

    def _settings(self) -> Settings:
        return Settings(
            lifetime=90 * DAY,
            ca_lifetime=730 * DAY,
            rollover=150 * DAY,
            overlap=30 * DAY,
            challenge="secret",
            manual=self._dice.random() < 0.2,
            intermediate=self._dice.random() < 0.2,
            ra=self._dice.random() < 0.3,
        )

    def _live(self) -> None:
        self._write()
        end = START + timedelta(days=365 * self.plan.years)
        while self.now < end:
            self._fate()
            keystore = min(self._keystores, key=lambda each: self._looks[each.name])
            self.now = max(self.now, self._looks[keystore.name])
            self._look(keystore)
            self._boot()
            for each in self._keystores:
                before = each.last
                each.check(self.now, self._excused_until)
                if before is not None and not self._skew:
                    each.check_hours(before, self.now)
                directory = self._directory / "state/keystores" / each.name
                if all(Journal(directory, name).open() is None for name in ("transaction", "owed")):
                    each.check_hooks()
            self.now += timedelta(seconds=20) + self._dice.random() * timedelta(minutes=30)

    def _write(self) -> None:
        challenge = self._directory / "challenge"
        challenge.write_text("secret")
        challenge.chmod(0o600)
        keystores = "\n".join(f"  {each.name}: {each.definition()}" for each in self._keystores)
        config = self._directory / "agent.yaml"
        config.write_text(
            f"state_dir: {self._directory}/state\nlive_dir: {self._directory}/live\nauthorities:\n  lab:\n"
            f'    url: http://ca/scep\n    fingerprint: "{self._pin}"\n    challenge: {{file: {challenge}}}\n'
            f"keystores:\n{keystores}\n"
        )
        config.chmod(0o600)
        self._configuration = load_configuration(config)

    def _excuse(self, until: datetime) -> None:
        self._excused_until = max(self._excused_until, until + GRACE)

    def _fate(self) -> None:
        """What happens to the device before its next look."""
        dice = self._dice.random() * 100
        keystore = self._dice.choice(self._keystores)
        if self._skew and self.now >= self._skewed_until:
            self._skew = timedelta(0)
            self._look_at_all()  # as the agent does when its clock is set
            self._excuse(self.now)
            self._tell("clock right again", count=False)
        if (dice := dice - 3) < 0:
            self._down_until = self.now + self._dice.random() * 12 * DAY
            self._excuse(self._down_until)
            self._tell("outage")
        elif (dice := dice - 2) < 0:
            self.now += self._dice.random() * 20 * DAY
            self._excuse(self.now)
            self._tell("switched off")
        elif (dice := dice - 1) < 0:
            keystore.edit(self._dice)
            self._write()
            self._looks[keystore.name] = self.now
            self._tell("configuration edited")
        elif (dice := dice - 1) < 0 and keystore.certificate_file.exists():
            self._restore(keystore)
        elif (dice := dice - 1) < 0:
            keystore.broken.touch()
            self._tell("hook broken")
        elif (dice := dice - 0.7) < 0:
            days = self._dice.uniform(*self._dice.choice(WRONG_CLOCKS))
            self._skew = timedelta(days=days)
            self._skewed_until = self.now + self._dice.random() ** 3 * 3 * DAY
            self._look_at_all()
            self._excuse(self._skewed_until)
            self._tell(f"clock {days:+.0f} d", count=False)
            self.counts["clock wrong"] += 1
        elif (dice := dice - 10) < 0:
            keystore.broken.unlink(missing_ok=True)
        if self._ca.settings.manual:
            self._operator_of_the_ca()

    def _look_at_all(self) -> None:
        self._looks = dict.fromkeys(self._looks, self.now)

    def _restore(self, keystore: Keystore) -> None:
        if keystore.backup is None:
            keystore.keep_a_copy()
            return
        keystore.put_the_copy_back()
        keystore.backup = None
        self._looks[keystore.name] = self.now
        self._excuse(self.now)
        self._tell("an older pair was restored by hand")

    def _operator_of_the_ca(self) -> None:
        with self._power.elsewhere():
            # In the order in which they came, not of their random names: one seed is one life.
            for waiting in sorted(self._ca.store.all_waiting(), key=self._asked_at):
                self._excuse(self.now)
                if waiting.decision == "waiting" and self._dice.random() < 0.3:
                    self._ca.store.decide(waiting, "approved")

    def _asked_at(self, waiting: Waiting) -> tuple[datetime, str]:
        first = self._asked.setdefault(waiting.transaction_id, self.now)
        return first, waiting.csr.subject.rfc4514_string()

    def _look(self, keystore: Keystore) -> None:
        self._power.fails_after(int(self._dice.random() ** 2 * 190) if self._dice.random() < 0.25 else None)
        at = None
        try:
            doubt = wall_clock.look(self._directory / "state", self._clock(), believed=False)
            [context] = assemble.contexts(
                self._configuration, [keystore.name], lambda _name, _line: None, lambda _name, _line: None
            )
            outcome = advance(replace(context, doubt=doubt), Wish.DUE, lambda: False)
            self.counts[outcome.result.value] += 1
            at = self.now + DAY if outcome.next_action_at is None else later(outcome.next_action_at, -self._skew)
            if outcome.message:
                self._tell(f"{keystore.name} {outcome.result}: {outcome.message}", count=False)
        except CutError:
            self._tell("power cut")
            at = self.now
        self._power.fails_after(None)
        latest = self._skewed_until if self._skew else self.now + 10 * DAY
        self._looks[keystore.name] = max(self.now, min(at, latest))

    def _boot(self) -> None:
        if not self.plan.recovers:
            return
        for recovered in recovery.recover_all(self._directory / "state"):
            if recovered.error is not None:
                raise BrokenPromiseError(f"{recovered.keystore}: not recovered: {recovered.error}")

    def _tell(self, what: str, *, count: bool = True) -> None:
        if count:
            self.counts[what] += 1
        self.story.append(f"{self.now:%Y-%m-%d %H:%M} {what[:140]}")

    def _account(self) -> None:
        """What the life cost the CA, and whether every swap had its hook."""
        self.counts["certificates issued"] = len(self._ca.issued())
        for keystore in self._keystores:
            for name in ("transaction", "rollover"):
                ready = Journal(self._directory / "state/keystores" / keystore.name, name).open()
                if ready is not None and ready.phase is Phase.ISSUED:  # its time comes after this life
                    keystore.serials.add(int(ready.serial, 16))
            self.counts["certificates used"] += len(keystore.serials)
            self.counts["hooks run"] += len(keystore.hooked())
        self.counts.update(self._network.counts)


class _Elsewhere:
    """The CA's side of the wire: what it writes is not cut by the device's power."""

    def __init__(self, network: Network, power: Power) -> None:
        self._network = network
        self._power = power

    def exchange(self, call: object) -> object:
        with self._power.elsewhere():
            return self._network.exchange(call)  # type: ignore[arg-type]  # the shape is Network's own


__all__ = ["BrokenPromiseError", "KeyPool", "Life", "Plan"]
