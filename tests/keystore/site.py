"""A host in a directory: a consumer's files, certagent's state, and the keystore over them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certagent import keys
from certagent.certificate import to_pem
from certagent.config.file_roles import FileRole
from certagent.config.keystores import PemKeystore
from certagent.config.parts import Secret
from certagent.keystore import open_keystore, swap, swap_plan
from certagent.keystore.base import Identity, Keystore, Shadow

from .pki import make_pki

PASSPHRASE = b"correct horse"


_OWN_NAMES = {"previous", "previous-ca", "shadow", "current", "cas"}


@dataclass
class Site:
    """`layout` are keys of the definition; the paths in it are relative to `root`/etc."""

    root: Path
    layout: dict[str, Any]
    secrets_read: list[Secret] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.etc.mkdir(parents=True, exist_ok=True)

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def live(self) -> Path:
        return self.root / "live" / "web"

    @property
    def definition(self) -> PemKeystore:
        paths = {name: value for name, value in self.layout.items() if name.endswith(("_file", "_directory"))}
        places = {name: str(self.etc / value) for name, value in paths.items()}
        return PemKeystore(**(self.layout | places))

    @property
    def keystore(self) -> Keystore:
        return open_keystore(
            "web", self.definition, directory=self.state, live_dir=self.root / "live", read_secret=self._secret
        )

    def _secret(self, secret: Secret) -> bytes:
        self.secrets_read.append(secret)
        return PASSPHRASE

    def put(self, identity: Identity) -> None:
        """Another tool's files: what was there before certagent came."""
        key, certificates = keys.to_pem(identity.key), to_pem((identity.certificate, *identity.chain[:-1]))
        if self.definition.combined:
            (self.etc / self.layout["key_file"]).write_bytes(certificates + key)
        else:
            (self.etc / self.layout["key_file"]).write_bytes(key)
            (self.etc / self.layout["certificate_file"]).write_bytes(certificates)
        (self.etc / self.layout["key_file"]).chmod(0o600)
        if "chain_file" in self.layout:
            (self.etc / self.layout["chain_file"]).write_bytes(to_pem(identity.chain))

    def plan(self, identity: Identity, swap_id: str) -> swap_plan.Plan:
        shadow = Shadow(swap_id, identity.key, identity.certificate, identity.chain)
        return self.keystore.plan_activation(shadow, make_pki().trusted)

    def activate(self, identity: Identity, swap_id: str) -> None:
        carry_out(self.plan(identity, swap_id))

    def view(self) -> dict[str, bytes | None]:
        """What consumers get at the configured paths, and in ca_directory by the names they look for."""
        cas = {f"{FileRole.TRUSTED}-{path.name}": _content(path) for path in self.cas()}
        return cas | {role: _content(path) for role, path in self.definition.paths.items()}

    def cas(self) -> list[Path]:
        directory = self.definition.ca_directory
        return sorted(path for path in Path(directory).iterdir() if path.name[0] != ".") if directory else []

    def strays(self) -> list[str]:
        """Names that nobody asked for."""
        wanted = {path.name for path in self.definition.paths.values()} | _OWN_NAMES
        found = [*self.etc.rglob("*"), *self.state.glob("*"), *self.state.glob("previous*/.*"), *self.live.glob("*")]
        return sorted(
            str(path.relative_to(self.root))
            for path in found
            if path.name not in wanted and not path.name.startswith(("generation-", "real"))
            if not re.fullmatch(r"[0-9a-f]{8}\.[0-9]", path.name)
        )


def carry_out(plan: swap_plan.Plan) -> None:
    swap.stage(plan)
    swap.finish(plan.record)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def link_tree(path: Path) -> dict[str, str]:
    """Every link under `path` and what it says."""
    return {str(each.relative_to(path)): str(each.readlink()) for each in path.rglob("*") if each.is_symlink()}
