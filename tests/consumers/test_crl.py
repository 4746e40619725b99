"""Consumers that check CRLs: they refuse who is revoked once certagent has fetched the next list, and nobody else.

Each reads the file, or the directory, and has the hook, that docs/crl.md recommends for it.
"""

from __future__ import annotations

import http.client
import ssl
import subprocess
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from certagent.certificate import load_pem, to_pem
from certagent.lab import Settings
from tests.consumers import servers
from tests.consumers.clients import SERVER_NAME
from tests.interop.commands import certagent
from tests.renewal.site import DAY, Site, Sites
from tests.waiting import PATIENCE, free_port, until

pytestmark = [pytest.mark.slow, pytest.mark.daemons, pytest.mark.needs("openssl")]
PEERS = ("peer", "bad")


class Consumer(ABC):
    """A server of `site`'s keystore `web`, and clients with the certificates of PEERS."""

    authority = ""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.port = free_port()
        self.crl = site.path("files/ca.crl")
        self.ca = site.path("ca.pem")
        self.ca.write_bytes(to_pem([site.ca.generation.issuer.certificate]))

    def enroll(self) -> None:
        """Key and certificate of all."""
        self.site.write(self.keystore(), f"crl_file: {self.crl}\n{self.authority}")
        lines = [
            f"  {name}: {{type: pem, authority: lab, subject: CN={name}, key_file: {self.key(name)}, "
            f"certificate_file: {self.certificate(name)}}}"
            for name in PEERS
        ]
        with self.site.config.open("a") as file:
            file.write("\n".join(lines) + "\n")
        assert certagent(self.site.config, "renew").returncode == 0

    def keystore(self) -> str:
        return ""

    def key(self, name: str) -> Path:
        return self.site.path(f"files/{name}.key")

    def certificate(self, name: str) -> Path:
        return self.site.path(f"files/{name}.pem")

    def fetch(self, code: int = 0) -> None:
        done = certagent(self.site.config, "crl")
        assert done.returncode == code, done.stdout + done.stderr

    def revoke(self, name: str) -> None:
        serial = load_pem(self.certificate(name).read_bytes(), name)[0].serial_number
        self.site.ca.store.revoke(serial, self.site.ca.clock())

    def script(self, name: str, text: str) -> Path:
        file = self.site.path(name)
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        return file

    @abstractmethod
    def running(self) -> AbstractContextManager[None]:
        """Inside `with` it runs."""

    @abstractmethod
    def serves(self, name: str) -> bool:
        """Whether this client is let in."""


class Nginx(Consumer):
    """It reads `ssl_crl` at its start and when it is reloaded."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.configuration = site.path("nginx/nginx.conf")
        self.authority = f"hooks: {{crl_changed: [[nginx, -c, {self.configuration}, -s, reload]]}}"

    @contextmanager
    def running(self) -> Iterator[None]:
        names = {"key": self.site.key, "certificate": self.site.certificate}
        servers.nginx_configuration(self.configuration.parent, port=self.port, **names)
        asks = f"ssl_client_certificate {self.ca}; ssl_verify_client on; ssl_crl {self.crl};"
        text = self.configuration.read_text()
        self.configuration.write_text(text.replace("ssl_certificate_key", f"{asks}\n        ssl_certificate_key"))
        with servers.nginx(self.configuration, self.port):
            yield

    def serves(self, name: str) -> bool:
        context = ssl.create_default_context(cafile=self.ca)
        context.check_hostname = False
        context.load_cert_chain(self.certificate(name), self.key(name))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=PATIENCE)
        connection.request("GET", "/", headers={"Host": SERVER_NAME})
        status = connection.getresponse().status
        connection.close()
        assert status in (200, 400)
        return status == 200


class OpenVpn(Consumer):
    """It looks at the file's time and size with each connection: no hook."""

    @contextmanager
    def running(self) -> Iterator[None]:
        connected = self.script("connected", f'echo "$common_name" >>{self.site.path("connected.log")}')
        words = [
            *("--mode", "server", "--tls-server", "--ifconfig", "10.88.0.1", "10.88.0.2"),
            *("--ifconfig-pool", "10.88.0.4", "10.88.0.250", "--topology", "net30", "--push", "topology net30"),
            *("--dh", "none", "--crl-verify", str(self.crl), "--client-connect", str(connected)),
            *("--local", "127.0.0.1", "--port", str(self.port), "--script-security", "2"),
            *self.identity("web"),
        ]
        log = self.site.path("openvpn.log")
        with log.open("wb") as output, subprocess.Popen(["openvpn", *words], stdout=output, stderr=output) as process:
            try:
                until(lambda: self._listens() or process.poll() is not None, told=log.read_text)
                assert process.poll() is None, log.read_text()
                yield
            finally:
                process.terminate()
                process.wait(PATIENCE)

    def _listens(self) -> bool:
        return f"{self.port:04X} " in Path("/proc/net/udp").read_text()

    def identity(self, name: str) -> tuple[str, ...]:
        return (
            *("--ca", str(self.ca), "--cert", str(self.certificate(name)), "--key", str(self.key(name))),
            *("--proto", "udp", "--dev", "tun", "--ifconfig-noexec", "--route-noexec", "--verb", "3"),
        )

    def serves(self, name: str) -> bool:
        """The client ends once it has its tunnel, or none."""
        up = self.script("up", f"touch {self.site.path('is-up')}; kill $PPID")
        self.site.path("is-up").unlink(missing_ok=True)
        words = [
            *("--client", "--nobind", "--remote", "127.0.0.1", str(self.port), "--remote-cert-tls", "server"),
            *("--tls-exit", "--hand-window", "20", "--connect-retry-max", "1", "--script-security", "2"),
            *("--up", str(up)),
        ]
        with self.site.path(f"{name}.log").open("wb") as log:
            argv = ["openvpn", *words, *self.identity(name)]
            subprocess.run(argv, stdout=log, stderr=log, timeout=PATIENCE, check=False)
        return self.site.path("is-up").exists()


