"""A device with a keystore of each type, before a CA that issues what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509

from certagent import keys
from certagent.keystore.base import Identity
from certagent.lab import Generation, LabCA, Settings
from certagent.transaction.journal import Journal, Transaction
from tests.fitness.issued import DAY, Make
from tests.renewal.site import Site
from tests.tokens.site import Place, make_softhsm
from tests.unit.pki import Party

LIFE = Settings(lifetime=90 * DAY)
ROLLING = Settings(lifetime=365 * DAY, ca_lifetime=365 * DAY, rollover=70 * DAY, overlap=30 * DAY)
PURPOSES = "key_usage: [digital_signature, key_encipherment]\nextended_key_usage: [server_auth, client_auth]\n"


class Willing(LabCA):
    """Honest, and issues what `make` makes where that is set."""

    make: Make | None = None

    def _leaf(self, csr: x509.CertificateSigningRequest, generation: Generation, begins: datetime) -> x509.Certificate:
        if self.make is None:
            return super()._leaf(csr, generation, begins)
        public = csr.public_key()
        assert isinstance(public, keys.PublicKey)
        issuer = Party(generation.issuer.certificate, generation.issuer.key)
        return self.make(issuer, public, begins)[0]


Lines = Callable[["Bench"], Mapping[str, str]]

TYPES: dict[str, Lines] = {
    "pem": lambda it: {"type": "pem", "key_file": f"{it.files}/web.key", "certificate_file": f"{it.files}/web.pem"},
    "pem-combined": lambda it: {
        "type": "pem",
        "key_file": f"{it.files}/web.pem",
        "certificate_file": f"{it.files}/web.pem",
    },
    "pem-encrypted": lambda it: {
        "type": "pem",
        "key_file": f"{it.files}/web.key",
        "certificate_file": f"{it.files}/web.pem",
        "key_passphrase": f"{{file: {it.path('secret')}}}",
    },
    "pkcs12": lambda it: {
        "type": "pkcs12",
        "file": f"{it.files}/web.p12",
        "password": f"{{file: {it.path('secret')}}}",
    },
    "pkcs11": lambda it: {
        "type": "pkcs11",
        "module": it.place.module,
        "token": it.place.label,
        "pin": f"{{file: {it.place.pin_file}}}",
        "uri_file": f"{it.files}/web.uri",
        "certificate_file": f"{it.files}/web.pem",
    },
}
_MARKS = {"pem": [], "pkcs11": [pytest.mark.needs("softhsm")]}
PLACES = [pytest.param(name, marks=_MARKS.get(name, [pytest.mark.slow])) for name in TYPES]


@dataclass
class Bench(Site):
    """`type`: one of TYPES. `write` takes further lines of the keystore."""

    type: str = "pem"
    token: Place | None = field(default=None)

    @property
    def files(self) -> Path:
        return self.path("files")

    @property
    def place(self) -> Place:
        if self.token is None:
            self.token = make_softhsm(self.path("token"))
            self.token.lend()
        return self.token

    @property
    def ca(self) -> Willing:
        assert isinstance(self.server.ca, Willing)
        return self.server.ca

    def write(self, keystore: str = PURPOSES, authority: str = "", top: str = "", *, subject: bool = True) -> None:
        secret = self.path("secret")
        secret.write_text("correct horse\n")
        secret.chmod(0o600)
        super().write(f"certificate_file: {self.certificate}\n{keystore}", authority, top, subject=subject)
        own = [f"    {key}: {value}" for key, value in TYPES[self.type](self).items()]
        theirs = ("type: pem", "key_file:", "certificate_file:", *(["san:"] if subject else []))
        lines = [each for each in self.config.read_text().splitlines() if not each.strip().startswith(theirs)]
        names = ["    san: [dns:web.example.net, dns:www.example.net]"] if subject else []
        self.config.write_text("\n".join([*lines, *own, *names]) + "\n")

    def contents(self) -> dict[str, bytes]:
        return {each.name: each.read_bytes() for each in sorted(self.files.iterdir())}

    def identity(self) -> Identity:
        found = self.context().configured.keystore.read()
        assert found is not None
        return found

    @property
    def staged(self) -> Transaction | None:
        return Journal(self.keystore_directory, "rollover").open()

    def refused(self) -> list[Path]:
        return sorted(self.keystore_directory.glob("refused/*.pem"))
