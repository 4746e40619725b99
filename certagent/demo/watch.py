"""What can be seen from outside: files in place, state, history, the hooks' own log, and what the service serves."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import datetime
from pathlib import Path

from cryptography import x509
from msgspec import Struct, field

from certagent import certificate as facts
from certagent import state
from certagent.demo.service import GREETING
from certagent.demo.site import SERVER_NAME, Site
from certagent.transaction.journal import Journal, Phase

WANTED = 3  # renewals of each keystore, besides its rollover
_BETWEEN_HANDSHAKES = 0.2  # seconds
_PATIENCE = 5.0  # seconds


class Sighting(Struct, frozen=True):
    """One line about what happened, and when it was seen. `who`: a keystore, or a process of the demo."""

    at: datetime
    who: str
    text: str
    bad: bool = False


class TrustedCa(Struct, frozen=True):
    """A CA that is, or was, in web's `ca_file`. `name`: the first digits of its fingerprint."""

    certificate: x509.Certificate

    @property
    def name(self) -> str:
        return facts.fingerprint(self.certificate).digest.hex()[:8]


class WatchedKeystore(Struct):
    """One keystore as anybody can see it. `serials`: of the certificates put in place, oldest first.

    `staged`: the serial of the shadow that waits for `switch_at`.
    """

    name: str
    condition: str = "missing"
    kind: str = ""  # of the open transaction
    phase: str = ""
    next_action: str = ""
    next_action_at: datetime | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    serials: list[str] = field(default_factory=list)
    enrolled: int = 0
    renewed: int = 0
    rolled_over: int = 0
    staged: str = ""
    switch_at: datetime | None = None
    hooks: int = 0
    last_hook: datetime | None = None
    lines_read: int = 0  # of its history

    @property
    def changes(self) -> int:
        """How often it got a new certificate."""
        return self.enrolled + self.renewed + self.rolled_over


class Handshakes(threading.Thread):
    """A client that connects to the TLS service repeatedly, and checks chain, dates and host name with `ca_file`."""

    def __init__(self, ca: Path) -> None:
        super().__init__(name="handshakes", daemon=True)
        self.address = ""
        self._ca = ca
        self._stopping = threading.Event()
        self.good = 0
        self.failures: list[str] = []
        self.served: list[str] = []  # serials, in the order they were seen

    def begin(self, address: str) -> None:
        self.address = address
        self.start()

    def run(self) -> None:
        while not self._stopping.wait(_BETWEEN_HANDSHAKES):
            try:
                serial = self._shake()
            except OSError as error:  # includes ssl.SSLError
                # Before the first certificate there is no service yet, and no trust anchor.
                if self.good:
                    self.failures.append(str(error))
                continue
            self.good += 1
            if not self.served or self.served[-1] != serial:
                self.served.append(serial)

    def stop(self) -> None:
        self._stopping.set()
        if self.is_alive():
            self.join()

    @property
    def changes(self) -> int:
        return max(0, len(self.served) - 1)

    def _shake(self) -> str:
        host, _, port = self.address.rpartition(":")
        context = ssl.create_default_context(cafile=self._ca)
        with (
            socket.create_connection((host, int(port)), timeout=_PATIENCE) as connection,
            context.wrap_socket(connection, server_hostname=SERVER_NAME) as tls,
        ):
            if tls.recv(len(GREETING)) != GREETING:
                raise ConnectionError("the service printed nothing")
            return facts.serial_hex(x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b""))


