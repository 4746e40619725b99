"""Every driver there is, as a row: how a keystore of it is configured, and how its pair is broken.

What holds for all of them is in test_drivers.py and test_drivers_walk.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certagent import keys
from certagent.certificate import to_pem
from certagent.config.key_types import KeyType
from certagent.config.keystores import KeystoreDefinition
from certagent.hooks import read_secret
from certagent.keystore import open_keystore, pkcs12_codec, swap, swap_plan
from certagent.keystore.base import Keystore, Shadow
from tests.tokens.site import Place, make_softhsm, make_tpm, the_bus

from .pki import certify, make_pki

SECRET = b"correct horse"
KEY_TYPE = KeyType.EC_P256


@dataclass(frozen=True)
class Driver:
    """`keys(root)` are a keystore's keys as they stand in YAML, its files under root/etc, the secret in root/secret.

    `break_pair(root)` puts in place what does not belong together. `forks`: a process that has used the driver may
    be forked (a token's session does not survive that).
    """

    keys: Callable[[Path], dict[str, Any]]
    break_pair: Callable[[Path], None]
    secret: bool = False
    forks: bool = True


class Host:
    """A host with one keystore, `web`, and nothing in it yet."""

    def __init__(self, root: Path, driver: Driver) -> None:
        self.root, self.driver = root, driver
        self.etc.mkdir(parents=True)
        self.secret.touch(0o600)
        self.secret.write_bytes(SECRET)
        keys = {"ca_file": f"{self.etc}/ca.pem", **driver.keys(root)}
        self.definition: KeystoreDefinition = msgspec.convert(keys, KeystoreDefinition)

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def secret(self) -> Path:
        return self.root / "secret"

    @property
    def keystore(self) -> Keystore:
        """The driver, opened anew as by the next worker."""
        return open_keystore(
            "web", self.definition, directory=self.state, live_dir=self.root / "live", read_secret=read_secret
        )

    def complete(self, shadow_id: str, key_type: KeyType | None = KEY_TYPE) -> Shadow:
        """A shadow with a certificate from the intermediate."""
        shadow = self.keystore.create_shadow(shadow_id, key_type)
        issuer = make_pki().intermediate
        return self.keystore.complete_shadow(
            shadow, certify("web", shadow.key, issuer), (issuer.certificate, *issuer.chain)
        )

    def plan(self, shadow: Shadow) -> swap_plan.Plan:
        return self.keystore.plan_activation(shadow, make_pki().trusted)

    def activate(self, shadow_id: str, key_type: KeyType | None = KEY_TYPE) -> Shadow:
        shadow = self.complete(shadow_id, key_type)
        carry_out(self.plan(shadow))
        self.keystore.sweep_shadows(())
        return shadow

    def view(self) -> dict[str, bytes | None]:
        """What consumers get at the configured paths."""
        return {role: path.read_bytes() if path.exists() else None for role, path in self.definition.paths.items()}

    def tree(self) -> dict[str, bytes]:
        """Every file under the host, links followed."""
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def strays(self) -> list[str]:
        """What lies beside the consumer's files and was not asked for."""
        return sorted(path.name for path in self.etc.iterdir() if path not in self.definition.paths.values())


def carry_out(plan: swap_plan.Plan) -> None:
    swap.stage(plan)
    swap.finish(plan.record)


def _pem(**layout: Any) -> Callable[[Path], dict[str, Any]]:
    def keys_of(root: Path) -> dict[str, Any]:
        files = {"key_file": f"{root}/etc/web.key", "certificate_file": f"{root}/etc/web.pem"}
        passphrase = {"key_passphrase": {"file": f"{root}/secret"}} if "key_passphrase" in layout else {}
        return {"type": "pem", **files, **layout, **passphrase}

    return keys_of


def _combined(root: Path) -> dict[str, Any]:
    return {"type": "pem", "key_file": f"{root}/etc/web.pem", "certificate_file": f"{root}/etc/web.pem"}


def _pkcs12(root: Path) -> dict[str, Any]:
    return {"type": "pkcs12", "file": f"{root}/etc/web.p12", "password": {"file": f"{root}/secret"}}


def _another_key(root: Path) -> None:
    (root / "etc/web.key").write_bytes(keys.to_pem(make_pki().rsa.key))


def _another_key_in_front(root: Path) -> None:
    file = root / "etc/web.pem"
    certificates = file.read_bytes().partition(b"-----BEGIN PRIVATE KEY")[0]
    file.write_bytes(keys.to_pem(make_pki().rsa.key) + certificates)


def _another_certificate(root: Path) -> None:
    key, certificate = make_pki().rsa.key, make_pki().old.certificate
    (root / "etc/web.p12").write_bytes(pkcs12_codec.dump(pkcs12_codec.entry(key, [certificate], "web", SECRET), SECRET))


def _token(make: Callable[[Path], Place]) -> Callable[[Path], dict[str, Any]]:
    def keys_of(root: Path) -> dict[str, Any]:
        place = make(root.parent / f"{root.name}-token")
        place.lend()
        files = {"uri_file": f"{root}/etc/web.uri", "certificate_file": f"{root}/etc/web.pem"}
        return {
            "type": "pkcs11",
            "module": place.module,
            "token": place.label,
            "pin": {"file": str(place.pin_file)},
        } | files

    return keys_of


def _another_issued(root: Path) -> None:
    (root / "etc/web.pem").write_bytes(to_pem([make_pki().old.certificate]))


DRIVERS = [
    pytest.param(Driver(_pem(), _another_key), id="pem"),
    pytest.param(Driver(_combined, _another_key_in_front), id="pem-combined"),
    pytest.param(Driver(_pem(key_passphrase=True), _another_key, secret=True), id="pem-encrypted"),
    pytest.param(Driver(_pem(swap="symlink"), _another_key), id="pem-symlink"),
    pytest.param(Driver(_pem(swap="in-place"), _another_key), id="pem-in-place"),
    pytest.param(Driver(_pkcs12, _another_certificate, secret=True), id="pkcs12"),
    pytest.param(
        Driver(_token(make_softhsm), _another_issued, forks=False),
        id="pkcs11-softhsm",
        marks=pytest.mark.needs("softhsm"),
    ),
    pytest.param(
        Driver(_token(lambda directory: make_tpm(directory, the_bus())), _another_issued, forks=False),
        id="pkcs11-tpm",
        marks=pytest.mark.needs("tpm"),
    ),
]


def those(fits: Callable[[Driver], bool]) -> list[Any]:
    """The rows whose driver fits, with their marks."""
    return [row for row in DRIVERS if isinstance(driver := row.values[0], Driver) and fits(driver)]
