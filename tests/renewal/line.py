"""A lab CA at the end of a bad line, and what can go wrong on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from certagent.lab import Answer, HttpAnswer, LabCA, Settings, serve
from certagent.scep import MessageType, Request
from tests.renewal.site import Site
from tests.waiting import PATIENCE

PKCS_REQ, RENEWAL_REQ, CERT_POLL = MessageType.PKCS_REQ, MessageType.RENEWAL_REQ, MessageType.CERT_POLL


class BadLine(LabCA):
    """Hears everything and answers all of it; the next `lost` replies do not arrive, the next `late` come too late
    for a client that does not wait as long as `given_up` is not set.

    `heard`: the messages as they came; `asked`: the same, opened.
    """

    def __init__(self, directory: Path, clock: Callable[[], datetime], settings: Settings | None = None) -> None:
        super().__init__(directory, clock, settings)
        self.heard: list[bytes] = []
        self.asked: list[Request] = []
        self.lost = 0
        self.late = 0
        self.given_up = threading.Event()

    def pki_operation(self, message: bytes) -> HttpAnswer:
        self.heard.append(message)
        answer = super().pki_operation(message)
        if self.lost:
            self.lost -= 1
            return HttpAnswer(502, "text/plain", b"the gateway lost it\n", "lost")
        if self.late:
            self.late -= 1
            self.given_up.wait(PATIENCE)
        return answer

    def decide(self, request: Request) -> Answer:
        self.asked.append(request)
        return super().decide(request)

    def types(self) -> list[MessageType]:
        return [request.message_type for request in self.asked]


def line(site: Site) -> BadLine:
    assert isinstance(site.ca, BadLine)
    return site.ca


def approve(site: Site) -> None:
    for waiting in site.ca.store.all_waiting():
        site.ca.store.decide(waiting, "approved")


def restart(site: Site, *, forgetting: bool = False) -> None:
    """The CA in a new process, as far as its directory and its address can tell."""
    site.server.stop()
    old, port = site.ca, urlsplit(site.server.url).port
    if forgetting:
        for waiting in old.store.all_waiting():
            old.store.remove_waiting(waiting.transaction_id)
    site.server = serve(type(old)(old.store.directory, site.clock, old.settings), port=port or 0)
    site.server.start()
