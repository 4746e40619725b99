"""Tokens as tests need them, and a device whose keystore is one: a clock, a lab CA, certagent's files."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from certagent.keystore.token import session
from tests.conftest import TPM_MODULE
from tests.renewal.site import Site
from tests.tokens import tpm

# DigestInfo of SHA-256 up to the digest (RFC 8017 §9.2).
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
PIN, SO_PIN = "1234", "567890"


@dataclass
class Place:
    """A token called `vpn`. `environment` leads its module to it."""

    directory: Path
    module: str
    environment: Mapping[str, str]
    label: str = "vpn"
    pin: str = PIN

    @property
    def pin_file(self) -> Path:
        return self.directory / "pin"

    def put_pin(self, pin: str) -> None:
        self.pin_file.write_text(f"{pin}\n")
        self.pin_file.chmod(0o600)

    def lend(self) -> None:
        """Make it the token that this process, and those it starts, find; modules begin anew."""
        forget_modules()
        os.environ.update(self.environment)

    def tool(self, *words: str, login: bool = True) -> str:
        """OpenSC's pkcs11-tool, another program with its own view of the token."""
        argv = ["pkcs11-tool", "--module", self.module, "--token-label", self.label]
        argv += ["--login", "--pin", self.pin] if login else []
        return run([*argv, *words], self.environment)

    def objects(self) -> Counter[str]:
        """How many objects of which class others see in it."""
        return Counter(re.findall(r"^(\w+(?: Key)?) Object", self.tool("--list-objects"), re.MULTILINE))

    def ids(self, kind: str = "Private Key") -> list[str]:
        listed = re.split(r"^(?=\w[\w ]* Object)", self.tool("--list-objects"), flags=re.MULTILINE)
        return sorted(
            found[1] for each in listed if each.startswith(kind) and (found := re.search(r"ID: +(\w+)", each))
        )

    def told(self, word: str) -> str:
        """What its module says of the token: `flags`, `serial num` …"""
        listed = run(["pkcs11-tool", "--module", self.module, "--list-token-slots"], self.environment)
        [told] = re.findall(rf"token label +: {self.label}$.*?{word} +: (.*?)$", listed, re.MULTILINE | re.DOTALL)
        return str(told)


def run(argv: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def make_softhsm(directory: Path) -> Place:
    directory.mkdir()
    (directory / "tokens").mkdir()
    configuration = directory / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {directory}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    place = Place(directory, SOFTHSM, {"SOFTHSM2_CONF": str(configuration)})
    argv = ["softhsm2-util", "--init-token", "--free", "--label", place.label, "--pin", PIN, "--so-pin", SO_PIN]
    run(argv, place.environment)
    place.put_pin(PIN)
    return place


def make_tpm(directory: Path, bus: str) -> Place:
    (directory / "store").mkdir(parents=True)
    tcti = "tabrmd:bus_type=session"
    environment = {
        "DBUS_SESSION_BUS_ADDRESS": bus,
        "TPM2_PKCS11_STORE": str(directory / "store"),
        "TPM2_PKCS11_TCTI": tcti,
        "TPM2TOOLS_TCTI": tcti,
        "TSS2_LOG": "all+none",
    }
    run(["tpm2_ptool", "init"], environment)
    run(
        ["tpm2_ptool", "addtoken", "--pid=1", f"--sopin={SO_PIN}", f"--userpin={PIN}", "--label=vpn"],
        environment,
    )
    place = Place(directory, TPM_MODULE, environment)
    place.put_pin(PIN)
    return place


def forget_modules() -> None:
    """As a new process would begin: no module initialised, no session open."""
    for module in session._modules.values():
        module.library.finalize()
    session._modules.clear()


@dataclass
class TokenSite(Site):
    """A device whose keystore `web` is in a token. `run` makes one attempt as a fresh worker would."""

    place: Place = field(kw_only=True)

    @property
    def uri(self) -> Path:
        return self.path("files/web.uri")

    @property
    def id(self) -> str:
        """The CKA_ID of the key consumers are pointed to."""
        [found] = re.findall(r"id=([%0-9a-f]+)", self.uri.read_text())
        return str(found).replace("%", "")

    def write(self, keystore: str = "", authority: str = "", top: str = "", *, subject: bool = True) -> None:
        super().write(keystore, authority, top, subject=subject)
        lines = [
            "    type: pkcs11",
            f"    module: {self.place.module}",
            f"    token: {self.place.label}",
            f"    pin: {{file: {self.place.pin_file}}}",
            f"    uri_file: {self.uri}",
        ]
        given = {line.partition(":")[0].strip() for line in keystore.splitlines()}
        mine = "\n".join(line for line in lines if line.partition(":")[0].strip() not in given)
        text = self.config.read_text().replace(f"    key_file: {self.key}\n", "")
        self.config.write_text(text.replace("    type: pem", mine))

    def pair_matches(self) -> bool:
        """Whether the key consumers are pointed to signs what the certificate verifies, as another program has it."""
        text, signature = self.path("text"), self.path("signature")
        public = self.leaf().public_key()
        digest = hashlib.sha256(b"is this a pair?").digest()
        words = ["--sign", "--id", self.id, "--input-file", str(text), "--output-file", str(signature)]
        if isinstance(public, rsa.RSAPublicKey):
            text.write_bytes(_SHA256_INFO + digest)
            self.place.tool(*words, "--mechanism", "RSA-PKCS")
            public.verify(signature.read_bytes(), digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
        else:
            assert isinstance(public, ec.EllipticCurvePublicKey)
            text.write_bytes(digest)
            self.place.tool(*words, "--mechanism", "ECDSA", "--signature-format", "openssl")
            public.verify(signature.read_bytes(), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        return True


@cache
def the_bus() -> str:
    """The address of the bus where a TPM is to be had. One for all tests; its daemons end with this process."""
    directory = Path(tempfile.mkdtemp(prefix="certagent-tpm-"))
    reading, _writing = os.pipe()  # the writing end stays open for as long as we live
    subprocess.run([sys.executable, tpm.__file__, str(directory)], stdin=reading, check=True, timeout=60)
    os.close(reading)
    return (directory / "bus").read_text()
