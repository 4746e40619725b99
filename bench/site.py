"""Keystores at a lab CA of their own, for whatever is measured with them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.costs import certagent, cost
from certagent import certificate as facts
from tests.interop.peers import Lab, running

KINDS = {"rsa": "key_type: 'rsa:2048'", "kept": "rekey: never", "ec": "key_type: 'ec:p256'"}
# What the lab accepts for scepclient and strongSwan's pki.
WEAK = ("des", "3des", "sha1")
LAB = (*(word for weak in WEAK for word in ("--accept", weak)), "--lifetime", "90d")


@dataclass(frozen=True)
class Site:
    """Keystores at a lab CA, enrolled."""

    directory: Path
    lab: Lab
    configuration: Path

    def cpu(self, *words: str) -> float:
        return cost(certagent(self.configuration, *words), self.directory)


def write_configuration(directory: Path, lab: Lab, keystores: Mapping[str, str], *more: str) -> Path:
    """`keystores`: further keys of each, by name."""
    challenge = directory / "challenge"
    challenge.write_text(lab.challenge)
    challenge.chmod(0o600)
    pin = facts.fingerprint(facts.load_pem(lab.ca.read_bytes(), str(lab.ca))[0])
    lines = [f"state_dir: {directory / 'state'}", f"live_dir: {directory / 'live'}", *more, "authorities:"]
    lines += [f"  lab: {{url: {lab.url}, fingerprint: '{pin}', challenge: {{file: {challenge}}}}}"]
    lines += ["defaults: {authority: lab}", "keystores:"]
    for name, keys in keystores.items():
        files = f"type: pem, key_file: {directory / name}.key, certificate_file: {directory / name}.pem, {keys}"
        if keys == "pkcs12":
            files = f"type: pkcs12, file: {directory / name}.p12, password: {{file: {challenge}}}, rekey: never"
        lines.append(f"  {name}: {{subject: CN={name}, {files}}}")
    configuration = directory / "agent.yaml"
    configuration.write_text("\n".join(lines) + "\n")
    configuration.chmod(0o600)
    return configuration


@contextlib.contextmanager
def site(keystores: Mapping[str, str]) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        with running(directory, *LAB) as lab:
            configuration = write_configuration(directory, lab, keystores)
            cost(certagent(configuration, "enroll", *keystores), directory)
            yield Site(directory, lab, configuration)
