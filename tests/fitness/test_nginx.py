"""What is accepted is served: Debian's nginx, and a client that trusts the CA and wants to see the name."""

from __future__ import annotations

import socket
import ssl
import subprocess
from functools import partial

import pytest
from cryptography import x509

from certagent.certificate import to_pem
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.consumers import servers
from tests.fitness.bench import PURPOSES, Bench
from tests.fitness.conftest import Benches
from tests.fitness.issued import DEFECTS, HONEST
from tests.waiting import free_port, until

pytestmark = [pytest.mark.needs("nginx")]


def served(bench: Bench, port: int) -> int:
    """The serial number of what a client gets and verifies."""
    ca = to_pem([bench.ca.generation.issuer.certificate]).decode()
    context = ssl.create_default_context(cadata=ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="web.example.net") as tls,
    ):
        found = tls.getpeercert(binary_form=True)
    assert found is not None
    return x509.load_der_x509_certificate(found).serial_number


def is_served(bench: Bench, port: int, serial: int) -> bool:
    return served(bench, port) == serial


@pytest.mark.slow
def test_every_successor_that_is_accepted_is_served(make_bench: Benches) -> None:
    bench = make_bench(real_time=True)
    bench.write(f"{PURPOSES}may_lose: [ipsec_ike, data_encipherment]")  # what some of them add
    assert bench.run().result is Result.ENROLLED
    port = free_port()
    configuration = servers.nginx_configuration(
        bench.path("nginx"), port=port, key=bench.key, certificate=bench.certificate
    )
    with servers.nginx(configuration, port):
        for name, make in HONEST.items():
            if name == "under an intermediate":  # the lab has no room for one
                continue
            bench.ca.make = make
            assert bench.run(Wish.RENEW).result is Result.RENEWED, name
            subprocess.run(["nginx", "-c", str(configuration), "-s", "reload"], check=True, capture_output=True)
            serial = bench.leaf().serial_number
            until(partial(is_served, bench, port, serial))
        bench.ca.make = DEFECTS["our key as RSASSA-PSS"].make
        assert bench.run(Wish.RENEW).result is Result.FAILED
        assert served(bench, port) == serial
