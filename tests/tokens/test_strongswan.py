"""keystores/strongswan-token.yaml: strongSwan finds the key of each renewal by its ID."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from certagent.lab import Settings
from tests.consumers import shipped
from tests.interop.commands import ROOT, certagent
from tests.renewal.site import DAY
from tests.tokens.conftest import Sites
from tests.tokens.site import Place, TokenSite

pytestmark = pytest.mark.needs("softhsm", "pki", "strongswan-pkcs11")

_CONFIGURATION = """\
libstrongswan {{ plugins {{ pkcs11 {{ modules {{ softhsm {{ path = {module} }} }} }} }} }}
pki {{ load = pkcs11 openssl pem pkcs1 pkcs8 x509 random nonce sha1 sha2 }}
"""


def public_key(site: TokenSite, key_id: str) -> bytes:
    """What `pki` finds under this ID in the token, once it has been given the PIN."""
    configuration = site.path("strongswan.conf")
    configuration.write_text(_CONFIGURATION.format(module=site.place.module))
    done = subprocess.run(
        ["stdbuf", "-o0", "pki", "--pub", "--keyid", key_id, "--outform", "pem"],
        input=f"{site.place.pin}\n".encode(),
        env={**os.environ, "STRONGSWAN_CONF": str(configuration)},
        capture_output=True,
        check=False,  # it crashes in C_Finalize of SoftHSM, with all done but not yet flushed
    )
    found: list[bytes] = re.findall(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", done.stdout, re.DOTALL)
    assert len(found) == 1, done.stderr.decode()
    return found[0] + b"\n"


def test_the_renewed_key_is_found_by_the_id_in_the_snippet(softhsm: Place, make_site: Sites) -> None:
    site = make_site(softhsm, Settings(lifetime=90 * DAY), real_time=True)
    template = ROOT / "keystores/swanctl-token.conf.template"
    snippet: Path = site.path("files/swanctl.conf")
    changes = {
        "token: vpn": f"token: {softhsm.label}",
        "module: /usr/lib/softhsm/libsofthsm2.so": f"module: {softhsm.module}",
        "/etc/certagent/strongswan.pin": str(softhsm.pin_file),
        "/etc/swanctl/certagent-vpn.uri": str(site.uri),
        "    certificate_file: /etc/swanctl/x509/certagent-vpn.pem": f"    certificate_file: {site.certificate}",
        "    ca_directory: /etc/swanctl/x509ca ": "    # ",  # the test's own follows
        "/etc/certagent/keystores/swanctl-token.conf.template": str(template),
        "/etc/swanctl/conf.d/certagent-vpn.conf": str(snippet),
        # What the hooks do for a charon that runs is seen in consumers/.
        "[systemctl, try-reload-or-restart, strongswan]": "[/bin/true]",
    }
    shipped.install(site, "strongswan-token.yaml", changes)
    seen = set()
    for _ in range(3):
        done = certagent(site.config, "renew", "--force", "strongswan-token")
        assert done.returncode == 0, done.stderr
        [key_id] = re.findall(r"handle = ([0-9a-f]{32})$", snippet.read_text(), re.MULTILINE)
        assert key_id == site.id
        found = load_pem_public_key(public_key(site, key_id))
        assert found == site.leaf().public_key()
        seen.add(key_id)
    assert len(seen) == 3
