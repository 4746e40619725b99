"""Keystores of which none is due, as an agent that has served them for long left them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from certagent import policy, state
from certagent.certificate import load_pem
from certagent.config.load import digest_of, load_configuration
from certagent.transaction.seen import see


def identity(directory: Path) -> tuple[bytes, bytes]:
    """One for all: making keys takes long."""
    key, certificate = directory / "any.key", directory / "any.pem"
    argv = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90", "-subj", "/CN=any")
    subprocess.run([*argv, "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
    return key.read_bytes(), certificate.read_bytes()


def install(directory: Path, count: int, every: int) -> Path:
    """So many keystores with a certificate of 90 days, looked at a moment ago; a sweep every so many seconds."""
    pems = directory / "pem"
    pems.mkdir()
    key, certificate = identity(directory)
    names = [f"k{number:05}" for number in range(count)]
    for start in range(0, count, 1000):
        lines = ["keystores:"]
        for name in names[start : start + 1000]:
            (pems / f"{name}.key").write_bytes(key)
            (pems / f"{name}.key").chmod(0o600)
            (pems / f"{name}.pem").write_bytes(certificate)
            files = f"key_file: {pems / name}.key, certificate_file: {pems / name}.pem"
            lines.append(f"  {name}: {{type: pem, subject: CN={name}, {files}}}")
        (directory / f"keystores-{start}.yaml").write_text("\n".join(lines) + "\n")
    main = directory / "agent.yaml"
    main.write_text(
        f"state_dir: {directory / 'state'}\ninclude: 'keystores-*.yaml'\ncheck_every: {every}s\n"
        f"authorities: {{corp: {{url: 'http://127.0.0.1:1/scep', fingerprint: 'sha256:{'00' * 32}'}}}}\n"
        "defaults: {authority: corp}\n"
    )
    configuration = load_configuration(main)
    [one] = load_pem(certificate, "the certificate of all")
    seen = see(one, None, next(iter(configuration.keystores.values())), ())
    for name, definition in configuration.keystores.items():
        known = state.State(
            condition=policy.Condition.VALID,
            next_action="renew",
            next_action_at=datetime.now(UTC) + timedelta(days=50),
            definition=digest_of(definition, configuration.authority_of(definition)),
            watched=state.watch(definition.paths.values()),
            seen=seen,
        )
        place = directory / "state/keystores" / name
        place.mkdir(parents=True, mode=0o700)
        (place / "state.json").write_bytes(msgspec.json.encode(known))
        (place / "state.json").chmod(0o600)
    (directory / "state").chmod(0o700)
    return main
