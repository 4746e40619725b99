"""Looking at what a TLS server presents."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from certagent import keys
from certagent.certificate import to_der, to_pem
from certagent.config.parts import Probe
from certagent.config.values import Duration
from certagent.errors import ProbeError
from certagent.transaction.probe import wait_until_served
from tests.waiting import PATIENCE, free_port

from .pki import Party, party, rsa_key

Serve = Callable[..., int]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """`serve(party, …)`: a TLS server that presents each in turn, the last from then on. Returns its port."""
    with ExitStack() as stack:

        def start(*parties: Party) -> int:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            contexts = []
            for number, each in enumerate(parties):
                file = tmp_path / f"{number}.pem"
                file.write_bytes(keys.to_pem(each.key) + to_pem([each.certificate]))
                contexts.append(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
                contexts[-1].load_cert_chain(file)

            def answer() -> None:
                turn = iter(contexts)
                context = next(turn, None)
                while context is not None:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    except OSError:
                        connection.close()
                    context = next(turn, context)

            threading.Thread(target=answer, daemon=True).start()
            # close() alone would leave accept() waiting.
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return int(listener.getsockname()[1])

        yield start


def probe(port: int, seconds: float = PATIENCE, server_name: str | None = None) -> Probe:
    return Probe(tls=f"127.0.0.1:{port}", server_name=server_name, timeout=Duration(seconds=seconds))


def test_the_new_certificate_is_seen_once_the_reload_is_through(serve: Serve) -> None:
    old, new = party("web", with_key=rsa_key("x")), party("web", with_key=rsa_key("x"))
    wait_until_served(probe(serve(old, old, new), server_name="web.example"), to_der(new.certificate))


@pytest.mark.parametrize(
    ("served", "name", "message"),
    [
        pytest.param(True, None, "still serves another certificate", id="another certificate"),
        pytest.param(False, None, "cannot be reached", id="nobody there"),
        pytest.param(True, "", "cannot be reached", id="an empty name"),
    ],
)
def test_not_served(serve: Serve, *, served: bool, name: str | None, message: str) -> None:
    port = serve(party("web", with_key=rsa_key("x"))) if served else free_port()
    with pytest.raises(ProbeError, match=message) as caught:
        wait_until_served(probe(port, 1, name), b"new")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert caught.value.hint


def test_a_port_that_is_none() -> None:
    with pytest.raises(ProbeError, match="cannot be reached"):
        wait_until_served(Probe(tls="127.0.0.1:99999", timeout=Duration(seconds=0.1)), b"new")
