"""Keystores in a token are each served by a process of their own; the hook that they share is run once all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.renewal.site import Sites, recording_hook
from tests.tokens.site import Place, TokenSite


@pytest.fixture
def site(softhsm: Place, make_site: Sites) -> TokenSite:
    site = make_site(softhsm, real_time=True)
    assert isinstance(site, TokenSite)
    return site


def configure(site: TokenSite, script: str) -> None:
    """Two keystores in the token and one in files, with one hook for all."""
    hooks = f"hooks: {{post: [{{run: [{script}], once: true}}]}}"
    site.write(hooks)
    text = site.config.read_text()
    web = text[text.index("  web:") :]
    vpn = web.replace("web:", "vpn:").replace("files/web.", "files/vpn.").replace("CN=web", "CN=vpn")
    files: Path = site.path("files")
    app = f"type: pem, authority: lab, subject: CN=app, key_file: {files}/app.key, certificate_file: {files}/app.pem"
    site.config.write_text(f"{text}{vpn}  app: {{{app}, {hooks}}}\n")


@pytest.mark.slow
@pytest.mark.needs("softhsm")
def test_one_run_for_all(site: TokenSite) -> None:
    script = recording_hook(site, "restart", exit_code="1")
    Path(script).write_text(Path(script).read_text().replace("$CERTAGENT_KEYSTORE ", "$CERTAGENT_KEYSTORES "))
    configure(site, script)
    failed = site.command("renew")
    assert failed.returncode == 1
    assert failed.stderr.count("exited with 1") == 3
    site.path("restart.exit").write_text("0")
    done = site.command("renew")
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == [
        f"{n}: enrolled" for n in ("web", "vpn", "app")
    ]
    assert [line.strip() for line in site.path("restart.ran").read_text().splitlines()] == ["post web vpn app"] * 2
