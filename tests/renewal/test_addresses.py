"""An authority with several addresses: where one is silent or out of order, the next one is asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from certagent.errors import CertagentError, HttpError, UnreachableError
from certagent.lab import LabServer, Settings, serve
from certagent.policy import Condition
from certagent.scep import Client
from certagent.transaction.journal import Phase
from certagent.transaction.renewal import Wish
from tests.renewal.site import DAY, Site, Sites
from tests.waiting import PATIENCE, free_port

HANGS_UP, SAYS_NOTHING = 0, -1


class Beside(ThreadingHTTPServer):
    """A server that answers everything with `status`; HANGS_UP without a word, or SAYS_NOTHING as long as it lives.

    `asked`: what came.
    """

    daemon_threads = True

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.asked: list[str] = []
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/scep"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients go away here."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Beside)
        server.asked.append(self.path.partition("operation=")[2].partition("&")[0])
        if server.status in (HANGS_UP, SAYS_NOTHING):
            if server.status == SAYS_NOTHING:
                server.ended.wait()
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 -- as the base has it

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def beside() -> Iterator[Callable[[int], Beside]]:
    with ExitStack() as stack:

        def start(status: int) -> Beside:
            server = stack.enter_context(Beside(status))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            stack.callback(server.ended.set)
            return server

        yield start


def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}/scep"


def write(site: Site, *urls: str) -> None:
    site.write(authority=f"url: [{', '.join(urls)}]")


@pytest.mark.parametrize("status", [500, 503])
def test_an_address_that_is_out_of_order_is_passed_over(
    make_site: Sites, beside: Callable[[int], Beside], status: int
) -> None:
    site, broken = make_site(), beside(status)
    write(site, broken.url, site.server.url)
    assert site.run().state is Condition.VALID
    assert any(f"HTTP {status}" in line and "instead" in line for line in site.log)


def test_an_address_that_nobody_listens_at_is_passed_over(make_site: Sites) -> None:
    site = make_site()
    write(site, nowhere(), site.server.url)
    assert site.run().state is Condition.VALID
    assert site.run(Wish.RENEW).state is Condition.VALID
    assert [record.kind for record in site.ca.issued()] == ["enrollment", "renewal"]


def test_an_address_that_says_nothing_cannot_be_reached(beside: Callable[[int], Beside]) -> None:
    client = Client([beside(SAYS_NOTHING).url], timeout=timedelta(milliseconds=300))
    with pytest.raises(UnreachableError, match="did not answer within"):
        client.get_ca_certificates()


def test_an_address_that_is_silent_costs_its_time_once(make_site: Sites, beside: Callable[[int], Beside]) -> None:
    site, silent = make_site(), beside(HANGS_UP)
    write(site, silent.url, site.server.url)
    assert site.run().state is Condition.VALID
    assert silent.asked == ["GetCACert"]  # neither GetCACaps nor PKIOperation


def test_an_address_that_took_a_request_and_died_costs_its_time_once(
    make_site: Sites, beside: Callable[[int], Beside]
) -> None:
    site, silent = make_site(), beside(HANGS_UP)
    client = Client([site.server.url, silent.url], timeout=timedelta(seconds=PATIENCE))
    client.get_ca_certificates()
    for _ in range(2):
        with pytest.raises(HttpError):  # the lab's word for what is no message
            client.pki_operation(b"a poll", post=True, first=silent.url)
    assert silent.asked == ["PKIOperation"]


def test_the_first_one_alone_is_asked_while_it_answers(make_site: Sites, beside: Callable[[int], Beside]) -> None:
    site, second = make_site(), beside(503)
    write(site, site.server.url, second.url)
    assert site.run().state is Condition.VALID
    assert second.asked == []


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_the_authoritys_whoever_tells_it(
    make_site: Sites, beside: Callable[[int], Beside], status: int
) -> None:
    site, refusing = make_site(), beside(status)
    write(site, refusing.url, site.server.url)
    with pytest.raises(CertagentError, match=f"HTTP {status}"):
        site.context().authorities.contact("lab", site.clock())


def test_where_nobody_answers_each_is_named(make_site: Sites, beside: Callable[[int], Beside]) -> None:
    site, broken, gone = make_site(), beside(502), nowhere()
    write(site, broken.url, gone)
    with pytest.raises(CertagentError) as refused:
        site.context().authorities.contact("lab", site.clock())
    told = f"{refused.value}; {refused.value.hint}"
    for url in (broken.url, gone):
        assert url.split("/")[2] in told


@pytest.fixture
def second(make_site: Sites) -> Iterator[tuple[Site, LabServer]]:
    """A device and its CA, which lets requests wait, and answers at a second address too."""
    site = make_site(Settings(lifetime=90 * DAY, manual=True))
    with serve(site.ca) as server:
        yield site, server


def approve(site: Site) -> None:
    (waiting,) = site.ca.store.all_waiting()
    site.ca.store.decide(waiting, "approved")


def endpoint(site: Site) -> tuple[Phase, str]:
    assert site.transaction is not None
    return site.transaction.phase, site.transaction.endpoint


def test_a_poll_asks_first_who_took_the_request(second: tuple[Site, LabServer]) -> None:
    site, other = second
    write(site, nowhere(), other.url)
    site.run()
    assert endpoint(site) == (Phase.PENDING, other.url)
    write(site, site.server.url, other.url)  # the first is there again
    site.clock.advance(DAY)
    site.run()
    assert endpoint(site) == (Phase.PENDING, other.url)


def test_a_transaction_goes_on_at_another_address(second: tuple[Site, LabServer]) -> None:
    site, other = second
    write(site, other.url, site.server.url)
    site.run()
    assert endpoint(site) == (Phase.PENDING, other.url)
    other.stop()
    approve(site)
    site.clock.advance(DAY)
    assert site.run().state is Condition.VALID
    assert len(site.ca.issued()) == 1
    assert "abandoned" not in site.events()


@pytest.mark.parametrize(
    ("before", "after", "goes_on"),
    [
        pytest.param(("A",), ("A", "B"), True, id="an address is added"),
        pytest.param(("A",), ("B", "A"), True, id="an address is put before it"),
        pytest.param(("A", "B"), ("A",), True, id="the other is taken out"),
        pytest.param(("A", "B"), ("B",), False, id="its own is taken out"),
    ],
)
def test_what_waits_when_the_list_changes(
    second: tuple[Site, LabServer], before: tuple[str, ...], after: tuple[str, ...], goes_on: bool
) -> None:
    site, other = second
    urls = {"A": site.server.url, "B": other.url}
    write(site, *(urls[each] for each in before))
    site.run()
    assert site.transaction is not None
    first = site.transaction.id
    write(site, *(urls[each] for each in after))
    site.clock.advance(DAY)
    site.run()
    assert (site.transaction.id == first) is goes_on


@pytest.mark.parametrize(
    ("before", "after", "known"),
    [
        pytest.param(("A",), ("B", "A"), True, id="an address is put before it"),
        pytest.param(("A", "B"), ("B",), True, id="the first is taken out"),
        pytest.param(("A",), ("B",), False, id="another one altogether"),
    ],
)
def test_what_is_remembered_of_the_ca_when_the_list_changes(
    second: tuple[Site, LabServer], before: tuple[str, ...], after: tuple[str, ...], known: bool
) -> None:
    site, other = second
    urls = {"A": site.server.url, "B": other.url}
    write(site, *(urls[each] for each in before))
    site.run()
    write(site, *(urls[each] for each in after))
    assert (site.context().authorities.known("lab") is not None) is known


def test_check_looks_at_every_address(make_site: Sites, beside: Callable[[int], Beside]) -> None:
    site, broken = make_site(real_time=True), beside(503)
    with serve(site.ca) as other:
        write(site, site.server.url, other.url, broken.url)
        printed = site.command("check").stdout
    assert f"{site.server.url} answers: " in printed
    assert f"{other.url} answers too" in printed
    assert f"{broken.url} cannot take over: " in printed
