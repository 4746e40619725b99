"""Debian's nginx and HAProxy, each with a small configuration of its own below a directory."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.consumers.clients import SERVER_NAME
from tests.waiting import PATIENCE, listens, until

_NGINX = """\
daemon off;
worker_processes 2;
pid {directory}/pid;
error_log {directory}/error.log;
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
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{ return 200 "ok\\n"; }}
    }}
}}
"""

_HAPROXY = """\
global
    master-worker
defaults
    mode http
    timeout connect 10s
    timeout client 10s
    timeout server 10s
frontend web
    bind 127.0.0.1:{port} ssl crt {combined}
    http-request return status 200 content-type text/plain string "ok\\n"
"""


def nginx_configuration(directory: Path, *, port: int, key: Path, certificate: Path) -> Path:
    directory.mkdir()
    file = directory / "nginx.conf"
    file.write_text(
        _NGINX.format(directory=directory, port=port, key=key, certificate=certificate, server_name=SERVER_NAME)
    )
    return file


def haproxy_configuration(directory: Path, *, port: int, combined: Path) -> Path:
    directory.mkdir()
    file = directory / "haproxy.cfg"
    file.write_text(_HAPROXY.format(port=port, combined=combined))
    return file


@contextlib.contextmanager
def nginx(configuration: Path, port: int, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    with _running(["nginx", "-c", str(configuration)], configuration.parent / "output", port, environment):
        yield


@contextlib.contextmanager
def haproxy(configuration: Path, port: int) -> Iterator[None]:
    """Started as Debian's unit does, but for its word to systemd."""
    directory = configuration.parent
    command = ["haproxy", "-W", "-db", "-f", str(configuration), "-p", str(directory / "pid")]
    with _running(command, directory / "output", port):
        yield


@contextlib.contextmanager
def _running(
    command: list[str], output: Path, port: int, environment: Mapping[str, str] = os.environ
) -> Iterator[None]:
    with output.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process:
        try:
            until(lambda: listens(port) or process.poll() is not None)
            assert process.poll() is None, output.read_text()
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)
