"""Whether a consumer has the new certificate: what a TLS server presents, what a command says."""

from __future__ import annotations

import shlex
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from certagent import keys
from certagent.certificate import to_der, to_pem
from certagent.config.parts import Probe
from certagent.config.values import Duration
from certagent.errors import ProbeError
from certagent.transaction.probe import await_consumer
from tests.waiting import PATIENCE, free_port

from .pki import Party, party, rsa_key

Serve = Callable[..., int]
Version = ssl.TLSVersion
Protocol = Literal["smtp", "imap", "postgres"]


@dataclass(frozen=True)
class Opening:
    """What a server says first, and after each request before TLS; a request ends with `end`."""

    greeting: bytes
    answers: tuple[bytes, ...]
    end: bytes = b"\r\n"

    def play(self, connection: socket.socket) -> None:
        connection.sendall(self.greeting)
        for answer in self.answers:
            request = b""
            while not request.endswith(self.end):
                got = connection.recv(1)
                if not got:
                    return  # the client has gone
                request += got
            connection.sendall(answer)


AT_ONCE = Opening(b"", ())
SMTP = Opening(
    b"220-mail.example.net\r\n220 ESMTP\r\n",
    (b"250-mail.example.net\r\n250-SIZE 10240000\r\n250 STARTTLS\r\n", b"220 2.0.0 Ready to start TLS\r\n"),
)
IMAP = Opening(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready.\r\n", (b"* CAPABILITY IMAP4rev1\r\na OK Begin now.\r\n",))
SERVER_HELLO_DONE = bytes.fromhex("16 0303 0004 0e000000")
POSTGRES = Opening(b"", (b"S",), end=bytes.fromhex("04d2162f"))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """`serve(party, …)`: a TLS server that presents each in turn, the last from then on. Returns its port.

    `opening`: what comes before TLS; `wants_client`: the CA of the client certificates that it insists on.
    """
    with ExitStack() as stack:

        def start(
            *parties: Party,
            opening: Opening = AT_ONCE,
            wants_client: Party | None = None,
            version: ssl.TLSVersion = Version.MAXIMUM_SUPPORTED,
        ) -> int:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            contexts = []
            for number, each in enumerate(parties):
                file = tmp_path / f"{number}.pem"
                file.write_bytes(keys.to_pem(each.key) + to_pem([each.certificate]))
                contexts.append(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
                contexts[-1].load_cert_chain(file)
                contexts[-1].maximum_version = version
                if wants_client is not None:
                    contexts[-1].load_verify_locations(cadata=to_der(wants_client.certificate))
                    contexts[-1].verify_mode = ssl.CERT_REQUIRED

            def answer() -> None:
                turn = iter(contexts)
                context = next(turn, None)
                while context is not None:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    with connection, suppress(OSError):
                        opening.play(connection)
                        if not connection.recv(1, socket.MSG_PEEK):  # ssl leaks sockets that are closed already
                            continue
                        with context.wrap_socket(connection, server_side=True) as tls:
                            tls.recv(1)  # in TLS 1.3 the client is through before it is asked who it is
                    context = next(turn, context)

            threading.Thread(target=answer, daemon=True).start()
            # close() alone would leave accept() waiting.
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return int(listener.getsockname()[1])

        yield start


def probe(
    port: int, seconds: float = PATIENCE, server_name: str | None = None, starttls: Protocol | None = None
) -> Probe:
    timeout = Duration(seconds=seconds)
    return Probe(tls=f"127.0.0.1:{port}", server_name=server_name, starttls=starttls, timeout=timeout)


def wait(probe: Probe, certificate: bytes) -> None:
    await_consumer(probe, certificate, {}, print)


def web() -> Party:
    return party("web", with_key=rsa_key("x"))


def test_the_new_certificate_is_seen_once_the_reload_is_through(serve: Serve) -> None:
    old, new = web(), web()
    wait(probe(serve(old, old, new), server_name="web.example"), to_der(new.certificate))


@pytest.mark.parametrize("version", [Version.TLSv1_2, Version.TLSv1_3])
def test_a_server_that_wants_a_client_certificate(serve: Serve, version: ssl.TLSVersion) -> None:
    new = web()
    wait(probe(serve(new, wants_client=new, version=version), 1), to_der(new.certificate))


@pytest.mark.parametrize(
    ("starttls", "opening"),
    [
        pytest.param("smtp", SMTP, id="smtp"),
        pytest.param("imap", IMAP, id="imap"),
        pytest.param("postgres", POSTGRES, id="postgres"),
    ],
)
def test_starttls(serve: Serve, starttls: Protocol, opening: Opening) -> None:
    old, new = web(), web()
    wait(probe(serve(old, new, opening=opening), starttls=starttls), to_der(new.certificate))


@pytest.mark.parametrize(
    ("starttls", "opening", "message"),
    [
        pytest.param("smtp", Opening(b"554 no\r\n", ()), "it does not start TLS: 554 no", id="smtp, no greeting"),
        pytest.param(
            "smtp",
            Opening(b"220 a\r\n", (b"250 a\r\n", b"454 TLS not available\r\n")),
            "it does not start TLS: 454 TLS not available",
            id="smtp, no TLS",
        ),
        pytest.param(
            "imap", Opening(b"* OK\r\n", (b"a BAD what\r\n",)), "it does not start TLS: a BAD what", id="imap, no TLS"
        ),
        pytest.param(
            "imap", Opening(b"* BYE full\r\n", ()), "it does not start TLS: . BYE full", id="imap, no greeting"
        ),
        pytest.param("imap", Opening(b"* OK" + b"x" * 100_000, ()), "says too much before TLS", id="no end of a line"),
        pytest.param("imap", Opening(b"* OK\r\n", (b"* a\r\n" * 20_000,)), "says too much before TLS", id="no end"),
        pytest.param(
            "postgres",
            Opening(b"", (b"N",), end=POSTGRES.end),
            "it does not start TLS: is ssl on",
            id="postgres, no TLS",
        ),
        pytest.param(None, SMTP, "the TLS handshake failed: ", id="smtp, not told"),
    ],
)
def test_no_tls(serve: Serve, starttls: Protocol | None, opening: Opening, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        wait(probe(serve(web(), opening=opening), 0.3, starttls=starttls), b"new")


def test_a_server_that_cannot_prove_that_the_key_is_its_own(serve: Serve) -> None:
    """TLS 1.2 shows the certificate in the open, and signs after it: here with one bit turned on the way."""
    new = web()
    port = serve(new, version=Version.TLSv1_2)

    def relay(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, socket.create_connection(("127.0.0.1", port)) as server, suppress(OSError):
            server.sendall(connection.recv(65536))
            flight = bytearray()
            while not flight.endswith(SERVER_HELLO_DONE):
                flight += server.recv(65536)
            flight[-len(SERVER_HELLO_DONE) - 1] ^= 1
            connection.sendall(flight)
            connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=relay, args=(listener,), daemon=True).start()
        with pytest.raises(ProbeError, match="the TLS handshake failed: "):
            wait(probe(listener.getsockname()[1], 0.001), to_der(new.certificate))


@pytest.mark.parametrize(
    ("served", "name", "message"),
    [
        pytest.param(True, None, "still serves another certificate", id="another certificate"),
        pytest.param(False, None, "cannot be reached", id="nobody there"),
        pytest.param(True, "", "cannot be reached", id="an empty name"),
        pytest.param(True, "127.0.0.1", "still serves another certificate", id="an address for a name"),
    ],
)
def test_not_served(serve: Serve, *, served: bool, name: str | None, message: str) -> None:
    port = serve(web()) if served else free_port()
    with pytest.raises(ProbeError, match=message) as caught:
        wait(probe(port, 0.001, name), b"new")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert caught.value.hint


def test_a_port_that_is_none() -> None:
    with pytest.raises(ProbeError, match="cannot be reached"):
        wait(Probe(tls="127.0.0.1:99999", timeout=Duration(seconds=0.1)), b"new")


def command(*argv: str, seconds: float = PATIENCE) -> Probe:
    return Probe(run=argv, timeout=Duration(seconds=seconds))


def test_a_command_is_asked_until_it_says_yes(tmp_path: Path) -> None:
    asked, lines = shlex.quote(str(tmp_path / "asked")), list[str]()
    script = f'echo "$CERTAGENT_EVENT $CERTAGENT_SERIAL" >>{asked}; cat {asked}; test $(wc -l <{asked}) = 2'
    await_consumer(command("sh", "-c", script), b"new", {"CERTAGENT_SERIAL": "0A"}, lines.append)
    assert lines == ["sh: probe 0A"] * 2  # what the last one printed


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param(("sh", "-c", "echo serial is old; exit 3"), "exited with 3: serial is old", id="says no"),
        pytest.param(("sleep", "60"), "did not end within 0.2 s", id="hangs"),
        pytest.param(("/nowhere/probe",), "cannot be started", id="not there"),
    ],
)
def test_a_command_that_does_not_say_yes(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(ProbeError, match=message) as caught:
        wait(command(*argv, seconds=0.2), b"new")
    assert "does not have the new certificate" in str(caught.value)
    assert caught.value.hint
