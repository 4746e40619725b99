"""HTTP against a real server on loopback that behaves as servers, and what stands between, do."""

from __future__ import annotations

import base64
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from certagent.certificate import to_der
from certagent.errors import ConfigError, HttpError, TransientError
from certagent.scep import Capabilities, Client, Transport
from certagent.scep.transport import retry_after
from tests.waiting import PATIENCE

from .parts import World

Behaviour = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Every request is answered by `behaviour`; what came is kept in `seen`."""

    daemon_threads = True
    behaviour: Behaviour

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[BaseHTTPRequestHandler] = []
        self.given_up = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/scep"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.seen.append(self)
        server.behaviour(self)

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- as the base has it
        """Quiet."""


def answer(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for field, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(field.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.given_up.set()
        server.shutdown()
        thread.join()


def transport(url: str, seconds: float = PATIENCE, proxy: str | None = None) -> Transport:
    return Transport(url, timeout=timedelta(seconds=seconds), proxy=proxy)


def query(server: Server) -> dict[str, list[str]]:
    return parse_qs(urlsplit(server.seen[-1].path).query, strict_parsing=True)


# ── what is sent ──


def test_what_a_request_says(server: Server) -> None:
    """A load balancer knows by its cookie which server has the transaction."""
    server.behaviour = answer(200, b"ok", Set_Cookie="server=2; Path=/")
    client = transport(server.url)
    client.get("GetCACaps")
    client.post("PKIOperation", b"message")
    first, second = (dict(each.headers) for each in server.seen)
    always = {
        "Host": f"127.0.0.1:{server.server_port}",
        "User-Agent": "certagent",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
    }
    assert first == always
    message = {"Content-Type": "application/x-pki-message", "Content-Length": "7"}
    assert second == {**always, **message, "Cookie": "server=2"}


def test_get_carries_base64_percent_encoded(server: Server) -> None:
    server.behaviour = answer(200, b"yes")
    message = bytes(range(256))
    assert transport(server.url).get("PKIOperation", message) == b"yes"
    path = server.seen[-1].path
    assert not set("+/= ").intersection(path.partition("message=")[2])
    assert base64.b64decode(query(server)["message"][0], validate=True) == message


def test_get_with_text_and_without(server: Server) -> None:
    server.behaviour = answer(200, b"yes")
    transport(server.url).get("GetCACert", "my CA&1")
    assert query(server) == {"operation": ["GetCACert"], "message": ["my CA&1"]}
    transport(server.url).get("GetCACert")
    assert query(server) == {"operation": ["GetCACert"]}


def test_post(server: Server) -> None:
    server.behaviour = answer(200, b"yes")
    assert transport(server.url).post("PKIOperation", b"\0body") == b"yes"
    seen = server.seen[-1]
    assert (seen.command, seen.body) == ("POST", b"\0body")  # type: ignore[attr-defined]
    assert seen.headers["Content-Length"] == "5"
    assert seen.headers["Content-Type"] == "application/x-pki-message"
    assert query(server) == {"operation": ["PKIOperation"]}


def test_environment_proxy_counts_without_a_configured_one(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.behaviour = answer(200, b"proxied")
    proxy = server.url.removesuffix("/scep")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    assert transport("http://scep.test/scep").get("GetCACaps") == b"proxied"
    assert server.seen[-1].path == "http://scep.test/scep?operation=GetCACaps"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert transport("http://scep.test/scep", proxy=proxy).get("GetCACaps") == b"proxied"


def test_a_proxy_of_the_environment_that_we_do_not_speak_with(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("all_proxy", "socks5h://user:hunter2@127.0.0.1:1080")
    with pytest.raises(TransientError, match=r"all_proxy in the environment names a socks5h:// proxy$") as caught:
        transport("http://scep.test/scep").get("GetCACaps")
    assert "no_proxy" in caught.value.hint


def test_passwords_of_netrc_go_nowhere(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.behaviour = answer(200, b"yes")
    transport(server.url).get("GetCACaps")
    assert "Authorization" not in server.seen[-1].headers


def test_a_content_encoding_that_packs_nothing_is_not_minded(server: Server) -> None:
    server.behaviour = answer(200, b"yes", Content_Encoding="binary")
    assert transport(server.url).get("GetCACaps") == b"yes"


# ── what comes back wrong ──


def given_up(handler: BaseHTTPRequestHandler, seconds: float) -> bool:
    assert isinstance(handler.server, Server)
    return handler.server.given_up.wait(seconds)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then, each well within a socket's time limit, for as long as the client waits."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        if given_up(handler, 0.05):
            return


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(1000):
        handler.wfile.write(b"x")
        if given_up(handler, 0.05):
            return


def silence(handler: BaseHTTPRequestHandler) -> None:
    given_up(handler, PATIENCE)


def endless(handler: BaseHTTPRequestHandler) -> None:
    """10 MB, without saying so beforehand."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(160):
        handler.wfile.write(bytes(65536))


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x16\x03\x01 not HTTP\r\n\r\n")


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def moved(location: str, status: int = 302, **headers: str) -> Behaviour:
    return answer(status, b"", Location=location, **headers)


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        pytest.param(answer(500, b"operation not implemented\n"), "HTTP 500: operation not impl", id="500 with text"),
        pytest.param(answer(403, b"\n\x1b[2J no \x07such\nCA"), r"HTTP 403: \[2J no  such$", id="control characters"),
        pytest.param(answer(400, b"x" * 10_000), r"HTTP 400: x{199}…$", id="a long line"),
        pytest.param(answer(404, b"<html>\n<h1>Not found</h1>"), "HTTP 404: Not found$", id="404 with a web page"),
        pytest.param(answer(404, b"<html></html>"), "HTTP 404$", id="404 with a page that says nothing"),
        pytest.param(answer(500, b"\x30\x82" + bytes(range(256))), "HTTP 500$", id="500 with no text"),
        pytest.param(answer(204), "HTTP 204$", id="204"),
        pytest.param(answer(200, b"half", Content_Length="100"), "cut its answer off", id="truncated"),
        pytest.param(answer(200, b"plain text", Content_Encoding="gzip"), "with gzip, which", id="gzip"),
        pytest.param(answer(200, b"text", Content_Encoding="x, Zstd"), "with x, zstd, which", id="packed twice"),
        pytest.param(answer(200, bytes(10_000_000)), "more than 2048 KiB", id="10 MB"),
        pytest.param(endless, "more than 2048 KiB", id="10 MB unannounced"),
        pytest.param(answer(500, bytes(10_000_000)), "more than 2048 KiB", id="an error of 10 MB"),
        pytest.param(drip, "did not answer within 0.4 seconds", id="slow drip"),
        pytest.param(drip_headers, "did not answer within 0.4 seconds", id="slow drip of headers"),
        pytest.param(silence, "did not answer within 0.4 seconds", id="silence"),
        pytest.param(no_http, "cannot be reached|proper HTTP|broke", id="not HTTP"),
        pytest.param(hang_up, "cannot be reached", id="connection closed"),
        pytest.param(moved("http://localhost:1/scep"), "redirects to another place: http://localhost", id="other host"),
        pytest.param(moved("ftp://127.0.0.1/"), "redirects to another place", id="redirect to FTP"),
        pytest.param(moved("file:///etc/passwd"), "redirects to another place", id="redirect to a file"),
        pytest.param(moved("/scep"), "in circles", id="redirect to itself"),
        pytest.param(moved("http://[", 301), "proper HTTP", id="redirect to nonsense"),
        pytest.param(moved("/scep", 303), "HTTP 303", id="see other"),
        pytest.param(answer(302), "HTTP 302", id="redirect to nowhere"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_bad_answers(server: Server, method: str, behaviour: Behaviour, says: str) -> None:
    server.behaviour = behaviour
    quick = "0.4 seconds" in says
    there = transport(server.url, 0.4 if quick else PATIENCE)
    with pytest.raises(TransientError, match=says) as caught:
        there.get("GetCACert") if method == "GET" else there.post("PKIOperation", b"x")
    assert str(caught.value).startswith(f"127.0.0.1:{server.server_port} ")
    assert caught.value.hint


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_redirect_on_the_same_host_is_followed(server: Server, method: str, status: int) -> None:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        there = handler.path.startswith("/new")
        (answer(200, b"here") if there else moved("/new?operation=X", status))(handler)

    server.behaviour = behave
    there = transport(server.url)
    assert (there.get("X") if method == "GET" else there.post("X", b"body")) == b"here"
    assert [one.command for one in server.seen] == [method, method]


def test_what_comes_with_a_redirect_is_not_read(server: Server) -> None:
    """Reading it would have no bound: this one promises a gigabyte, and waits."""
    done = threading.Event()

    def behave(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/new"):
            answer(200, b"here")(handler)
            return
        moved("/new", 302, Content_Length=str(1 << 30))(handler)
        done.wait(30)

    server.behaviour = behave
    try:
        assert transport(server.url, seconds=20).get("X") == b"here"
    finally:
        done.set()


def test_no_redirect_from_https_to_http() -> None:
    with pytest.raises(TransientError, match="redirects to another place"):
        transport("https://ca.test/scep")._redirected("https://ca.test/scep", "http://ca.test/scep")


def test_unreachable() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with pytest.raises(TransientError, match=f"^127.0.0.1:{port} cannot be reached: Connection refused$"):
            transport(f"http://127.0.0.1:{port}/scep").get("GetCACaps")


def test_unreachable_proxy() -> None:
    with pytest.raises(TransientError, match="cannot be reached through the proxy"):
        transport("http://ca.test/scep", proxy="http://127.0.0.1:1").get("GetCACaps")


def test_unknown_host() -> None:
    with pytest.raises(TransientError, match=r"^ca\.invalid cannot be reached"):
        transport("http://ca.invalid/scep").get("GetCACaps")


def test_tls_to_a_server_that_speaks_none(server: Server) -> None:
    server.behaviour = answer(200)
    with pytest.raises(TransientError, match="TLS"):
        transport(server.url.replace("http:", "https:")).get("GetCACaps")


def test_no_password_of_the_url_in_errors(server: Server) -> None:
    server.behaviour = answer(500)
    with pytest.raises(TransientError) as caught:
        transport(server.url.replace("//", "//user:hunter2@")).get("GetCACaps")
    assert "hunter2" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("url", ["http://[::1/scep", "http://host:99999/scep", "ftp://host/", "host/scep", "http:///x"])
def test_no_url(url: str) -> None:
    with pytest.raises(ConfigError):
        transport(url)


@contextmanager
def hole() -> Iterator[int]:
    """A port that takes a connection and never says a word."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler, bind_and_activate=True) as server:
        yield server.server_address[1]


def test_a_port_that_never_answers() -> None:
    with hole() as port, pytest.raises(TransientError, match="did not answer within"):
        transport(f"http://127.0.0.1:{port}/scep", 0.2).get("GetCACaps")


# ── the client's operations ──


def client(server: Server, ca_identifier: str | None = None) -> Client:
    return Client(server.url, ca_identifier=ca_identifier, timeout=timedelta(seconds=PATIENCE))


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(answer(404, b"AES"), id="404"),
        pytest.param(answer(500, b"AES"), id="500"),
        pytest.param(answer(200, b"<html>\nIt works!\n</html>", Content_Type="text/html"), id="a web page"),
        pytest.param(answer(200), id="empty"),
    ],
)
def test_no_capabilities(server: Server, behaviour: Behaviour) -> None:
    server.behaviour = behaviour
    assert client(server).get_capabilities() == Capabilities()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_out_of_order_says_nothing_about_capabilities(server: Server, status: int) -> None:
    """Else a restart behind a gateway would look like somebody weakening the exchange."""
    server.behaviour = answer(status, b"try later")
    with pytest.raises(TransientError, match=f"HTTP {status}: try later"):
        client(server).get_capabilities()


@pytest.mark.parametrize("status", [404, 500, 503])
def test_what_it_could_before_stands_where_capabilities_alone_are_not_told(server: Server, status: int) -> None:
    before = Capabilities.parse(b"AES\nRenewal")
    server.behaviour = answer(status, b"no")
    assert client(server).get_capabilities(before) is before
    server.behaviour = answer(200, b"DES3")
    assert client(server).get_capabilities(before).names == {"DES3"}


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(answer(429, b"too many"), id="too many requests"),
        pytest.param(answer(503, b"busy", Retry_After="60"), id="a pause"),
    ],
)
def test_a_server_that_wants_to_be_left_alone_is_not_asked_for_more(server: Server, behaviour: Behaviour) -> None:
    server.behaviour = behaviour
    with pytest.raises(HttpError):
        client(server).get_capabilities(Capabilities.parse(b"AES"))


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({"Retry-After": "120"}, 120, id="seconds"),
        pytest.param({"Retry-After": " 0 "}, 0, id="at once"),
        pytest.param(
            {"Retry-After": DATE, "Date": "Wed, 21 Oct 2026 07:00:00 GMT"}, 1680, id="a date, by its own clock"
        ),
        pytest.param({"Retry-After": DATE, "Date": "Wed, 21 Oct 2026 08:00:00 GMT"}, 0, id="a date that has passed"),
        pytest.param({"Retry-After": DATE}, None, id="a date, and no clock"),
        pytest.param({"Retry-After": "9" * 400}, 7 * 86400, id="for ever"),
        pytest.param({"Retry-After": "9999-12-31", "Date": DATE}, None, id="no date"),
        pytest.param({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -9999", "Date": DATE}, None, id="behind the calendar"),
        pytest.param({"Retry-After": "-5"}, None, id="negative"),
        pytest.param({"Retry-After": "1e9"}, None, id="no number"),
        pytest.param({"Retry-After": ""}, None, id="empty"),
        pytest.param({}, None, id="not there"),
    ],
)
def test_how_long_a_server_asks_to_be_left_alone(headers: dict[str, str], expected: int | None) -> None:
    wait = retry_after(headers)
    assert (wait.total_seconds() if wait is not None else None) == expected


def test_its_wish_comes_with_the_error_and_with_an_answer(server: Server) -> None:
    asking = client(server)
    server.behaviour = answer(503, b"busy", Retry_After="120")
    with pytest.raises(HttpError) as caught:
        asking.get_ca_certificates()
    assert caught.value.wait == timedelta(seconds=120)
    server.behaviour = answer(200, b"reply", Retry_After="60")
    asking.pki_operation(b"message", post=True)
    assert asking.wait == timedelta(seconds=60)
    server.behaviour = answer(200, b"reply")
    asking.pki_operation(b"message", post=True)
    assert asking.wait is None


@pytest.mark.parametrize("identifier", ["corp-ca", None])
def test_ca_certificates(server: Server, world: World, identifier: str | None) -> None:
    server.behaviour = answer(200, to_der(world.ca.certificate), Content_Type="text/plain")
    assert client(server, identifier).get_ca_certificates() == (world.ca.certificate,)
    assert query(server).get("message") == ([identifier] if identifier else None)


WHICH_CA = "ca_identifier"


@pytest.mark.parametrize(
    ("behaviour", "identifier", "says", "hint"),
    [
        pytest.param(answer(404, b"no such CA"), None, "HTTP 404: no such CA", WHICH_CA, id="404"),
        pytest.param(
            answer(400, b"<h1>Parameter message is empty"), None, "HTTP 400: Param", WHICH_CA, id="400 (EJBCA)"
        ),
        pytest.param(answer(200, b"<html><h1>Welcome"), None, "is a web page: Welcome", WHICH_CA, id="a web page"),
        pytest.param(answer(200, b"no profile matches"), None, "not SCEP: no profile", WHICH_CA, id="a text"),
        pytest.param(answer(404), "corp", "HTTP 404", "the CA's SCEP address", id="404 for the one it was told"),
        pytest.param(
            answer(200, b"<html>"), "corp", "is a web page", "SCEP address", id="a page for the one it was told"
        ),
        pytest.param(answer(401), None, "HTTP 401", "rejects this request", id="401"),
        pytest.param(answer(407), None, "HTTP 407", "the proxy", id="407"),
        pytest.param(answer(500), None, "HTTP 500", "check the CA's log", id="500"),
        pytest.param(answer(503), None, "HTTP 503", "down or busy", id="503"),
        pytest.param(answer(200, b"\x30\x82\x05\x10\x30"), None, "cut off", "try again", id="cut short"),
    ],
)
def test_no_ca_certificates(server: Server, behaviour: Behaviour, identifier: str | None, says: str, hint: str) -> None:
    """The likely cause is named, and where another is as likely, none."""
    server.behaviour = behaviour
    with pytest.raises(TransientError, match=says) as caught:
        client(server, identifier).get_ca_certificates()
    assert hint in caught.value.hint
    assert (WHICH_CA in caught.value.hint) is (hint == WHICH_CA)


def by_method(post: Behaviour, get: Behaviour) -> Behaviour:
    return lambda handler: (post if handler.command == "POST" else get)(handler)


@pytest.mark.parametrize("status", [405, 501])
def test_a_method_that_is_refused_is_not_tried_again(server: Server, status: int) -> None:
    """A proxy before a CA that claims POST."""
    server.behaviour = by_method(answer(status, b"method not allowed"), answer(200, b"reply"))
    there = client(server)
    assert [there.pki_operation(b"message", post=True) for _ in range(2)] == [b"reply"] * 2
    assert [seen.command for seen in server.seen] == ["POST", "GET", "GET"]


@pytest.mark.parametrize(
    ("answers", "message", "says", "hint"),
    [
        pytest.param((answer(400, b"no"), answer(200)), b"m", "HTTP 400: no", "log", id="refused for itself"),
        pytest.param(
            (answer(405), answer(400, b"bad challenge")), b"m", "HTTP 400: bad chal", "log", id="the CA's word"
        ),
        pytest.param((answer(405), answer(405)), b"m", "HTTP 405", "GET is refused too", id="both refused"),
        pytest.param((answer(405), answer(404)), b"m", "HTTP 405", "GET is refused too", id="no such way"),
        pytest.param((answer(405), answer(200)), bytes(9000), "HTTP 405", "bytes, more than", id="too long for GET"),
    ],
)
def test_refused_by_post(
    server: Server, answers: tuple[Behaviour, Behaviour], message: bytes, says: str, hint: str
) -> None:
    server.behaviour = by_method(*answers)
    with pytest.raises(HttpError, match=says) as caught:
        client(server).pki_operation(message, post=True)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(answer(414, b"URI too long"), id="414"),
        pytest.param(answer(404, b"<title>IIS 10.0 Detailed Error - 404.15 - Not Found</title>"), id="IIS 404.15"),
    ],
)
def test_a_query_too_long_for_the_server_is_explained(server: Server, behaviour: Behaviour) -> None:
    server.behaviour = behaviour
    with pytest.raises(HttpError) as caught:
        client(server).pki_operation(bytes(2000), post=False)
    assert "add post to `capabilities`" in caught.value.hint


@pytest.mark.parametrize("post", [True, False], ids=["POST", "GET"])
def test_pki_operation(server: Server, post: bool) -> None:
    server.behaviour = answer(200, b"reply")
    assert client(server).pki_operation(b"message", post=post) == b"reply"
    assert server.seen[-1].command == ("POST" if post else "GET")
