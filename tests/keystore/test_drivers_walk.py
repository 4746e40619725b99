"""Every driver in a whole walk against the lab CA: enrolled, renewed, vetoed, killed and carried on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certagent import keys
from certagent.keystore import pkcs12_codec
from certagent.keystore.base import Identity
from certagent.lab import Settings
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.site import DAY, Clock, Site, ran, recording_hook, start_lab
from tests.renewal.test_kill import killed

from .drivers import DRIVERS, SECRET, Driver, those


class DriverSite(Site):
    """A device whose one keystore is of the driver's type."""

    driver: Driver

    def configure(self, **more: Any) -> None:
        self.write()
        self.path("etc").mkdir(exist_ok=True)
        self.path("secret").write_bytes(SECRET)
        self.path("secret").chmod(0o600)
        head = self.config.read_text().partition("keystores:")[0]
        names = {"subject": "CN=web.example.net,O=Example", "san": ["dns:web.example.net"]}
        keys_of = {"authority": "lab", "jitter": "0%", "ca_file": f"{self.directory}/etc/ca.pem", **names, **more}
        definition = json.dumps({"web": keys_of | self.driver.keys(self.directory)})  # JSON is YAML
        self.config.write_text(f"{head}keystores: {definition}\n")

    def identity(self) -> Identity:
        found = self.context().configured.keystore.read()
        assert found
        assert keys.match(found.key, found.certificate.public_key())
        return found

    def strays(self) -> list[str]:
        paths = self.context().configured.definition.paths.values()
        return sorted(path.name for path in self.path("etc").iterdir() if path not in paths)

    def check_tidy(self) -> None:
        assert self.strays() == []
        assert self.transaction is None
        assert not any(self.keystore_directory.glob("shadow/*"))


@pytest.fixture
def site(tmp_path: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Iterator[DriverSite]:
    monkeypatch.setattr(pkcs12_codec, "ROUNDS", 100)  # of no importance here, and much of the time
    clock = Clock()
    with start_lab(tmp_path / "lab", clock, Settings(lifetime=90 * DAY)) as lab:
        site = DriverSite(tmp_path, clock, lab)
        site.driver = driver
        yield site


def kinds(site: Site) -> list[str]:
    return [record.kind for record in site.ca.issued()]


@pytest.mark.parametrize("driver", DRIVERS)
def test_enrolled_and_renewed_twice(site: DriverSite) -> None:
    hook = recording_hook(site, "post")
    site.configure(hooks={"post": [[hook]]})
    assert site.run().result is Result.ENROLLED
    seen = [site.identity()]
    for _ in range(2):
        site.clock.advance(60 * DAY)
        assert site.run().result is Result.RENEWED
        seen.append(site.identity())
    assert kinds(site) == ["enrollment", "renewal", "renewal"]
    assert len({identity.certificate.serial_number for identity in seen}) == 3
    assert len({keys.public_bytes(identity.key.public_key()) for identity in seen}) == 3
    assert len(ran(site, "post")) == 3
    trusted = x509.load_pem_x509_certificates(site.path("etc/ca.pem").read_bytes())
    assert seen[-1].certificate.issuer in {each.subject for each in trusted}
    site.check_tidy()
    assert site.run().result is Result.NOTHING


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_veto_keeps_the_old_identity_and_the_successor_for_later(site: DriverSite) -> None:
    hook = recording_hook(site, "pre")
    site.configure(hooks={"pre": [[hook]]})
    assert site.run().result is Result.ENROLLED
    old = site.identity()
    site.path("pre.exit").write_text("1")
    site.clock.advance(60 * DAY)
    outcome = site.run()
    assert outcome.result is Result.FAILED
    assert "vetoed" in str(outcome.message)
    assert site.identity().certificate == old.certificate
    site.path("pre.exit").write_text("0")
    assert site.run(Wish.NOW).result is Result.RENEWED
    assert kinds(site) == ["enrollment", "renewal"]
    assert site.identity().certificate != old.certificate
    site.check_tidy()


@pytest.mark.slow
@pytest.mark.parametrize("driver", those(lambda driver: driver.forks))
def test_killed_here_and_there_a_renewal_goes_on(site: DriverSite) -> None:
    """What test_kill.py does at every call for PEM files: here at a dozen."""
    site.configure()
    assert site.run().result is Result.ENROLLED
    for step in range(2, 60, 5):
        issued, old = len(site.ca.issued()), site.identity().certificate
        if killed(step, lambda: site.run(Wish.RENEW)):
            assert [each.error for each in site.recover() if each.error] == []
            site.identity()
            replaced = site.identity().certificate != old
            if site.transaction is not None or not replaced:
                wish = Wish.NOW if site.transaction is not None else Wish.RENEW
                assert site.run(wish).result is Result.RENEWED, step
            else:
                assert site.run(Wish.NOW).result is Result.NOTHING, step
        assert site.identity().certificate != old, step
        assert len(site.ca.issued()) == issued + 1, step
        site.check_tidy()