class Watch:
    """Looks at everything, and reports what is new since the last look."""

    def __init__(self, site: Site, started: datetime) -> None:
        self._site = site
        self.handshakes = Handshakes(site.ca)
        self.started = started
        self.keystores = {name: WatchedKeystore(name) for name in site.certificates}
        self.events: list[Sighting] = []
        self.cas: list[TrustedCa] = []  # in the order they came into ca_file
        self.trusted: list[TrustedCa] = []  # those in it now
        self._hook_lines = 0
        self._served = 0
        self._failures = 0

    def look(self, now: datetime) -> None:
        """Look at everything once; what is new is added to `events`."""
        for keystore in self.keystores.values():
            self._look_at(keystore)
        self._look_at_trust(now)
        # In the order in which a transaction ends: history is written once hooks and probe have succeeded.
        self.events += self._hooks(now) + self._handshakes(now)
        for keystore in self.keystores.values():
            self.events += self._history(keystore, now)

    def missing(self) -> list[str]:
        """What has not happened yet, a line each; if empty, the demo is over and all is well."""
        lacks = []
        for each in self.keystores.values():
            if not each.enrolled:
                lacks.append(f"{each.name} was not enrolled")
            if each.renewed < WANTED:
                lacks.append(f"{each.name} was renewed {each.renewed} of {WANTED} times")
            if not each.rolled_over:
                lacks.append(f"{each.name} was not rolled over")
            if each.hooks < each.changes:
                lacks.append(f"the post hook of {each.name} ran {each.hooks} of {each.changes} times")
        if self.handshakes.changes < WANTED + 1:
            lacks.append(f"what the TLS service serves changed {self.handshakes.changes} of {WANTED + 1} times")
        if not self.cas or self.cas[0] in self.trusted:
            lacks.append("the first CA is still trusted")
        return lacks

    def _look_at(self, keystore: WatchedKeystore) -> None:
        directory = self._site.state(keystore.name)
        known = state.load(directory)
        if known is not None:
            keystore.condition = known.condition
            keystore.next_action, keystore.next_action_at = known.next_action or "", known.next_action_at
        transaction = Journal(directory).open()
        keystore.phase = transaction.phase if transaction else ""
        keystore.kind = transaction.kind if transaction else ""
        rollover = Journal(directory, "rollover").open()
        waits = rollover is not None and rollover.phase is Phase.ISSUED
        keystore.staged = rollover.serial if rollover and waits else ""
        keystore.switch_at = rollover.switch_at if rollover and waits else None
        path = self._site.certificates[keystore.name]
        in_place = facts.load_pem(path.read_bytes(), str(path)) if path.exists() else ()
        if in_place:
            keystore.not_before, keystore.not_after = in_place[0].not_valid_before_utc, in_place[0].not_valid_after_utc
            serial = facts.serial_hex(in_place[0])
            if serial not in keystore.serials:
                keystore.serials.append(serial)

    def _history(self, keystore: WatchedKeystore, now: datetime) -> list[Sighting]:
        lines = state.read_history(self._site.state(keystore.name))
        fresh = lines[keystore.lines_read :]
        keystore.lines_read = len(lines)
        for line in fresh:
            keystore.enrolled += line.event == "enrolled"
            keystore.renewed += line.event == "renewed"
            keystore.rolled_over += line.event == "rolled over"
        return [_event(keystore.name, line, now) for line in fresh if line.event != "trusted"]

    def _look_at_trust(self, now: datetime) -> None:
        path = self._site.ca
        held = [TrustedCa(each) for each in facts.load_pem(path.read_bytes(), str(path))] if path.exists() else []
        for ca in held:
            if ca not in self.trusted:
                advance = " too, in advance" if self.trusted else ""
                self.events.append(Sighting(now, "web", f"its clients trust CA {ca.name}{advance}"))
        for ca in self.trusted:
            if ca not in held:
                self.events.append(Sighting(now, "web", f"its clients no longer trust CA {ca.name}"))
        self.cas += [ca for ca in held if ca not in self.cas]
        self.trusted = held

    def _hooks(self, now: datetime) -> list[Sighting]:
        lines = self._site.hooks_log.read_text().splitlines() if self._site.hooks_log.exists() else []
        fresh = [line.split(" ", 2) for line in lines[self._hook_lines :]]
        self._hook_lines = len(lines)
        for name, _, _ in fresh:
            self.keystores[name].hooks += 1
            self.keystores[name].last_hook = now
        return [Sighting(now, name, f"post hook {text}") for name, _, text in fresh]

    def _handshakes(self, now: datetime) -> list[Sighting]:
        served, failures = self.handshakes.served[self._served :], self.handshakes.failures[self._failures :]
        events = [Sighting(now, "service", f"handshake failed: {text}", bad=True) for text in failures]
        for number, serial in enumerate(served, self._served):
            events.append(Sighting(now, "service", f"{'now ' if number else ''}serves {short(serial)}"))
        self._served += len(served)
        self._failures += len(failures)
        return events


def _event(name: str, line: state.Event, now: datetime) -> Sighting:
    """A line of history in the words of the demo."""
    if line.event == "next CA":
        return Sighting(now, name, f"found the next CA: {line.message.rpartition(': ')[2]}")
    if line.event == "staged":
        return Sighting(now, name, f"staged: {short(line.serial)} waits under the next CA")
    if line.event in ("enrolled", "renewed", "rolled over"):
        return Sighting(now, name, f"{line.event}: {short(line.serial)}")
    return Sighting(now, name, f"{line.event}: {line.message}", bad=True)


def short(serial: str) -> str:
    """The first digits of a serial number: enough to tell a few apart."""
    return serial[:8]
