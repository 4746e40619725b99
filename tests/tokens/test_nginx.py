"""keystores/softhsm.yaml: nginx with its key in a token; nobody who connects notices a renewal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from certagent.lab import Settings
from tests.consumers import servers, shipped
from tests.consumers.clients import SERVER_NAME, Clients
from tests.interop.commands import ROOT, certagent
from tests.renewal.site import DAY
from tests.tokens.conftest import Sites
from tests.tokens.site import Place, TokenSite
from tests.waiting import free_port

pytestmark = pytest.mark.needs("softhsm", "nginx", "engine")

_CONFIGURATION = """\
daemon off;
user root;
worker_processes 2;
pid {directory}/pid;
error_log {directory}/error.log;
env SOFTHSM2_CONF;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name {server_name};
        include {snippet};
        location / {{ return 200 "ok\\n"; }}
    }}
}}
"""


def nginx_configuration(site: TokenSite, port: int) -> Path:
    directory = site.path("nginx")
    directory.mkdir()
    file = directory / "nginx.conf"
    snippet = site.path("files/nginx-token.conf")
    file.write_text(_CONFIGURATION.format(directory=directory, port=port, snippet=snippet, server_name=SERVER_NAME))
    return file


@pytest.mark.slow
def test_not_one_connection_fails_over_renewals(softhsm: Place, make_site: Sites) -> None:
    softhsm.pin_file.write_text(softhsm.pin)  # libp11 takes a line's end for a part of it
    site = make_site(softhsm, Settings(lifetime=90 * DAY), real_time=True)
    port = free_port()
    configuration = nginx_configuration(site, port)
    template = site.path("nginx-token.conf.template")
    shipped_template = (ROOT / "keystores/nginx-token.conf.template").read_text()
    template.write_text(shipped_template.replace("/etc/certagent/softhsm.pin", str(softhsm.pin_file)))
    # Hooks inherit no such variables; a host has /etc/softhsm instead, and those of nginx's unit.
    environment = {
        **softhsm.environment,
        "OPENSSL_CONF": str(ROOT / "keystores/openssl-engine.cnf"),
    }
    words = ", ".join(["env", *map("=".join, environment.items())])
    changes = {
        "module: /usr/lib/softhsm/libsofthsm2.so": f"module: {softhsm.module}",
        "token: web ": f"token: {softhsm.label} ",
        "/etc/certagent/softhsm.pin}": f"{softhsm.pin_file}}}",
        "/etc/ssl/certs/web.uri": str(site.uri),
        "/etc/ssl/certs/web.pem": str(site.certificate),
        "/etc/certagent/keystores/nginx-token.conf.template": str(template),
        "/etc/nginx/certagent-web.conf": str(site.path("files/nginx-token.conf")),
        "[systemctl, reload, nginx]": f"[{words}, nginx, -c, {configuration}, -s, reload]",
        "127.0.0.1:443": f"127.0.0.1:{port}",
    }
    shipped.install(site, "softhsm.yaml", changes)
    enrolled = certagent(site.config, "enroll", "softhsm")
    assert "hook env exited with 1" in enrolled.stderr  # it does not run yet
    seen, ids = [], []
    with servers.nginx(configuration, port, {**os.environ, **environment}):
        owed = certagent(site.config, "renew", "softhsm")
        assert owed.returncode == 0, owed.stderr
        with Clients(port, shipped.ca_file(site)) as clients:
            for _ in range(3):
                clients.await_more(20)
                renewed = certagent(site.config, "renew", "--force", "softhsm")
                assert renewed.returncode == 0, renewed.stderr
                ids.append(site.id)
                clients.await_served(site.leaf().serial_number)
                seen.append(site.leaf().serial_number)
            clients.await_more(20)
    assert clients.failures == []
    assert len(set(seen)) == len(set(ids)) == 3
    assert softhsm.pin not in site.path("files/nginx-token.conf").read_text()
