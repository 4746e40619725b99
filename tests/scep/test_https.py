"""HTTPS with a CA file and a client certificate, through a proxy, to IPv6 addresses; and URLs that grow too long."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from datetime import timedelta

import pytest

from certagent.certificate import to_der
from certagent.errors import ConfigError, TransientError
from certagent.scep import Client, encode_next_ca
from certagent.scep.transport import MAX_URL

from .https import Files, Server, running, tls_server, transport
from .parts import World


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


# ── TLS ──


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_ca_file_is_what_counts(files: Files, host: str) -> None:
    with running(server := tls_server(files, host=host)):
        assert transport(server.url, files["root.pem"]).get("GetCACaps") == b"yes"
        for other in (files["other.pem"], None):
            with pytest.raises(TransientError, match=r"^(127\.0\.0\.1|\[::1\]):\d+ has a TLS .* not trusted") as caught:
                transport(server.url, other).get("GetCACaps")
            assert "https_ca_file" in caught.value.hint
    assert len(server.seen) == 1


def test_client_certificate(files: Files) -> None:
    with running(server := tls_server(files, wants_client=True)):
        assert transport(server.url, files["root.pem"], files.client).get("GetCACaps") == b"yes"
        for unfit in (None, (files["other.pem"], files["other.key"])):
            # What is seen of a refusal after the handshake (TLS 1.3) depends on who is faster.
            with pytest.raises(TransientError, match=r"refuses the TLS connection|Connection reset|Broken pipe"):
                transport(server.url, files["root.pem"], unfit).get("GetCACaps")
    assert len(server.seen) == 1


def test_a_refused_client_certificate_is_told_as_such(files: Files) -> None:
    """TLS 1.2 refuses within the handshake."""
    server = tls_server(files, wants_client=True, version=ssl.TLSVersion.TLSv1_2)
    with running(server), pytest.raises(TransientError, match=r"refuses the TLS connection: .*alert") as caught:
        transport(server.url, files["root.pem"]).get("GetCACaps")
    assert "https_client_certificate" in caught.value.hint


@pytest.mark.parametrize(
    ("ca_file", "client", "says"),
    [
        pytest.param("gone.pem", None, "https_ca_file .*gone.pem .*No such file", id="no CA file"),
        pytest.param("root.key", None, "https_ca_file .*root.key cannot be used", id="CA file without certificate"),
        pytest.param(None, ("gone.pem", "client.key"), "https_client_certificate .*No such file", id="no certificate"),
        pytest.param(None, ("client.pem", "gone.key"), "https_client_certificate .*No such file", id="no key"),
        pytest.param(None, ("client.pem", "server.key"), "key values mismatch", id="another's key"),
        pytest.param(None, ("client.pem", "locked.key"), "cannot be used", id="an encrypted key: nobody is asked"),
    ],
)
def test_tls_files_that_do_not_serve(files: Files, ca_file: str, client: tuple[str, str] | None, says: str) -> None:
    pair = (files[client[0]], files[client[1]]) if client else None
    with pytest.raises(ConfigError, match=says) as caught:
        transport("https://ca.test/scep", files[ca_file] if ca_file else None, pair)
    assert "PEM" in caught.value.hint


# ── proxies ──


class Tunnel(socketserver.StreamRequestHandler):
    """CONNECT, and then bytes both ways."""

    def handle(self) -> None:
        proxy = self.server
        assert isinstance(proxy, Proxy)
        method, target, _ = self.rfile.readline().decode().split(" ", 2)
        while self.rfile.readline().strip():
            pass
        proxy.seen.append(f"{method} {target}")
        if proxy.refuses:
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        host, _, port = target.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), 5) as there:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_copy, args=(there, self.connection), daemon=True)
            back.start()
            _copy(self.connection, there)
            back.join(5)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side has gone


class Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.refuses = refuses
        self.seen: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


def test_https_through_a_proxy(files: Files) -> None:
    with running(server := tls_server(files, wants_client=True)), running(proxy := Proxy()):
        there = transport(server.url, files["root.pem"], files.client, proxy.url)
        assert there.get("GetCACaps") == b"yes"
        assert proxy.seen == [f"CONNECT 127.0.0.1:{server.server_port}"]
        with pytest.raises(TransientError, match="not trusted"):
            transport(server.url, files["other.pem"], files.client, proxy.url).get("GetCACaps")


def test_https_through_the_environments_proxy(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(server := tls_server(files)), running(proxy := Proxy()):
        for variable in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("https_proxy", proxy.url)
        assert transport(server.url, files["root.pem"]).get("GetCACaps") == b"yes"
        assert len(proxy.seen) == 1
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert transport(server.url, files["root.pem"]).get("GetCACaps") == b"yes"
        assert len(proxy.seen) == 1


def test_a_proxy_that_refuses() -> None:
    with running(proxy := Proxy(refuses=True)), pytest.raises(TransientError, match="through the proxy"):
        transport("https://ca.test/scep", proxy=proxy.url).get("GetCACaps")


def test_a_proxy_that_speaks_tls_is_judged_by_the_same_file(files: Files) -> None:
    """It takes requests like any server, with a whole URL in place of a path."""
    with running(server := tls_server(files)):
        proxy = server.url.removesuffix("/scep")
        assert transport("http://ca.test/scep", files["root.pem"], proxy=proxy).get("GetCACaps") == b"yes"
        assert server.seen == ["http://ca.test/scep?operation=GetCACaps"]
        with pytest.raises(TransientError, match=r"^the proxy has a TLS certificate that is not trusted"):
            transport("http://ca.test/scep", files["other.pem"], proxy=proxy).get("GetCACaps")


# ── IPv6 ──


def test_ipv6() -> None:
    with running(server := Server("::1")):
        assert transport(server.url).get("GetCACaps") == b"yes"
        assert transport(server.url).host == f"[::1]:{server.server_port}"


# ── URLs ──


def test_a_message_of_a_renewal_fits_into_a_url(world: World) -> None:
    """A certificate, a CSR and their signatures with RSA-2048: about 2.5 KiB."""
    with running(server := Server()):
        assert transport(server.url).get("PKIOperation", world.reply()[:2560]) == b"yes"


@pytest.mark.parametrize(
    ("longer", "sent"), [pytest.param(0, True, id="just short enough"), pytest.param(1, False, id="one byte too long")]
)
def test_the_limit_of_a_url(longer: int, sent: bool) -> None:
    with running(server := Server()):
        text = "x" * (MAX_URL - len(f"{server.url}?operation=PKIOperation&message=") + longer)
        if sent:
            assert transport(server.url).get("PKIOperation", text) == b"yes"
            return
        with pytest.raises(TransientError, match=f"URL of {MAX_URL + 1} bytes") as caught:
            transport(server.url).get("PKIOperation", text)
        assert "POSTPKIOperation" in caught.value.hint
        assert not server.seen


# ── the client hands on ──


def test_the_client_hands_on_what_tls_wants(files: Files) -> None:
    with running(server := tls_server(files, wants_client=True)):
        server.body = b"AES\n"
        there = Client(
            server.url, timeout=timedelta(seconds=5), ca_file=files["root.pem"], client_certificate=files.client
        )
        assert there.get_capabilities().names == {"AES"}


def test_next_ca_certificates(world: World) -> None:
    with running(server := Server()):
        server.body = encode_next_ca([world.stranger.certificate], world.ca)
        there = Client(server.url, ca_identifier="corp", timeout=timedelta(seconds=5))
        found = there.get_next_ca_certificates(signers=world.signers, accept=())
    assert [to_der(one) for one in found.certificates] == [to_der(world.stranger.certificate)]
    assert found.signed_by == world.ca.certificate
    assert server.seen == ["/scep?operation=GetNextCACert&message=corp"]
