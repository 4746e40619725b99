"""A maker of devices: its root, the CA that certifies what leaves the factory, and the identity of one device."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from certagent import keys
from certagent.certificate import to_pem
from certagent.config.key_types import KeyType
from certagent.lab import LabCA
from certagent.lab.http import HttpAnswer
from certagent.scep import MessageType, Request, decode_request
from tests.renewal.site import Site
from tests.unit.pki import Party, key, party

LONG_AGO, NEVER = datetime(2020, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
NAME = "CN=PID:R9 SN:FOC1,O=Maker Inc"
PASSWORD = "from the factory"


@dataclass
class Maker:
    """`write` lays a factory identity into a directory; `names` is what is in the configuration for it."""

    directory: Path
    ca_key: KeyType = KeyType.EC_P256
    root: Party = field(init=False)
    issuer: Party = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir()
        root, issuer = (key(f"{role} {self.ca_key}", self.ca_key) for role in ("root", "issuer"))
        self.root = party("Maker Root", with_key=root, ca=True, start=LONG_AGO, end=NEVER)
        self.issuer = party("Maker Issuing CA", self.root, with_key=issuer, ca=True, start=LONG_AGO, end=NEVER)
        self.root_file.write_bytes(to_pem([self.root.certificate]))

    @property
    def root_file(self) -> Path:
        return self.directory / "maker-ca.pem"

    @property
    def key_file(self) -> Path:
        return self.directory / "factory.key"

    @property
    def certificate_file(self) -> Path:
        return self.directory / "factory.pem"

    @property
    def p12_file(self) -> Path:
        return self.directory / "factory.p12"

    def device(
        self,
        *,
        key_type: KeyType = KeyType.RSA_2048,
        name: str = NAME,
        start: datetime = LONG_AGO,
        end: datetime = NEVER,
        issuer: Party | None = None,
    ) -> Party:
        return party(name, issuer or self.issuer, with_key=key(name, key_type), start=start, end=end)

    def write(self, device: Party) -> str:
        """As PEM, the chain in the same file; returns what to configure."""
        self.certificate_file.write_bytes(to_pem([device.certificate, self.issuer.certificate, self.root.certificate]))
        self.key_file.write_bytes(keys.to_pem(device.key))
        self.key_file.chmod(0o600)
        return f"{{type: pem, key_file: {self.key_file}, certificate_file: {self.certificate_file}}}"

    def write_p12(self, device: Party) -> str:
        """As another program makes it."""
        self.write(device)
        password = self.directory / "password"
        password.write_text(f"{PASSWORD}\n")
        password.chmod(0o600)
        argv = ["openssl", "pkcs12", "-export", "-in", str(self.certificate_file), "-inkey", str(self.key_file)]
        subprocess.run(
            [*argv, "-out", str(self.p12_file), "-passout", f"file:{password}"], check=True, capture_output=True
        )
        return f"{{type: pkcs12, file: {self.p12_file}, password: {{file: {password}}}}}"

    def as_left(self) -> dict[str, bytes]:
        """Every file of the factory's, to compare."""
        return {each.name: each.read_bytes() for each in sorted(self.directory.iterdir()) if each.is_file()}


class HearingCA(LabCA):
    """Keeps the requests that it can open."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]  # a LabCA's own
        self.heard: list[Request] = []

    def pki_operation(self, message: bytes) -> HttpAnswer:
        recipients = [each.recipient for each in (self.generation, self.following) if each is not None]
        self.heard.append(decode_request(message, recipients=recipients, password=self.challenge.encode()))
        return super().pki_operation(message)


def heard(site: Site) -> list[Request]:
    assert isinstance(site.ca, HearingCA)
    return site.ca.heard


def types(site: Site) -> list[MessageType]:
    return [each.message_type for each in heard(site)]


def write(site: Site, introduce_with: str, authority: str = "", *, challenge: bool = False, keystore: str = "") -> None:
    """The site's configuration with a factory identity; without a challenge unless one is wanted.

    New keys are EC keys, which are made in no time, unless `keystore` says RSA, which can renew itself.
    """
    keystore = keystore if "key_type" in keystore else f"key_type: ec:p256\n{keystore}"
    lines = "\n".join(filter(None, [f"introduce_with: {introduce_with}", authority]))
    site.write("", lines if challenge else f"challenge: none\n{lines}")
    text = site.config.read_text().replace("    challenge: none\n", "")
    site.config.write_text(text + "".join(f"    {line}\n" for line in keystore.splitlines()))
