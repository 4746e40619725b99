"""What one keystore lacks on this host stops that one alone, at the moment it is needed, in words of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from certagent import certificate as facts
from certagent.lab import Settings
from tests.renewal.site import DAY, Site, Sites

# Each starts some commands; what they show is held by quicker tests of the rules, too.
pytestmark = pytest.mark.slow

ODD = """\
  odd:
    type: {type}
    authority: {authority}
    subject: CN=odd.example.net
    jitter: 0%
"""
PEM = "    key_file: DIR/files/odd.key\n    certificate_file: DIR/files/odd.pem\n"
FINGERPRINT = "fingerprint: PIN"


@dataclass(frozen=True)
class Lack:
    """`keystore`: lines of the keystore `odd`; `authority`: of its own authority, if it has one. `told`: by renew."""

    told: str
    keystore: str = PEM
    authority: str = ""
    type: str = "pem"
    prepare: Callable[[Site], None] = lambda _site: None


def open_secret(site: Site) -> None:
    site.path("open").write_text("secret")
    site.path("open").chmod(0o644)


def plain_program(site: Site) -> None:
    site.path("program").write_text("#!/bin/sh\n")
    site.path("program").chmod(0o644)


PKCS12 = "    file: DIR/files/odd.p12\n    password: {{file: {}}}\n"
TOKEN = "    module: DIR/gone.so\n    token: vpn\n    pin: {file: DIR/challenge}\n    uri_file: DIR/files/odd.uri\n"
LACKS = {
    "the challenge's file": Lack("gone: No such file", authority="challenge: {file: DIR/gone}"),
    "the challenge's file is open": Lack(
        "can be read by everybody", authority="challenge: {file: DIR/open}", prepare=open_secret
    ),
    "the challenge is a directory": Lack("is a directory", authority="challenge: {file: DIR/files}"),
    "the challenge's variable": Lack("variable GONE is not set", authority="challenge: {env: GONE}"),
    "the challenge's program": Lack(
        "gone cannot be started: No such file", authority="challenge: {command: [DIR/gone]}"
    ),
    "the trust anchor": Lack("gone.pem", authority="challenge: {file: DIR/challenge}\n    trust_anchor: DIR/gone.pem"),
    "the CA file of HTTPS": Lack(
        "gone.pem", authority="challenge: {file: DIR/challenge}\n    https_ca_file: DIR/gone.pem"
    ),
    "the password's file": Lack("gone: No such file", PKCS12.format("DIR/gone"), type="pkcs12"),
    "the password's file is open": Lack(
        "can be read by everybody", PKCS12.format("DIR/open"), type="pkcs12", prepare=open_secret
    ),
    "the module": Lack("gone.so", TOKEN, type="pkcs11"),
    "the directory": Lack("nowhere", "    key_file: /nowhere/odd.key\n    certificate_file: /nowhere/odd.pem\n"),
    "the pre hook's program": Lack("gone cannot be started", PEM + "    hooks: {pre: [[DIR/gone]]}\n"),
    "the post hook's program": Lack("gone cannot be started", PEM + "    hooks: {post: [[DIR/gone]]}\n"),
    "a bare program": Lack("no-such-program cannot be started", PEM + "    hooks: {post: [[no-such-program]]}\n"),
    "a program nobody may run": Lack(
        "program cannot be started", PEM + "    hooks: {post: [[DIR/program]]}\n", prepare=plain_program
    ),
    "the owner": Lack("nobody-here", PEM + "    owner: nobody-here\n"),
}


@pytest.fixture
def make(make_site: Sites) -> Callable[[Lack], Site]:
    def make(lack: Lack) -> Site:
        site = make_site(Settings(lifetime=90 * DAY), real_time=True)
        lack.prepare(site)
        site.write()
        pin = str(facts.fingerprint(site.ca.generation.issuer.certificate))
        scheme = "https" if "https_" in lack.authority else "http"
        url = site.server.url.replace("http", scheme, 1)
        pinned = "" if "trust_anchor" in lack.authority else f"    fingerprint: {pin}\n"
        own = f"  own:\n    url: {url}\n{pinned}    {lack.authority}\n" if lack.authority else ""
        odd = ODD.format(type=lack.type, authority="own" if own else "lab") + lack.keystore
        text = site.config.read_text().replace("keystores:\n", f"{own}keystores:\n{odd}", 1)
        site.config.write_text(text.replace("DIR", str(site.directory)))
        return site

    return make


@pytest.mark.parametrize("lack", [pytest.param(lack, id=name) for name, lack in LACKS.items()])
def test_only_the_keystore_that_needs_it_fails(make: Callable[[Lack], Site], lack: Lack) -> None:
    site = make(lack)
    done = site.command("renew", "--due")
    [line] = [line for line in done.stderr.splitlines() if line.startswith(("odd: failed: ", "odd: in place; "))]
    assert lack.told in line
    assert "; " in line  # what to do
    assert "web: enrolled" in done.stdout
    assert done.returncode == 1
    for command in ("status", "history", "plan", "health"):
        seen = site.command(command)
        assert "web" in seen.stdout or command == "health"
        assert seen.stderr == ""
        assert seen.returncode <= 2, seen.stdout
    assert site.command("check", "--offline").returncode == 1
