"""nginx serves what certagent keeps alive: nobody who connects notices a renewal, but for the new certificate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from certagent.lab import Settings
from tests.consumers import servers, shipped
from tests.consumers.clients import Clients
from tests.interop.commands import certagent, openssl_confirms
from tests.renewal.site import DAY, Site, Sites
from tests.waiting import free_port

pytestmark = [pytest.mark.needs("nginx"), pytest.mark.needs("openssl")]


@dataclass(frozen=True)
class Web:
    site: Site
    port: int
    configuration: Path


@pytest.fixture(params=["rename", pytest.param("symlink", marks=pytest.mark.slow)])
def web(make_site: Sites, request: pytest.FixtureRequest) -> Web:
    """keystores/nginx.yaml, enrolled while nginx does not run yet: the pair is in place, the reload is owed."""
    site = make_site(Settings(lifetime=90 * DAY), real_time=True)
    port = free_port()
    configuration = servers.nginx_configuration(
        site.path("nginx"), port=port, key=site.key, certificate=site.certificate
    )
    changes = {
        "[systemctl, reload, nginx]": f"[nginx, -c, {configuration}, -s, reload]",
        "[nginx, -t]": f"[nginx, -t, -q, -c, {configuration}]",
        "key_file: /etc/ssl/private/nginx.key": f"key_file: {site.key}",
        "certificate_file: /etc/ssl/certs/nginx.pem": f"certificate_file: {site.certificate}",
        "127.0.0.1:443": f"127.0.0.1:{port}",
    }
    shipped.install(site, "nginx.yaml", changes, f"swap: {request.param}")
    enrolled = certagent(site.config, "enroll", "nginx")
    assert enrolled.returncode == 1, enrolled.stderr
    assert "hook nginx exited with 1" in enrolled.stderr
    return Web(site, port, configuration)


def test_not_one_connection_fails_over_renewals(web: Web) -> None:
    site, seen = web.site, []
    with servers.nginx(web.configuration, web.port):
        owed = certagent(site.config, "renew", "nginx")
        assert (owed.returncode, owed.stdout.split(",")[0]) == (0, "nginx: enrolled"), owed.stderr
        with Clients(web.port, shipped.ca_file(site)) as clients:
            for _ in range(3):
                clients.await_more()
                before = site.key.read_bytes()
                renewed = certagent(site.config, "renew", "--force", "nginx")
                assert renewed.returncode == 0, renewed.stderr
                assert site.key.read_bytes() != before
                clients.await_served(site.leaf().serial_number)
                seen.append(site.leaf().serial_number)
            clients.await_more()
    assert clients.failures == []
    assert len(set(seen)) == 3
    assert clients.serials == {record.serial for record in site.ca.issued()}
    openssl_confirms(site.key, site.certificate, shipped.ca_file(site))
    assert len(site.ca.issued()) == 4


@pytest.mark.slow
def test_an_nginx_started_anew_finds_the_pair(web: Web) -> None:
    for _ in range(2):
        with servers.nginx(web.configuration, web.port):
            assert certagent(web.site.config, "renew", "--force", "nginx").returncode == 0