class FreeRadius(Consumer):
    """It reads CAs and CRLs from one directory at its start, or every five minutes at the soonest: it is restarted."""

    _SERVER = """\
        libdir = /usr/lib/freeradius
        logdir = {directory}
        run_dir = {directory}
        max_requests = 1024
        security {{ allow_vulnerable_openssl = yes }}
        client here {{ ipaddr = 127.0.0.1
            secret = testing123 }}
        thread pool {{ start_servers = 1
            max_servers = 4
            min_spare_servers = 1
            max_spare_servers = 2 }}
        modules {{ eap {{
            default_eap_type = tls
            tls-config shared {{
                private_key_file = {key}
                certificate_file = {certificate}
                ca_path = {cas}
                check_crl = yes
                tls_max_version = "1.2"
            }}
            tls {{ tls = shared }}
        }} }}
        server default {{
            listen {{ type = auth
                ipaddr = 127.0.0.1
                port = {port} }}
            authorize {{
                eap
            }}
            authenticate {{
                eap
            }}
        }}
        """
    _CLIENT = """\
        network={{
            key_mgmt=WPA-EAP
            eap=TLS
            identity="{name}"
            ca_cert="{ca}"
            client_cert="{certificate}"
            private_key="{key}"
        }}
        """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.cas = site.path("files/cas")
        site.path("files").mkdir(exist_ok=True)
        self.cas.mkdir()
        restart = self.script("restart", f"kill $(cat {site.path('pid')})")
        self.authority = f"crl_directory: {self.cas}\nhooks: {{crl_changed: [{{run: [{restart}], once: true}}]}}"

    def keystore(self) -> str:
        return f"ca_directory: {self.cas}"

    @contextmanager
    def running(self) -> Iterator[None]:
        directory = self.site.path("radius")
        directory.mkdir()
        key, certificate = self.site.key, self.site.certificate
        text = self._SERVER.format(directory=directory, key=key, certificate=certificate, cas=self.cas, port=self.port)
        (directory / "radiusd.conf").write_text(textwrap.dedent(text))
        log = directory / "output"
        with log.open("wb") as output:
            process = subprocess.Popen([self._supervisor(directory)], stdout=output, stderr=output)
        try:
            until(lambda: self._listens() or process.poll() is not None, told=log.read_text)
            assert process.poll() is None, log.read_text()[-3000:]
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)

    def _supervisor(self, directory: Path) -> Path:
        """As systemd would: what ends is started again."""
        command = f"freeradius -f -xx -l stdout -d {directory}"
        again = f"while :; do {command} & child=$!; echo $child >{self.site.path('pid')}; wait $child; done"
        return self.script("supervisor", f"trap 'kill $child; wait; exit' TERM\n{again}")

    def _listens(self) -> bool:
        return f":{self.port:04X} " in Path("/proc/net/udp").read_text()

    def serves(self, name: str) -> bool:
        file = self.site.path(f"{name}.conf")
        text = self._CLIENT.format(name=name, ca=self.ca, certificate=self.certificate(name), key=self.key(name))
        file.write_text(textwrap.dedent(text))
        argv = ["eapol_test", "-c", str(file), "-a", "127.0.0.1", "-p", str(self.port), "-s", "testing123", "-t", "30"]
        with self.site.path(f"{name}.log").open("wb") as log:
            return subprocess.run(argv, stdout=log, stderr=log, timeout=PATIENCE, check=False).returncode == 0


