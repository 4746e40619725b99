"""By the command line, over the years of an authority: its CA is renewed with its key, followed, shown again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from certagent import certificate as facts
from certagent.trust.proof import comes_from
from tests.hostile.case import consumers_files
from tests.hostile.conftest import hostile
from tests.hostile.lab import Hostile
from tests.hostile.takeover import DEVICE, SIGNS, at_work, held, take_over
from tests.renewal.site import DAY, Site
from tests.unit.pki import TLS, Party, party, rsa_key

pytestmark = pytest.mark.slow  # the rules: tests/unit/test_authorities.py and test_proof.py

USAGE = (*SIGNS, *DEVICE)


def certificates(site: Site, name: str) -> tuple[x509.Certificate, ...]:
    file = site.path("state") / f"authorities/lab/{name}"
    return facts.load_pem(file.read_bytes(), name) if file.exists() else ()


def renewed(ca: Hostile, *, end: datetime, with_key: Any = None) -> Party:
    """The CA's new certificate, of its own name; of its own key unless said."""
    own = with_key or ca.issuer.key
    start = ca.issuer.certificate.not_valid_before_utc + timedelta(seconds=1)
    return party("CN=lab CA", with_key=own, ca=True, usage=USAGE, key_id=True, start=start, end=end)


@pytest.mark.parametrize("pin", ["fingerprint", "anchor"])
@pytest.mark.parametrize("beside", [True, False], ids=["the old one beside it", "alone"])
def test_a_ca_renewed_with_its_key_is_the_same_ca(device: Callable[[str], Site], pin: str, beside: bool) -> None:
    site = device(pin)
    ca = hostile(site)
    old = ca.issuer.certificate
    new = renewed(ca, end=old.not_valid_after_utc + 900 * DAY)
    at_work(ca, new, [*([old] if beside else []), new.certificate])
    told = []
    for _ in range(2):  # the second time from memory
        done = site.command("renew", "--force", "web")
        assert done.returncode == 0, done.stdout + done.stderr
        told.append("renewed its CA certificate with the same key" in done.stdout + done.stderr)
    assert told == [True, False]
    assert certificates(site, "ca.pem") == (new.certificate,)
    assert certificates(site, "old-ca.pem") == (old,)
    changes = json.loads((site.path("state") / "authorities/lab/authority.json").read_text())["changes"]
    assert [each["proof"] for each in changes] == ["the same CA, renewed with the same key"]
    assert site.command("check").returncode == 0
    assert site.command("status").returncode == 0
    ca.offered = [old]  # a server behind the balancer that has the old one still
    assert site.command("check").returncode == 0


def test_what_happened_to_a_ca_that_was_renewed_is_said_everywhere(device: Callable[[str], Site]) -> None:
    site = device("fingerprint")
    ca = hostile(site)
    trusted, hook, told = (site.path(name) for name in ("ca.pem", "changed.sh", "changed"))
    hook.write_text(f'#!/bin/sh\ngrep -c BEGIN "$CERTAGENT_CA_FILE" >> {told}\n')
    hook.chmod(0o755)
    site.write(f"ca_file: {trusted}\nhooks: {{ca_changed: [[{hook}]]}}")
    assert site.command("renew", "web").returncode == 0
    old = ca.issuer.certificate
    new = renewed(ca, end=old.not_valid_after_utc + 900 * DAY)
    at_work(ca, new, [new.certificate])
    words = f"lab has renewed its CA certificate with the same key, until {new.certificate.not_valid_after_utc:%F %T}"
    assert f"✓ {words}" in site.command("check").stdout, "before the worker has seen it"
    assert words in site.command("renew", "--force", "web").stderr
    assert facts.load_pem(trusted.read_bytes(), "ca.pem") == (new.certificate, old)
    assert told.read_text().split() == ["1", "2"], "both are trusted, and the consumer is told"
    status = site.command("status", "web").stdout
    assert f"old CA    CN=lab CA, trusted until {old.not_valid_after_utc:%F}, renewed with its key" in status
    assert f"until {new.certificate.not_valid_after_utc:%F}" in status
    plan = site.command("plan", "--until", f"{old.not_valid_after_utc + DAY:%F}").stdout
    assert "CN=lab CA, renewed with its key" in plan
    assert "no longer trusted" not in plan


def test_a_pin_that_was_replaced_after_the_ca_was_renewed_ends_the_failure(device: Callable[[str], Site]) -> None:
    """As operators had to do with 0.1: the CA's new fingerprint in the place of the old one."""
    site = device("fingerprint")
    ca = hostile(site)
    new = renewed(ca, end=ca.issuer.certificate.not_valid_after_utc + 900 * DAY)
    at_work(ca, new, [new.certificate])
    site.write(authority=f"fingerprint: sha256:{'00' * 32}")
    assert site.command("renew", "--force", "web").returncode == 1
    assert "1 failed" in site.command("status").stdout
    site.write(authority=f"fingerprint: {facts.fingerprint(new.certificate)}")
    done = site.command("check")
    assert done.returncode == 0, done.stdout
    assert "does not lead to the configured fingerprint" not in done.stdout
    assert site.command("renew", "web").returncode == 0
    status = site.command("status").stdout
    assert "1 valid" in status
    assert "not the configured one" not in status


