"""step-ca, built from the code that Debian packages, with the provisioners that the tests ask."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certagent.certificate import to_pem
from certagent.lab import issuing
from certagent.scep import Signer
from tests.waiting import free_port, listens, until

CHALLENGE = "a step's secret"
PACKAGES = ("golang-go", "golang-github-smallstep-certificates-dev")

# Only example.net: this version has no rules for names but its template.
EXAMPLE_NET_ONLY = """
{{- if not (hasSuffix ".example.net" .Subject.CommonName) }}{{ fail "another domain" }}{{ end -}}
{"subject": {{ toJson .Subject }}, "sans": {{ toJson .SANs }}, "keyUsage": ["digitalSignature"]}
"""
PROVISIONERS = {
    "as-it-comes": {},
    "strict": {
        "encryptionAlgorithmIdentifier": 2,  # AES-256-CBC
        "includeRoot": True,
        "options": {"x509": {"template": EXAMPLE_NET_ONLY}},
    },
}


@dataclass(frozen=True)
class StepCA:
    directory: Path
    port: int

    def url(self, provisioner: str) -> str:
        return f"http://127.0.0.1:{self.port}/scep/{provisioner}"

    @property
    def root(self) -> Path:
        return self.directory / "root.pem"

    @property
    def intermediate(self) -> Path:
        return self.directory / "intermediate.pem"

    @property
    def chain(self) -> Path:
        return self.directory / "chain.pem"


@contextlib.contextmanager
def step_ca(directory: Path) -> Iterator[StepCA]:
    program, server = build(), StepCA(directory, free_port())
    _make_ca(server)
    settings = {
        "root": str(server.root),
        "crt": str(server.intermediate),
        "key": str(directory / "intermediate.key"),
        "address": f"127.0.0.1:{free_port()}",  # https, which nobody here asks
        "insecureAddress": f"127.0.0.1:{server.port}",
        "dnsNames": ["127.0.0.1"],
        "authority": {
            "provisioners": [
                {"type": "SCEP", "name": name, "challenge": CHALLENGE, **more} for name, more in PROVISIONERS.items()
            ]
        },
    }
    (directory / "ca.json").write_text(json.dumps(settings))
    with (
        (directory / "log").open("w+") as log,
        subprocess.Popen(
            [program, "ca.json"],
            cwd=directory,
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(directory), "STEPPATH": str(directory)},
        ) as process,
    ):
        try:
            until(lambda: listens(server.port) or process.poll() is not None)
            assert process.poll() is None, (directory / "log").read_text()
            yield server
        finally:
            process.terminate()


def build() -> Path:
    """The program. Compiling takes minutes, so it is kept for as long as its source and Debian's packages are these."""
    source = Path(__file__).parent / "step-ca"
    shown = subprocess.run(["dpkg-query", "-W", *PACKAGES], capture_output=True, check=True).stdout
    version = hashlib.sha256(shown + (source / "main.go").read_bytes()).hexdigest()[:16]
    kept = Path(os.environ.get("CERTAGENT_ROOTS", "/var/cache/certagent-tests")) / "step-ca"
    if os.geteuid() != 0:
        kept = Path.home() / ".cache/certagent-tests/step-ca"
    kept.mkdir(parents=True, exist_ok=True)
    program = kept / f"step-ca-{version}"
    with (kept / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=kept) as cache:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            environment = {
                **os.environ,
                "GO111MODULE": "off",
                "GOPATH": "/usr/share/gocode",
                "GOCACHE": cache,
                "CGO_ENABLED": "0",
            }
            made = Path(cache) / "step-ca"
            subprocess.run(["go", "build", "-o", made, "."], cwd=source, env=environment, check=True)
            made.rename(program)
    return program


def _make_ca(server: StepCA) -> None:
    """A root, and the intermediate CA that issues, signs and receives: the only way that its SCEP can be set up."""
    now, years = datetime.now(UTC), timedelta(days=3650)
    root_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    root = issuing.ca_certificate(root_key, now, years, recipient=False, root=True)
    issuer = issuing.ca_certificate(key, now, years, recipient=False, issuer=Signer(root_key, root))
    server.root.write_bytes(to_pem([root]))
    server.intermediate.write_bytes(to_pem([issuer]))
    server.chain.write_bytes(to_pem([issuer, root]))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (server.directory / "intermediate.key").write_bytes(secret)
