"""HAProxy reads key, certificate and chain from one file: one rename is the whole swap."""

from __future__ import annotations

import pytest

from certagent.lab import Settings
from tests.consumers import servers, shipped
from tests.consumers.clients import Clients
from tests.interop.commands import certagent, openssl_confirms
from tests.renewal.site import DAY, Sites
from tests.waiting import free_port

pytestmark = [pytest.mark.needs("haproxy"), pytest.mark.needs("openssl")]


@pytest.mark.parametrize("way", ["rename", pytest.param("symlink", marks=pytest.mark.slow)])
def test_not_one_connection_fails_over_renewals(make_site: Sites, way: str) -> None:
    site = make_site(Settings(lifetime=90 * DAY), real_time=True)
    port, combined, reload_ = free_port(), site.path("files/site.pem"), site.path("reload")
    configuration = servers.haproxy_configuration(site.path("haproxy"), port=port, combined=combined)
    # What Debian's unit does on reload.
    reload_.write_text(f"#!/bin/sh\nhaproxy -f {configuration} -c -q && kill -USR2 $(cat {configuration.parent}/pid)\n")
    reload_.chmod(0o755)
    changes = {
        "file: /etc/haproxy/certs/site.pem": f"file: {combined}",
        "[systemctl, reload, haproxy]": f"[{reload_}]",
        "127.0.0.1:443": f"127.0.0.1:{port}",
    }
    shipped.install(site, "haproxy.yaml", changes, f"swap: {way}")
    assert certagent(site.config, "enroll", "haproxy").returncode == 1  # nobody to reload yet: owed
    seen = []
    with servers.haproxy(configuration, port):
        assert certagent(site.config, "renew", "haproxy").returncode == 0
        with Clients(port, shipped.ca_file(site)) as clients:
            for _ in range(3):
                clients.await_more()
                renewed = certagent(site.config, "renew", "--force", "haproxy")
                assert renewed.returncode == 0, renewed.stderr
                seen.append(clients.served())
            clients.await_more()
    assert clients.failures == []
    assert len(set(seen)) == 3
    assert clients.serials == {record.serial for record in site.ca.issued()}
    openssl_confirms(combined, combined, shipped.ca_file(site))
    assert combined.stat().st_mode & 0o777 == 0o600
