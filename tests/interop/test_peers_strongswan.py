"""strongSwan's `pki --scep` (Debian's strongswan-pki) enrolls, renews and polls at the lab CA.

What it cannot do: 5.9.8 (Debian 12) does not see AES and SHA-256 in the capabilities AES, SHA-256 and SCEPStandard, so
the lab has to take 3DES too; 6.0.1 (Debian 13) does: `test_aes_needs_a_strongswan_that_sees_it`. It has no rollover,
and EC keys are not for it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.interop.commands import openssl_confirms, openssl_shows
from tests.interop.peers import KINDS, Lab, running

pytestmark = [pytest.mark.needs("pki"), pytest.mark.needs("openssl")]


class Swan:
    """A device with strongSwan. It is given the certificates of the lab one by one, as its user has to."""

    def __init__(self, directory: Path, lab: Lab) -> None:
        self.directory = directory
        behind_ra = (lab.directory / "ra-signing.pem").exists()
        encryption = lab.directory / "ra-encryption.pem" if behind_ra else lab.ca
        signing = lab.directory / "ra-signing.pem" if behind_ra else lab.ca
        self.common: list[str | Path] = ["--url", lab.url, "--dn", "C=CH, O=Example, CN=swan", "--outform", "pem"]
        self.common += ["--san", "swan.example.net", "--cacert-enc", encryption, "--cacert-sig", signing]
        above = [path for path in (lab.directory / "ca.pem", lab.directory / "root.pem") if path.exists()]
        self.common += [word for path in above for word in ("--cacert", path)]

    def key(self, name: str) -> Path:
        key = self.directory / f"{name}.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        return key

    def ask(self, name: str, *words: str | Path, cipher: str = "des3") -> subprocess.CompletedProcess[bytes]:
        """`pki --scep` with the key `name`.key; what it prints is `name`.pem."""
        command = ["pki", "--scep", "--cipher", cipher, "--in", self.directory / f"{name}.key", *self.common, *words]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        (self.directory / f"{name}.pem").write_bytes(done.stdout)
        return done


@pytest.mark.parametrize("options", KINDS)
def test_enrolls_and_renews_with_a_new_key(tmp_path: Path, options: tuple[str, ...]) -> None:
    with running(tmp_path, "--accept", "3des", *options) as lab:
        swan = Swan(tmp_path, lab)
        first, second = swan.key("first"), swan.key("second")
        done = swan.ask("first", "--password", lab.challenge)
        assert done.returncode == 0, done.stderr
        done = swan.ask("second", "--cert", tmp_path / "first.pem", "--key", first)
        assert done.returncode == 0, done.stderr
        assert lab.heard() == [("PKCS_REQ", "SUCCESS"), ("RENEWAL_REQ", "SUCCESS")]
        assert lab.kinds() == ["enrollment", "renewal"]
        for key in (first, second):
            openssl_confirms(key, key.with_suffix(".pem"), lab.trusted)
            assert "DNS:swan.example.net" in openssl_shows(key.with_suffix(".pem"), "-ext", "subjectAltName")


def test_polls_until_a_person_approved(tmp_path: Path) -> None:
    with running(tmp_path, "--accept", "3des", "--manual") as lab:
        swan = Swan(tmp_path, lab)
        key = swan.key("first")
        with lab.approve_later(2):
            done = swan.ask("first", "--password", lab.challenge, "--interval", "1", "--maxpolltime", "30")
        assert done.returncode == 0, done.stderr
        assert [lab.heard()[0], lab.heard()[-1]] == [("PKCS_REQ", "PENDING"), ("CERT_POLL", "SUCCESS")]
        openssl_confirms(key, tmp_path / "first.pem", lab.ca)


def test_hears_why_it_was_refused(tmp_path: Path) -> None:
    with running(tmp_path, "--accept", "3des") as lab:
        swan = Swan(tmp_path, lab)
        swan.key("first")
        done = swan.ask("first", "--password", "guessed")
        assert done.returncode != 0
        assert b"badRequest" in done.stderr.replace(b" ", b"") or b"Transaction not permitted" in done.stderr
        assert lab.heard() == [("PKCS_REQ", "FAILURE badRequest")]


def test_aes_needs_a_strongswan_that_sees_it(tmp_path: Path) -> None:
    """Should 5.9.8 be gone, 3DES can go from all of these."""
    with running(tmp_path) as lab:
        swan = Swan(tmp_path, lab)
        key = swan.key("first")
        done = swan.ask("first", "--password", lab.challenge, cipher="aes")
        assert any(
            line.endswith("GetCACaps AES POSTPKIOperation Renewal SHA-256 SHA-512 SCEPStandard") for line in lab.log()
        )
        if done.returncode != 0:
            assert lab.heard() == []  # it thinks the CA has no AES, and sends nothing
            return
        assert lab.heard() == [("PKCS_REQ", "SUCCESS")]
        openssl_confirms(key, key.with_suffix(".pem"), lab.trusted)
