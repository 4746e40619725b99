"""micromdm's scepclient (Debian's package `scep`) enrolls and renews at the lab CA.

What it cannot do: it knows no better than single DES and SHA-1, whatever the capabilities say; it speaks to an RA with
two certificates only if told which to take, and 2.1.0 (Debian 12) not even then (`test_an_ra`); it has no rollover; it
asks for the renewal of a certificate each time it is started, due or not.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.interop.commands import openssl_confirms, openssl_shows
from tests.interop.peers import Lab, running
from tests.renewal.site import openssl

pytestmark = [pytest.mark.needs("scepclient"), pytest.mark.needs("openssl")]

OLD = ("--accept", "des", "--accept", "sha1")


def scepclient(directory: Path, lab: Lab, *words: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    command = ["scepclient", "-server-url", lab.url, "-challenge", lab.challenge, "-cn", "device"]
    command += ["-private-key", "device.key", "-certificate", "device.pem", *words]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=timeout, check=False)


def test_enrolls_and_renews(tmp_path: Path) -> None:
    """It keeps its key, and renews under the transaction ID of that key: the lab tells a renewal from a resend."""
    with running(tmp_path, *OLD) as lab:
        serials = set()
        for _ in range(3):
            done = scepclient(tmp_path, lab)
            assert done.returncode == 0, done.stderr
            openssl_confirms(tmp_path / "device.key", tmp_path / "device.pem", lab.ca)
            serials.add(openssl_shows(tmp_path / "device.pem", "-serial"))
        assert len(serials) == 3
        assert lab.heard() == [("PKCS_REQ", "SUCCESS"), *[("RENEWAL_REQ", "SUCCESS")] * 2]
        assert lab.kinds() == ["enrollment", "renewal", "renewal"]
        assert lab.challenge not in "\n".join(lab.log())


def test_it_knows_no_better_than_des_and_sha1(tmp_path: Path) -> None:
    with running(tmp_path) as lab:
        done = scepclient(tmp_path, lab)
        assert done.returncode != 0
        assert "badAlg" in done.stdout + done.stderr
        assert lab.heard() == [("PKCS_REQ", "FAILURE badAlg")]


def test_an_ra(tmp_path: Path) -> None:
    """It encrypts to every certificate it got, unless told which by a fingerprint. 2.1.0 then forgets the others, and
    knows nobody who could have signed the reply; 2.3.0 (Debian 13) does.
    """
    with running(tmp_path, "--ra", *OLD) as lab:
        assert "cannot be parsed" in scepclient(tmp_path, lab).stdout + lab.log()[-1]
        printed = openssl("x509", "-in", str(lab.directory / "ra-encryption.pem"), "-noout", "-sha256", "-fingerprint")
        done = scepclient(tmp_path, lab, "-ca-fingerprint", printed.strip().partition("=")[2].replace(":", ""))
        assert lab.heard() == [("PKCS_REQ", "SUCCESS")]
        if done.returncode != 0:
            assert not (tmp_path / "device.pem").exists()
            return
        openssl_confirms(tmp_path / "device.key", tmp_path / "device.pem", lab.trusted)
