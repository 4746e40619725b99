"""`certagent scep …` as a person types it, in this process, against a lab CA; and what it left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from certagent import certificate as facts
from certagent import keys
from certagent.cli.main import main
from certagent.lab import LabServer

Words = list[str | Path]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@dataclass
class Hand:
    """A directory to work in and a CA that is known by its fingerprint."""

    root: Path
    server: LabServer
    capsys: pytest.CaptureFixture[str]

    @property
    def fingerprint(self) -> str:
        return str(facts.fingerprint(self.server.ca.generation.issuer.certificate))

    def path(self, name: str) -> Path:
        return self.root / name

    def scep(self, operation: str, *words: str | Path, code: int | None = 0, url: bool = True) -> Said:
        """One command line; `code` None: whatever it is. Every error has its hint below."""
        where = ["--url", self.server.url] if url else []
        try:
            got = main(["scep", operation, *where, *map(str, words)])
        except SystemExit as leaving:  # argparse's own
            got = int(leaving.code or 0)
        said = Said(got, *self.capsys.readouterr())
        assert code is None or got == code, said
        lines = said.err.splitlines()
        for number, line in enumerate(lines):
            if line.startswith("certagent: ") and "error: " not in line:
                assert lines[number + 1].startswith("  "), said.err
        return said

    def trusted(self, operation: str, *words: str | Path, code: int | None = 0) -> Said:
        """As `scep`, with the CA's fingerprint."""
        return self.scep(operation, "--fingerprint", self.fingerprint, *words, code=code)

    @property
    def challenge(self) -> Path:
        file = self.path("challenge")
        file.write_text(self.server.ca.challenge + "\n")
        file.chmod(0o600)
        return file

    def enroll(self, *words: str | Path, name: str = "web", code: int | None = 0) -> Said:
        """A first certificate: NAME.key, NAME.pem."""
        what = ["--subject", "CN=web.example.net,O=Example", "--san", "dns:web.example.net"]
        return self.trusted(
            "enroll",
            *("--key", self.path(f"{name}.key"), "--out", self.path(f"{name}.pem")),
            *what,
            *("--challenge-file", self.challenge),
            *words,
            code=code,
        )

    def certificate(self, name: str = "web.pem") -> x509.Certificate:
        return facts.load_pem(self.path(name).read_bytes(), name)[0]

    def key(self, name: str = "web.key") -> keys.PrivateKey:
        return keys.load_private(self.path(name).read_bytes(), None, name)

    @property
    def pair(self) -> Words:
        """The options that sign with what `enroll` got."""
        return ["--sign-key", self.path("web.key"), "--sign-certificate", self.path("web.pem")]