class StrongSwan(Consumer):
    """charon knows what swanctl loads, and goes on with a list that it used before as long as that is good, unless its
    cache is flushed. Neither side has a tunnel, nor fetches a CRL by itself.
    """

    _CHARON = """\
        charon-systemd {{
            load_modular = yes
            port = {port}
            port_nat_t = {nat}
            plugins {{
                include /etc/strongswan.d/charon/*.conf
                curl {{ load = no }}
                pkcs11 {{ load = no }}
                vici {{ socket = unix://{home}/vici }}
            }}
        }}
        swanctl {{ load = pem pkcs1 pkcs8 x509 revocation constraints pubkey openssl random }}
        """
    _GATEWAY = """\
        connections { home {
            childless = force
            local { auth = pubkey
                certs = web.pem
                id = web.example.net }
            remote { auth = pubkey
                revocation = strict }
        } }
        """
    _PEER = """\
        connections {{ {name} {{
            childless = force
            remote_addrs = 127.0.0.1
            remote_port = {port}
            local {{ auth = pubkey
                certs = {name}.pem }}
            remote {{ auth = pubkey
                id = web.example.net }}
        }} }}
        """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.home, self.peers = site.path("gateway"), site.path("peers")
        for place in (self.home, self.peers):
            for name in ("conf.d", "x509", "x509ca", "x509crl", "private"):
                (place / name).mkdir(parents=True)
            (place / "swanctl.conf").write_text("include conf.d/*.conf\n")
            (place / "x509ca/ca.pem").write_bytes(self.ca.read_bytes())
        swanctl = self.script("swanctl", f'{self._words(self.home)} exec swanctl "$@" --uri unix://{self.home}/vici')
        hooks = f"[[{swanctl}, --load-creds], [{swanctl}, --flush-certs, --type, x509_crl]]"
        self.authority = f"crl_directory: {self.home}/x509crl\nhooks: {{crl_changed: {hooks}}}"

    def _words(self, place: Path) -> str:
        return f"STRONGSWAN_CONF={place}/strongswan.conf SWANCTL_DIR={place}"

    @contextmanager
    def running(self) -> Iterator[None]:
        self._lay(self.home, "web", self._GATEWAY, self.port)
        for name in PEERS:
            text = self._PEER.format(name=name, port=self.port)
            self._lay(self.peers, name, text, 0)
        with self._charon(self.home), self._charon(self.peers):
            yield

    def _lay(self, place: Path, name: str, text: str, port: int) -> None:
        settings = self._CHARON.format(home=place, port=free_port() if port else 0, nat=port)
        (place / "strongswan.conf").write_text(textwrap.dedent(settings))
        (place / f"conf.d/{name}.conf").write_text(textwrap.dedent(text))
        (place / f"x509/{name}.pem").write_bytes(to_pem(load_pem(self.certificate(name).read_bytes(), name)[:1]))
        (place / f"private/{name}.key").write_bytes(self.key(name).read_bytes())

    @contextmanager
    def _charon(self, place: Path) -> Iterator[None]:
        log = place / "log"
        with log.open("wb") as output:
            argv = ["env", *self._words(place).split(), "charon-systemd"]
            process = subprocess.Popen(argv, stdout=output, stderr=output)
        try:
            until(lambda: (place / "vici").exists() or process.poll() is not None, told=log.read_text)
            done = self._swanctl(place, "--load-all", "--noprompt")
            assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)

    def _swanctl(self, place: Path, *words: str) -> subprocess.CompletedProcess[str]:
        argv = ["env", *self._words(place).split(), "swanctl", *words, "--uri", f"unix://{place}/vici"]
        return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def serves(self, name: str) -> bool:
        done = self._swanctl(self.peers, "--initiate", "--ike", name, "--timeout", "20")
        self.site.path(f"{name}.log").write_text(done.stdout + done.stderr)
        self._swanctl(self.peers, "--terminate", "--ike", name, "--force")
        return done.returncode == 0


@pytest.fixture(
    params=[
        pytest.param(Nginx, marks=pytest.mark.needs("nginx"), id="nginx"),
        pytest.param(OpenVpn, marks=pytest.mark.needs("openvpn"), id="OpenVPN"),
        pytest.param(StrongSwan, marks=pytest.mark.needs("swanctl"), id="strongSwan"),
        pytest.param(FreeRadius, marks=pytest.mark.needs("freeradius"), id="FreeRADIUS"),
    ]
)
def consumer(make_site: Sites, request: pytest.FixtureRequest) -> Consumer:
    kind: type[Consumer] = request.param
    made = kind(make_site(Settings(lifetime=90 * DAY), real_time=True))
    made.enroll()
    return made


def test_who_is_revoked_is_refused_from_the_next_list_on_and_nobody_else(consumer: Consumer) -> None:
    consumer.fetch(code=int("hooks" in consumer.authority))  # it does not run yet: its hook is owed
    with consumer.running():
        consumer.fetch()
        until(lambda: [consumer.serves(name) for name in PEERS] == [True, True])
        consumer.revoke("bad")
        _fetch_a_newer_one(consumer)
        until(lambda: [consumer.serves(name) for name in PEERS] == [True, False])
        _fetch_a_newer_one(consumer)
        until(lambda: [consumer.serves(name) for name in PEERS] == [True, False])


def _fetch_a_newer_one(consumer: Consumer) -> None:
    """The lab numbers its lists by the second."""
    before = consumer.crl.read_bytes()

    def is_newer() -> bool:
        consumer.fetch()
        return consumer.crl.read_bytes() != before

    until(is_newer)
