"""A device under torture: a directory, a configuration of one keystore, and certagent's command run on it.

agent.yaml challenge …     what its operator wrote
files/ state/ live/        what certagent works on
world/                     what is outside of it and loses nothing by a power cut: what the hooks did
token/                     a SoftHSM token, which stands for a device of its own as well
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.torture import tree
from tests.torture.ca import Authority
from tests.torture.command import Command, Said

# Paths that no power cut takes anything from.
OUTSIDE = ("world", "token")
# Notes its event and what the consumer's certificate file holds at that moment; fails if the world says so.
_HOOK = """\
echo "$CERTAGENT_EVENT $(sha256sum "$1" 2>/dev/null | cut -c1-64)" >>"$2/hooks"
test ! -e "$2/hooks-fail"
"""
_EVENTS = ("post", "ca_changed", "staged", "pending", "failed")


@dataclass(frozen=True)
class Device:
    """`beside` is a directory next to the device's own, for what is none of its files."""

    root: Path
    beside: Path
    ca: Authority

    def path(self, name: str) -> Path:
        return self.root / name

    @property
    def config(self) -> Path:
        return self.path("agent.yaml")

    def configure(self, keystores: str, *, top: str = "", renew_at: str = "66%", rollover_at: str = "80%") -> None:
        """Write agent.yaml: `keystores` as YAML; {root}, {hooks} and {hook} (one command) are filled in."""
        for name in ("files", "world"):
            self.path(name).mkdir(exist_ok=True)
        self._keep("challenge", "open sesame\n")
        self._keep("hook.sh", _HOOK)
        own = x509.load_pem_x509_certificate((self.ca.directory / "ca.pem").read_bytes())
        hook = f"[/bin/sh, {self.path('hook.sh')}, {self.path('files/web.pem')}, {self.path('world')}]"
        hooks = f"{{{', '.join(f'{event}: [{hook}]' for event in _EVENTS)}}}"
        text = (
            f"state_dir: {self.path('state')}\nlive_dir: {self.path('live')}\n{top}\n"
            f"authorities:\n  lab:\n    url: {self.ca.url}\n    challenge: {{file: {self.path('challenge')}}}\n"
            f"    rollover_at: {rollover_at}\n    poll_interval: 1s\n"
            f"    fingerprint: sha256:{own.fingerprint(hashes.SHA256()).hex()}\n"
            f"defaults: {{authority: lab, jitter: 0%, renew_at: {renew_at}}}\nkeystores:\n{keystores}\n"
        )
        self._keep(
            "agent.yaml", text.replace("{root}", str(self.root)).replace("{hooks}", hooks).replace("{hook}", hook)
        )

    def _keep(self, name: str, text: str) -> None:
        self.path(name).write_text(text)
        self.path(name).chmod(0o600)

    def read(self) -> dict[str, tree.Entry]:
        return tree.read(self.root)

    def become(self, state: tree.Tree) -> None:
        tree.write(self.root, state)

    def command(self, *words: str) -> Command:
        """A command that is about to run."""
        return Command(["-c", str(self.config), *words], self.beside / "output")

    def run(self, *words: str) -> Said:
        """One command to its end."""
        command = self.command(*words)
        command.release()
        return command.ended()

    def hooks(self) -> list[tuple[str, str]]:
        """What the hooks noted: event, and SHA-256 of the certificate file."""
        file = self.path("world/hooks")
        lines = file.read_text().splitlines() if file.exists() else []
        return [(event, digest) for event, _, digest in (line.partition(" ") for line in lines)]

    def status(self, name: str) -> str:
        """The keystore's state in `certagent status --json`; what it said instead, if that is no JSON."""
        said = self.run("status", "--json", name)
        try:
            return str(json.loads(said.text)["keystores"][name]["state"])
        except (ValueError, KeyError, TypeError):
            return said.text
