"""A device with its keystores: what its operator writes, and what must be true of it at every moment."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from certagent import certificate as facts
from certagent import keys
from certagent.config.windows import Window, of_this_host

HOOK = 'test ! -e "{broken}" && echo "$CERTAGENT_SERIAL" >>"{log}"'


PASSWORD = b"secret"


@lru_cache(2)  # its key derivation is made to be slow, and the file seldom changes
def _unpacked(content: bytes) -> tuple[keys.PrivateKey | None, x509.Certificate | None]:
    key, leaf, _ = pkcs12.load_key_and_certificates(content, PASSWORD)
    return key if isinstance(key, keys.PrivateKey) else None, leaf


class BrokenPromiseError(AssertionError):
    """A promise of certagent's did not hold."""


@dataclass
class Keystore:
    """One PEM keystore of the device. `choices` are what an operator may edit."""

    name: str
    directory: Path
    choices: dict[str, str]
    last: x509.Certificate | None = None
    serials: set[int] = field(default_factory=set)
    backup: tuple[bytes, bytes] | None = None
    by_hand: x509.Certificate | None = None

    @property
    def key_file(self) -> Path:
        return self.directory / ("identity.p12" if self.choices["layout"] == "pkcs12" else "key.pem")

    @property
    def certificate_file(self) -> Path:
        return self.directory / "cert.pem" if self.choices["layout"] == "pair" else self.key_file

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.pem"

    def definition(self) -> str:
        if self.choices["layout"] == "pkcs12":
            place = f"type: pkcs12, file: {self.key_file}, password: {{file: {self._password}}}"
        else:
            place = (
                f"type: pem, key_file: {self.key_file}, certificate_file: {self.certificate_file}, "
                f"swap: {self.choices['swap']}, certificate_format: {self.choices['format']}"
            )
        return (
            f"{{{place}, authority: lab, ca_file: {self.ca_file}, subject: CN={self.name}, "
            f"renew_at: {self.choices['renew_at']}, "
            f"activate_in: [{self.choices['hours']}], "
            f"hooks: {{post: [[/bin/sh, -c, '{HOOK.format(broken=self.broken, log=self.hook_log)}']]}}}}"
        )

    @property
    def _password(self) -> Path:
        file = self.directory.parent / f"{self.name}.password"
        file.write_bytes(PASSWORD)
        file.chmod(0o600)
        return file

    @property
    def broken(self) -> Path:
        """While this file exists the post hook fails."""
        return self.directory.parent / f"{self.name}.broken"

    @property
    def hook_log(self) -> Path:
        return self.directory.parent / f"{self.name}.hooks"

    def hooked(self) -> list[str]:
        return self.hook_log.read_text().split() if self.hook_log.exists() else []

    def edit(self, dice: random.Random) -> None:
        """An operator changes one thing."""
        options = {"swap": ("rename", "symlink"), "renew_at": ("66%", "50%", "20d"), "format": ("leaf", "fullchain")}
        word = dice.choice(sorted(options))
        self.choices[word] = dice.choice(options[word])

    def keep_a_copy(self) -> None:
        self.backup = (self.key_file.read_bytes(), self.certificate_file.read_bytes())

    def put_the_copy_back(self) -> None:
        """An operator restores files from a backup, as whole files where links may have been."""
        assert self.backup is not None
        for path, content in zip((self.key_file, self.certificate_file), self.backup, strict=True):
            path.unlink(missing_ok=True)
            path.write_bytes(content)
            path.chmod(0o600)
        self.last, self.by_hand = None, self.leaf()

    def leaf(self) -> x509.Certificate | None:
        """The certificate in place, after seeing that its key is in place too."""
        if not self.certificate_file.exists():
            return None
        key, leaf = self._pair()
        if leaf is None:
            raise BrokenPromiseError(f"{self.name}: no certificate in {self.certificate_file.name}")
        if key is None or not keys.match(key, leaf.public_key()):
            raise BrokenPromiseError(f"{self.name}: key and certificate do not match")
        return leaf

    def _pair(self) -> tuple[keys.PrivateKey | None, x509.Certificate | None]:
        if self.choices["layout"] == "pkcs12":
            return _unpacked(self.key_file.read_bytes())
        found = facts.load_pem(self.certificate_file.read_bytes(), self.name)
        return keys.load_private(self.key_file.read_bytes(), None, self.name), next(iter(found), None)

    def check(self, now: datetime, excused_until: datetime) -> None:
        """Everything that must be true after a boot. Raises BrokenPromiseError."""
        stray = [each.name for each in self.directory.iterdir() if each.name.startswith(".")]
        if stray:
            raise BrokenPromiseError(f"{self.name}: left behind: {', '.join(stray)}")
        leaf = self.leaf()
        if leaf is None:
            return
        if self.last is not None and leaf.not_valid_after_utc < self.last.not_valid_after_utc:
            raise BrokenPromiseError(f"{self.name}: an older certificate came back")
        if leaf.not_valid_after_utc < now and excused_until < now:
            raise BrokenPromiseError(f"{self.name}: expired since {leaf.not_valid_after_utc:%F %R} without an excuse")
        trusted = facts.load_pem(self.ca_file.read_bytes(), "ca.pem") if self.ca_file.exists() else ()
        if trusted and not any(ca.subject == leaf.issuer for ca in trusted):
            raise BrokenPromiseError(f"{self.name}: ca_file does not hold the issuer of what is in place")
        self.serials.add(leaf.serial_number)
        self.last = leaf

    def check_hours(self, before: x509.Certificate, now: datetime) -> None:
        """A renewal was put in place in its hours, unless the certificate before was near its end."""
        leaf, hours = self.last, self.choices["hours"]
        if not hours or leaf is None or leaf.not_valid_after_utc <= before.not_valid_after_utc:
            return
        # A rollover's last day is the CA's.
        could_wait = leaf.issuer == before.issuer and before.not_valid_after_utc - now > timedelta(days=8)
        if could_wait and not Window.parse(hours).holds(of_this_host(now).replace(tzinfo=None)):
            raise BrokenPromiseError(f"{self.name}: put in place out of its hours, {hours}")

    def check_hooks(self) -> None:
        """With no transaction open, the hook has run for what is in place. Raises BrokenPromiseError."""
        if self.last is not None and self.last != self.by_hand and facts.serial_hex(self.last) not in self.hooked():
            raise BrokenPromiseError(f"{self.name}: the post hook never ran for {facts.serial_hex(self.last)}")
