"""A consumer that was told, and still serves the old certificate: the old pair comes back, and somebody is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certagent.lab import Settings
from tests.consumers import servers
from tests.consumers.clients import Clients, serial
from tests.interop.commands import certagent
from tests.renewal.site import DAY, Site, Sites, ran, recording_hook
from tests.waiting import free_port

pytestmark = pytest.mark.needs("nginx")


@dataclass(frozen=True)
class Deaf:
    """An nginx whose post hook notes that it ran, and reloads nothing. `mend` makes it reload."""

    site: Site
    port: int
    configuration: Path

    def mend(self) -> None:
        script = self.site.path("post.sh")
        script.write_text(script.read_text().replace("exit ", f"nginx -c {self.configuration} -s reload\nexit "))

    def served(self) -> int:
        with Clients(self.port, self.site.path("files/ca.pem")).connect() as connection:
            return serial(connection)

    def files(self) -> dict[str, bytes]:
        return {each.name: each.read_bytes() for each in self.site.path("files").iterdir()}

    def status(self) -> dict[str, object]:
        done = certagent(self.site.config, "status", "--json")
        found: dict[str, object] = json.loads(done.stdout)["keystores"]["web"]
        return found

    def history(self) -> list[tuple[str, str]]:
        lines = certagent(self.site.config, "history", "--json").stdout.splitlines()
        return [(event["event"], event.get("message", "")) for event in map(json.loads, lines)]


@pytest.fixture
def swap() -> str:
    return "rename"


@pytest.fixture
def deaf(make_site: Sites, swap: str) -> Iterator[Deaf]:
    site = make_site(Settings(lifetime=90 * DAY), real_time=True)
    port = free_port()
    configuration = servers.nginx_configuration(
        site.path("nginx"), port=port, key=site.key, certificate=site.certificate
    )
    common = (
        f"ca_file: {site.path('files/ca.pem')}\nsan: [dns:www.example.net]\nsubject: CN=www.example.net\n"
        f"swap: {swap}\nhooks: {{post: [[{recording_hook(site, 'post')}]]}}"
    )
    site.write(common, subject=False)
    assert certagent(site.config, "enroll", "web").returncode == 0
    probe = f'{{tls: "127.0.0.1:{port}", server_name: www.example.net, timeout: 1s}}'
    site.write(f"{common}\nprobe: {probe}", subject=False)
    with servers.nginx(configuration, port):
        yield Deaf(site, port, configuration)


@pytest.mark.parametrize("swap", ["rename", "symlink"])
def test_the_old_pair_comes_back_byte_for_byte(deaf: Deaf) -> None:
    before, serial_before = deaf.files(), deaf.served()
    failed = certagent(deaf.site.config, "renew", "--force", "web")
    assert failed.returncode == 1
    assert "still serves another certificate 1 s after its post hooks; restoring the old pair" in failed.stderr
    assert deaf.files() == before
    assert deaf.served() == serial_before
    assert deaf.site.transaction is None


def test_the_consumer_is_told_again(deaf: Deaf) -> None:
    told = len(ran(deaf.site, "post"))
    certagent(deaf.site.config, "renew", "--force", "web")
    new, old = (line.split()[-1] for line in ran(deaf.site, "post")[told:])
    assert int(new, 16) == deaf.site.ca.issued()[-1].serial
    assert int(old, 16) == deaf.site.leaf().serial_number


def test_status_and_history_say_why(deaf: Deaf) -> None:
    certagent(deaf.site.config, "renew", "--force", "web")
    status = deaf.status()
    assert status["state"] == "failed"
    error = status["last_error"]
    assert isinstance(error, dict)
    assert f"the consumer at 127.0.0.1:{deaf.port} still serves another certificate" in error["message"]
    assert error["hint"] == "the old pair is back in place; do the post hooks make the consumer reload?"
    (_, _), (back, why), (failed, _) = deaf.history()
    assert (back, failed) == ("rolled back", "failed")
    assert "still serves another certificate" in why


def test_the_next_attempt_is_not_at_once(deaf: Deaf) -> None:
    certagent(deaf.site.config, "renew", "--force", "web")
    assert deaf.site.state.retry_at is not None
    assert deaf.site.state.retry_at > datetime.now(UTC) + timedelta(minutes=10)
    issued = len(deaf.site.ca.issued())
    assert certagent(deaf.site.config, "renew", "--due").returncode == 0
    assert len(deaf.site.ca.issued()) == issued


def test_once_the_hook_is_mended_a_renewal_succeeds(deaf: Deaf) -> None:
    assert certagent(deaf.site.config, "renew", "--force", "web").returncode == 1
    deaf.mend()
    done = certagent(deaf.site.config, "renew", "--force", "web")
    assert done.returncode == 0, done.stderr
    assert deaf.served() == deaf.site.leaf().serial_number == deaf.site.ca.issued()[-1].serial
    assert deaf.status()["last_error"] is None