@pytest.mark.parametrize("pin", ["fingerprint", "anchor"])
def test_somebody_elses_certificate_for_the_cas_name_and_key_is_not(device: Callable[[str], Site], pin: str) -> None:
    site = device(pin)
    ca = hostile(site)
    before = consumers_files(site)
    old = ca.issuer.certificate
    stranger = Party(party("CN=lab CA", with_key=rsa_key("stranger"), ca=True).certificate, rsa_key("stranger"))
    end = old.not_valid_after_utc + 900 * DAY
    forged = party("CN=lab CA", stranger, with_key=ca.issuer.key, ca=True, usage=USAGE, key_id=True, end=end)
    ca.offered = [forged.certificate]
    assert site.command("renew", "--force", "web").returncode == 1
    assert consumers_files(site) == before


def followed(site: Site) -> Party:
    """Another CA takes over, whose fingerprint a person has compared."""
    ca = hostile(site)
    start = ca.issuer.certificate.not_valid_before_utc
    end = ca.issuer.certificate.not_valid_after_utc + 900 * DAY
    new = party("CN=next CA", with_key=rsa_key("next"), ca=True, key_id=True, usage=USAGE, start=start, end=end)
    site.config.write_text(
        site.config.read_text().replace("  lab:", f"  lab:\n    next_fingerprint: {facts.fingerprint(new.certificate)}")
    )
    at_work(ca, new, [new.certificate])
    done = site.command("renew", "--force", "web")
    assert done.returncode == 0, done.stdout + done.stderr
    assert certificates(site, "ca.pem") == (new.certificate,)
    return new


@pytest.mark.parametrize("pin", ["fingerprint", "anchor"])
def test_after_a_switch_the_old_ca_alone_is_not_believed_again(device: Callable[[str], Site], pin: str) -> None:
    site = device(pin)
    ca = hostile(site)
    old = ca.issuer
    new = followed(site)
    at_work(ca, old, [old.certificate])
    before = consumers_files(site)
    done = site.command("renew", "--force", "web")
    assert done.returncode == 1
    assert "a CA that has already been replaced" in done.stdout + done.stderr
    assert "authority.json" in done.stdout + done.stderr, "the way back is named"
    assert consumers_files(site) == before
    assert certificates(site, "ca.pem") == (new.certificate,)
    (site.path("state") / "authorities/lab/authority.json").unlink()
    assert site.command("check").returncode == 0, "a person said so"


def as_of_0_1(site: Site, old: x509.Certificate, new: x509.Certificate, proof: str) -> None:
    """The memory of an authority whose CA `old` was followed by `new`, as release 0.1 wrote it."""
    directory = site.path("state") / "authorities/lab"
    memory = json.loads((directory / "authority.json").read_text())
    names = {"successor": str(facts.fingerprint(new)), "predecessor": str(facts.fingerprint(old))}
    change = {**names, "proof": proof, "seen_at": "2026-11-25T12:00:00Z", "above": []}
    memory |= {"issuer": names["successor"], "seen_at": "2026-11-25T12:00:00Z", "changes": [change]}
    del memory["ras"]
    (directory / "authority.json").write_text(json.dumps(memory))
    (directory / "ca.pem").write_bytes(facts.to_pem([new]))
    (directory / "old-ca.pem").write_bytes(facts.to_pem([old]))


@pytest.mark.parametrize("proof", ["it chains to a configured anchor", "certified by the current CA"])
def test_a_successor_that_was_recorded_falsely_is_told_and_forgotten(device: Callable[[str], Site], proof: str) -> None:
    """As an earlier release left it, which believed a path through a device's certificate."""
    site = device("fingerprint")
    ca = hostile(site)
    honest = ca.issuer.certificate
    way = [held(ca, usage=DEVICE, purposes=TLS)]
    false = take_over(site, way, way[-1])
    as_of_0_1(site, honest, false, proof)
    assert site.command("renew", "--force", "web").returncode == 1, "he answers, and is not believed any more"
    ca.behave()
    told = site.command("check").stdout
    assert "CN=false CA" in told
    assert "does not lead to the configured fingerprint" in told
    done = site.command("renew", "--force", "web")
    assert done.returncode == 0, done.stdout + done.stderr
    assert certificates(site, "ca.pem") == (honest,)
    assert certificates(site, "old-ca.pem") == ()
    assert comes_from(site.leaf(), honest)


def test_a_change_that_is_proven_anew_goes_on(device: Callable[[str], Site]) -> None:
    """0.1 believed any certificate of the current CA for the next one's key; this one stands the test."""
    site = device("fingerprint")
    ca = hostile(site)
    old, start = ca.issuer, ca.issuer.certificate.not_valid_before_utc
    end = old.certificate.not_valid_after_utc + 900 * DAY
    fields: dict[str, Any] = {"with_key": rsa_key("next"), "ca": True, "key_id": True, "usage": USAGE, "start": start}
    new, cross = party("CN=next CA", end=end, **fields), party("CN=next CA", old, end=end, **fields)
    as_of_0_1(site, old.certificate, new.certificate, "certified by the current CA")
    at_work(ca, new, [new.certificate])
    done = site.command("check")
    assert done.returncode == 1, "nothing proves it as long as its certificate by the old CA does not come along"
    assert "does not lead to the configured fingerprint" in done.stdout
    ca.offered = [new.certificate, cross.certificate]
    done = site.command("renew", "--force", "web")
    assert done.returncode == 0, done.stdout + done.stderr
    assert certificates(site, "ca.pem") == (new.certificate,)
    memory = json.loads((site.path("state") / "authorities/lab/authority.json").read_text())
    assert [each["proof"] for each in memory["changes"]] == ["its key is certified by the current CA"]
    ca.offered = [new.certificate]
    assert site.command("check").returncode == 0
